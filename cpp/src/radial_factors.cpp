
#include "radial_factors.hpp"

#include <algorithm>
#include <cmath>

namespace nearsight {

namespace {

template <class Function>
VecPolynomial<RadialFactors::kTerms> fit_vec(const Function& f) {
  const auto coefficients = fit_unit<RadialFactors::kTerms>(f);
  VecPolynomial<RadialFactors::kTerms> made;
  for (int p = 0; p < RadialFactors::kTerms; ++p)
    std::fill_n(made.c[p], kPairLanes, coefficients[p]);
  return made;
}

}  // namespace

RadialFactors::RadialFactors(const Cutoff& cutoff, const std::vector<RadialForm>& forms)
    : kind(cutoff.kind),
      gamma(cutoff.gamma),
      base_eta(0.0),
      root{},
      twice_root_slope{},
      have_shifts(false) {
  // Up to this eta the terms of the base suffice.
  constexpr double kMaxBase = 0.1;
  if (kind == CutoffKind::kCosine) {
    if (!forms.empty() && forms.front().r_s == 0.0) base_eta = forms.front().eta;
    if (base_eta > kMaxBase) base_eta = 0.0;
    constexpr long double pi = 3.14159265358979323846264338327950288L;
    const long double eta = base_eta;
    // fc = cos(pi u / 2)^2 with u = sqrt(x)
    root = fit_vec([=](long double x) {
      return std::cos(0.5L * pi * std::sqrt(x)) * std::exp(-0.5L * eta * x);
    });
    twice_root_slope = fit_vec([=](long double x) {
      const long double u = std::sqrt(x);
      const long double sine = x > 0.0L ? std::sin(0.5L * pi * u) / u : 0.5L * pi;
      return -(0.5L * pi * sine + eta * std::cos(0.5L * pi * u)) * std::exp(-0.5L * eta * x);
    });
  }
  for (const auto& [eta, r_s] : forms) {
    const double extra_eta = eta - base_eta;
    const Extra kind = r_s != 0.0                ? Extra::kShifted
                       : extra_eta == 0.0        ? Extra::kNone
                       : extra_eta <= kMaxSmooth ? Extra::kSmooth
                                                 : Extra::kLarge;
    have_shifts = have_shifts || r_s != 0.0;
    Factor factor{eta, r_s / cutoff.radius, kind, extra_eta, {}};
    if (kind == Extra::kSmooth)
      factor.fourth_root =
          fit_vec([extra_eta](long double x) { return std::exp(-0.25L * extra_eta * x); });
    factors.push_back(factor);
  }
}

}  // namespace nearsight
