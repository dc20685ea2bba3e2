// Polynomials that stand for smooth functions on [0, 1] to the last bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace nearsight {

// Chebyshev interpolation of f on [0, 1], as coefficients of powers of t = 2 x - 1, lowest first.
// Terms below 1e-17 of the largest are left out.
template <class Function>
std::vector<double> fit_unit(const Function& f) {
  constexpr int kNodes = 64;
  constexpr long double pi = 3.14159265358979323846264338327950288L;
  std::vector<long double> value(kNodes), chebyshev(kNodes);
  // cos(pi n / (2 kNodes)), the angle reduced in whole numbers: no digits are lost
  const auto cosine = [&](int n) { return std::cos(pi * (n % (4 * kNodes)) / (2.0L * kNodes)); };
  for (int i = 0; i < kNodes; ++i) value[i] = f(0.5L + 0.5L * cosine(2 * i + 1));
  for (int k = 0; k < kNodes; ++k) {
    long double sum = 0.0L;
    for (int i = 0; i < kNodes; ++i) sum += value[i] * cosine(k * (2 * i + 1));
    chebyshev[k] = sum * (k == 0 ? 1.0L : 2.0L) / kNodes;
  }
  // Where long double is no wider than double, coefficients below its rounding are noise.
  long double largest = 0.0L;
  for (const long double c : chebyshev) largest = std::max(largest, std::abs(c));
  const long double least =
      largest * std::max(1e-17L, 8.0L * std::numeric_limits<long double>::epsilon());
  int degree = kNodes - 1;
  while (degree > 0 && std::abs(chebyshev[degree]) < least) --degree;
  // T_0 = 1, T_1 = t, T_{k+1} = 2 t T_k - T_{k-1}
  std::vector<long double> before(degree + 2, 0.0L), now(degree + 2, 0.0L), sum(degree + 1, 0.0L);
  before[0] = 1.0L;
  now[1] = 1.0L;
  sum[0] = chebyshev[0];
  for (int k = 1; k <= degree; ++k) {
    for (int p = 0; p <= k; ++p) sum[p] += chebyshev[k] * now[p];
    std::vector<long double> next(degree + 2, 0.0L);
    for (int p = 0; p <= k && p + 1 <= degree + 1; ++p) next[p + 1] = 2.0L * now[p];
    for (int p = 0; p <= k; ++p) next[p] -= before[p];
    before.swap(now);
    now.swap(next);
  }
  return {sum.begin(), sum.end()};
}

}  // namespace nearsight
