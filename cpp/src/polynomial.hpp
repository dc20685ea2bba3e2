// Polynomials that stand for smooth functions on [0, 1] to the last bits.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

namespace nearsight {

// The first terms of the Chebyshev series of f on [0, 1], as coefficients of powers of t = 2 x - 1,
// lowest first.
template <int kTerms, class Function>
std::array<double, kTerms> fit_unit(const Function& f) {
  constexpr int kNodes = 64;
  constexpr long double pi = 3.14159265358979323846264338327950288L;
  // cos(pi n / (2 kNodes)), the angle reduced in whole numbers: no digits are lost
  const auto cosine = [&](int n) { return std::cos(pi * (n % (4 * kNodes)) / (2.0L * kNodes)); };
  std::array<long double, kNodes> value;
  for (int i = 0; i < kNodes; ++i) value[i] = f(0.5L + 0.5L * cosine(2 * i + 1));
  // T_0 = 1, T_1 = t, T_{k+1} = 2 t T_k - T_{k-1}
  std::array<long double, kTerms> before{}, now{}, sum{};
  now[0] = 1.0L;
  for (int k = 0; k < kTerms; ++k) {
    long double coefficient = 0.0L;
    for (int i = 0; i < kNodes; ++i) coefficient += value[i] * cosine(k * (2 * i + 1));
    coefficient *= (k == 0 ? 1.0L : 2.0L) / kNodes;
    for (int p = 0; p <= k; ++p) sum[p] += coefficient * now[p];
    std::array<long double, kTerms> next{};
    for (int p = 0; p + 1 < kTerms; ++p) next[p + 1] = (k == 0 ? 1.0L : 2.0L) * now[p];
    for (int p = 0; p < kTerms; ++p) next[p] -= before[p];
    before = now;
    now = next;
  }
  std::array<double, kTerms> result;
  std::copy(sum.begin(), sum.end(), result.begin());
  return result;
}

}  // namespace nearsight
