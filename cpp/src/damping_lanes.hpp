// Damping, evaluated for a vector of pairs.
#pragma once

#include <cmath>

#include "lanes.hpp"
#include "nearsight/damping.hpp"

namespace nearsight {

// The even and the odd powers are summed apart: half as long a chain of dependent operations.
template <int N>
inline Lanes horner(const LanePolynomial<N>& f, Lanes t) {
  const Lanes square = t * t;
  Lanes even = load(f.c[(N - 1) / 2 * 2]), odd = load(f.c[(N - 2) / 2 * 2 + 1]);
  for (int p = (N - 1) / 2 * 2 - 2; p >= 0; p -= 2) even = even * square + load(f.c[p]);
  for (int p = (N - 2) / 2 * 2 - 1; p >= 0; p -= 2) odd = odd * square + load(f.c[p]);
  return even + t * odd;
}

struct ValueAndSlope {
  Lanes a, b;  // a function of x and its derivative
};

// Amp's cutoff 1 + g u^(g+1) - (g+1) u^g, u = sqrt(x).
inline ValueAndSlope polynomial_cutoff(double gamma, Lanes x) {
  Lanes u{}, power{};  // u^(g-2)
  for (Index l = 0; l < kPairLanes; ++l) u[l] = std::sqrt(x[l] > 0.0 ? x[l] : 0.0);
  const int whole = static_cast<int>(gamma);
  if (gamma == whole && whole <= 64) {
    power = all(1.0);
    Lanes square = u;
    for (int n = whole - 2; n > 0; n >>= 1, square *= square)
      if (n & 1) power *= square;
  } else {
    for (Index l = 0; l < kPairLanes; ++l) power[l] = std::pow(u[l], gamma - 2.0);
  }
  return {1.0 + x * power * (gamma * u - (gamma + 1.0)),
          0.5 * gamma * (gamma + 1.0) * power * (u - 1.0)};
}

// A and B of the base at t = 2 x - 1 in [-1, 1], from the roots.
inline ValueAndSlope square_base(const Damping& damping, Lanes t) {
  const Lanes root = horner(damping.root, t);
  return {root * root, root * horner(damping.twice_root_slope, t)};
}

inline ValueAndSlope damping_base(const Damping& damping, Lanes t) {
  if (damping.kind == CutoffKind::kPolynomial)
    return polynomial_cutoff(damping.gamma, 0.5 * t + 0.5);
  return square_base(damping, t);
}

// exp(-rest x) of a smooth factor.
inline Lanes smooth_exponential(const Damping::Factor& factor, Lanes t) {
  const Lanes root = horner(factor.fourth_root, t), square = root * root;
  return square * square;
}

// A_e and B_e without exp(-rest x), from those of the base.
inline ValueAndSlope undamped(const Damping::Factor& factor, ValueAndSlope base) {
  return {base.a, base.b - factor.rest * base.a};
}

// A_e and B_e from those of the base.
inline ValueAndSlope damping_factor(const Damping::Factor& factor, Lanes t, ValueAndSlope base) {
  if (factor.kind == Damping::Rest::kNone) return base;
  const Lanes e = factor.kind == Damping::Rest::kSmooth
                      ? smooth_exponential(factor, t)
                      : exponential(-0.5 * factor.rest * (t + 1.0));
  const auto [a, b] = undamped(factor, base);
  return {e * a, e * b};
}

// fc and its derivative in x.
inline ValueAndSlope damping_cutoff(const Damping& damping, Lanes t, ValueAndSlope base) {
  if (damping.base_eta == 0.0) return base;
  const Lanes e = exponential(0.5 * damping.base_eta * (t + 1.0));
  return {e * base.a, e * (base.b + damping.base_eta * base.a)};
}

}  // namespace nearsight
