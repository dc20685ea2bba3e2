#include "nearsight/damping.hpp"

#include <algorithm>
#include <cmath>

#include "polynomial.hpp"

namespace nearsight {

namespace {

template <int N>
LanePolynomial<N> spread(const std::vector<double>& coefficients) {
  LanePolynomial<N> made{};
  for (std::size_t p = 0; p < std::min<std::size_t>(N, coefficients.size()); ++p)
    std::fill_n(made.c[p], kPairLanes, coefficients[p]);
  return made;
}

}  // namespace

Damping::Damping(const Cutoff& cutoff, const std::vector<double>& etas)
    : kind(cutoff.kind), gamma(cutoff.gamma), base_eta(0.0), base{}, base_slope{} {
  // With an exponent up to this the terms of the base suffice.
  constexpr double kMostBase = 0.25;
  if (kind == CutoffKind::kCosine) {
    if (!etas.empty()) base_eta = *std::min_element(etas.begin(), etas.end());
    if (base_eta > kMostBase) base_eta = 0.0;
    constexpr long double pi = 3.14159265358979323846264338327950288L;
    const long double eta = base_eta;
    const auto f = [eta](long double x) {
      return 0.5L * (1.0L + std::cos(pi * std::sqrt(x))) * std::exp(-eta * x);
    };
    base = spread<kBaseTerms>(fit_unit(f));
    base_slope = spread<kBaseTerms>(fit_unit([&](long double x) {
      const long double u = std::sqrt(x);
      const long double sine = x > 0.0L ? std::sin(pi * u) / u : pi;
      return -0.25L * pi * sine * std::exp(-eta * x) - eta * f(x);
    }));
  }
  for (const double eta : etas) {
    const double rest = eta - base_eta;
    const Rest kind = rest == 0.0           ? Rest::kNone
                      : rest <= kMostSmooth ? Rest::kSmooth
                                            : Rest::kLarge;
    Factor factor{eta, kind, rest, {}};
    if (kind == Rest::kSmooth)
      factor.exponential = spread<kExponentialTerms>(
          fit_unit([rest](long double x) { return std::exp(-rest * x); }));
    factors.push_back(factor);
  }
}

}  // namespace nearsight
