#include "nearsight/damping.hpp"

#include <algorithm>
#include <cmath>

#include "polynomial.hpp"

namespace nearsight {

namespace {

template <class Function>
LanePolynomial<Damping::kTerms> fit(const Function& f) {
  const auto coefficients = fit_unit<Damping::kTerms>(f);
  LanePolynomial<Damping::kTerms> made;
  for (int p = 0; p < Damping::kTerms; ++p) std::fill_n(made.c[p], kPairLanes, coefficients[p]);
  return made;
}

}  // namespace

Damping::Damping(const Cutoff& cutoff, const std::vector<double>& etas)
    : kind(cutoff.kind), gamma(cutoff.gamma), base_eta(0.0), root{}, twice_root_slope{} {
  // With an exponent up to this the terms of the base suffice.
  constexpr double kMostBase = 0.1;
  if (kind == CutoffKind::kCosine) {
    if (!etas.empty()) base_eta = *std::min_element(etas.begin(), etas.end());
    if (base_eta > kMostBase) base_eta = 0.0;
    constexpr long double pi = 3.14159265358979323846264338327950288L;
    const long double eta = base_eta;
    // fc = cos(pi u / 2)^2 with u = sqrt(x)
    root = fit([=](long double x) {
      return std::cos(0.5L * pi * std::sqrt(x)) * std::exp(-0.5L * eta * x);
    });
    twice_root_slope = fit([=](long double x) {
      const long double u = std::sqrt(x);
      const long double sine = x > 0.0L ? std::sin(0.5L * pi * u) / u : 0.5L * pi;
      return -(0.5L * pi * sine + eta * std::cos(0.5L * pi * u)) * std::exp(-0.5L * eta * x);
    });
  }
  for (const double eta : etas) {
    const double rest = eta - base_eta;
    const Rest kind = rest == 0.0           ? Rest::kNone
                      : rest <= kMostSmooth ? Rest::kSmooth
                                            : Rest::kLarge;
    Factor factor{eta, kind, rest, {}};
    if (kind == Rest::kSmooth)
      factor.fourth_root = fit([rest](long double x) { return std::exp(-0.25L * rest * x); });
    factors.push_back(factor);
  }
}

}  // namespace nearsight
