// Polynomials that stand for smooth functions on [0, 1] to the last bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "nearsight/types.hpp"

namespace nearsight {

// Chebyshev interpolation of f on [0, 1], as coefficients of powers of t = 2 x - 1, lowest first.
// The degree is the least whose neglected terms add up to less than 5e-17 of the largest.
template <class Function>
std::vector<double> fit_unit(const Function& f) {
  constexpr int kNodes = 120;  // resolves exp(-eta x) for eta up to about a thousand
  constexpr long double pi = 3.14159265358979323846264338327950288L;
  std::vector<long double> value(kNodes), chebyshev(kNodes);
  for (int i = 0; i < kNodes; ++i) value[i] = f(0.5L + 0.5L * std::cos(pi * (i + 0.5L) / kNodes));
  for (int k = 0; k < kNodes; ++k) {
    long double sum = 0.0L;
    for (int i = 0; i < kNodes; ++i) sum += value[i] * std::cos(pi * k * (i + 0.5L) / kNodes);
    chebyshev[k] = sum * (k == 0 ? 1.0L : 2.0L) / kNodes;
  }
  long double largest = 0.0L;
  for (const long double c : chebyshev) largest = std::max(largest, std::abs(c));
  int degree = kNodes - 1;
  for (long double tail = 0.0L; degree > 0; --degree) {
    tail += std::abs(chebyshev[degree]);
    if (tail > 5e-17L * largest) break;
  }
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

// Values that `horner` works on at a time: enough chains to hide the latency of an FMA.
inline constexpr Index kHornerBlock = 4 * kPairLanes;

// out[i] = polynomial(t[i]) for n values; both arrays have room for n padded to kHornerBlock.
inline void horner(const std::vector<double>& coefficients, const double* t, Index n,
                   double* out) {
  const double* c = coefficients.data();
  const Index degree = static_cast<Index>(coefficients.size()) - 1;
  for (Index i = 0; i < n; i += kHornerBlock) {
    double sum[kHornerBlock];
    for (Index l = 0; l < kHornerBlock; ++l) sum[l] = c[degree];
    for (Index p = degree - 1; p >= 0; --p)
      for (Index l = 0; l < kHornerBlock; ++l) sum[l] = sum[l] * t[i + l] + c[p];
    for (Index l = 0; l < kHornerBlock; ++l) out[i + l] = sum[l];
  }
}

}  // namespace nearsight
