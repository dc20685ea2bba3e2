// Radial factors of the angular functions, A(x) = exp(-eta (u - u_s)^2) fc(r) with u = r/Rc and
// x = u^2, and B = dA/dx. Without a shift u_s, as polynomials in t = 2 x - 1: these functions are
// entire in x, so a pair of neighbours costs neither sqrt nor exp nor cos (the polynomial cutoff
// costs a sqrt). With one, a pair costs a sqrt, and an exp for every such factor.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <vector>

#include "nearsight/symmetry_functions.hpp"
#include "simd.hpp"

namespace nearsight {

// First terms of the Chebyshev series of f on [0, 1], as coefficients of powers of t = 2 x - 1,
// lowest first: smooth functions to the last bits.
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

// Coefficients of powers of t, lowest first, each repeated for all lanes of a vector.
template <int N>
struct VecPolynomial {
  alignas(sizeof(double) * kPairLanes) double c[N][kPairLanes];
};

// What radial factors differ by.
struct RadialForm {
  double eta, r_s;  // without unit, Å

  bool operator==(const RadialForm& other) const { return eta == other.eta && r_s == other.r_s; }
  // Those without a shift first, which cost least.
  bool operator<(const RadialForm& other) const {
    return std::make_tuple(r_s != 0.0, eta, r_s) <
           std::make_tuple(other.r_s != 0.0, other.eta, other.r_s);
  }
};

struct RadialFactors {
  // The first, that of most pairs, should be the least of those of loops over pairs.
  RadialFactors(const Cutoff& cutoff, const std::vector<RadialForm>& forms);

  static constexpr int kTerms = 9;
  // Largest extra_eta whose exponential is a polynomial of that many terms.
  static constexpr double kMaxSmooth = 1.0;

  enum class Extra { kNone, kSmooth, kLarge, kShifted };
  struct Factor {
    double eta;
    double shift;  // u_s
    Extra kind;
    double extra_eta;                   // eta beyond that of the base, at most 0.1 below
    VecPolynomial<kTerms> fourth_root;  // of exp(-extra_eta x), kSmooth only
  };

  CutoffKind kind;
  double gamma;  // of the polynomial cutoff
  // The cosine cutoff is a square, and so is A; the base is that of the first eta, if that is
  // small and without a shift, else of eta = 0. Roots need fewer terms.
  double base_eta;
  VecPolynomial<kTerms> root, twice_root_slope;
  std::vector<Factor> factors;
  bool have_shifts;
};

// Even and odd powers summed apart: half as long a chain of dependent operations.
template <int N>
inline Vec horner(const VecPolynomial<N>& f, Vec t) {
  const Vec square = t * t;
  Vec even = load(f.c[(N - 1) / 2 * 2]), odd = load(f.c[(N - 2) / 2 * 2 + 1]);
  for (int p = (N - 1) / 2 * 2 - 2; p >= 0; p -= 2) even = even * square + load(f.c[p]);
  for (int p = (N - 2) / 2 * 2 - 1; p >= 0; p -= 2) odd = odd * square + load(f.c[p]);
  return even + t * odd;
}

struct ValueAndSlope {
  Vec a, b;  // a function of x and its derivative
};

// Amp's cutoff 1 + g u^(g+1) - (g+1) u^g, u = sqrt(x).
inline ValueAndSlope polynomial_cutoff(double gamma, Vec x) {
  Vec u{}, power{};  // u^(g-2)
  for (Index l = 0; l < kPairLanes; ++l) u[l] = std::sqrt(x[l] > 0.0 ? x[l] : 0.0);
  const int whole = static_cast<int>(gamma);
  if (gamma == whole && whole <= 64) {
    power = broadcast(1.0);
    Vec square = u;
    for (int n = whole - 2; n > 0; n >>= 1, square *= square)
      if (n & 1) power *= square;
  } else {
    for (Index l = 0; l < kPairLanes; ++l) power[l] = std::pow(u[l], gamma - 2.0);
  }
  return {1.0 + x * power * (gamma * u - (gamma + 1.0)),
          0.5 * gamma * (gamma + 1.0) * power * (u - 1.0)};
}

// A and B of the base of the cosine cutoff at t = 2 x - 1 in [-1, 1], from the roots.
inline ValueAndSlope cosine_base(const RadialFactors& radial, Vec t) {
  const Vec root = horner(radial.root, t);
  return {root * root, root * horner(radial.twice_root_slope, t)};
}

inline ValueAndSlope base_factor(const RadialFactors& radial, Vec t) {
  if (radial.kind == CutoffKind::kPolynomial) return polynomial_cutoff(radial.gamma, 0.5 * t + 0.5);
  return cosine_base(radial, t);
}

// exp(-extra_eta x) of a smooth factor.
inline Vec smooth_exp(const RadialFactors::Factor& factor, Vec t) {
  const Vec root = horner(factor.fourth_root, t), square = root * root;
  return square * square;
}

// A and B without exp(-extra_eta x), from those of the base.
inline ValueAndSlope without_exp(const RadialFactors::Factor& factor, ValueAndSlope base) {
  return {base.a, base.b - factor.extra_eta * base.a};
}

// u and 1/u of factors with a shift; the others need none.
struct Distance {
  Vec u{}, inverse{};
};

inline Distance distance_of(const RadialFactors& radial, Vec t) {
  if (!radial.have_shifts) return {};
  // x is known to 1e-16. Less than that is no distance: the derivative of A has no direction there.
  const Vec u = sqrt(max(0.5 * t + 0.5, 1e-16));
  return {u, 1.0 / u};
}

// A and B from those of the base.
inline ValueAndSlope radial_factor(const RadialFactors& radial, const RadialFactors::Factor& factor,
                                   Vec t, const Distance& distance, ValueAndSlope base) {
  if (factor.kind == RadialFactors::Extra::kNone) return base;
  if (factor.kind == RadialFactors::Extra::kShifted) {
    const auto [u, inverse] = distance;
    const Vec from = u - factor.shift;
    const Vec e = exp(radial.base_eta * (u * u) - factor.eta * (from * from));
    const Vec steepness = factor.eta * (factor.shift * inverse) - factor.extra_eta;
    return {e * base.a, e * (base.b + steepness * base.a)};
  }
  const Vec e = factor.kind == RadialFactors::Extra::kSmooth
                    ? smooth_exp(factor, t)
                    : exp(-0.5 * factor.extra_eta * (t + 1.0));
  const auto [a, b] = without_exp(factor, base);
  return {e * a, e * b};
}

// fc and its derivative in x.
inline ValueAndSlope cutoff_factor(const RadialFactors& radial, Vec t, ValueAndSlope base) {
  if (radial.base_eta == 0.0) return base;
  const Vec e = exp(0.5 * radial.base_eta * (t + 1.0));
  return {e * base.a, e * (base.b + radial.base_eta * base.a)};
}

}  // namespace nearsight
