#include "nearsight/scaling.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace nearsight {

ScalingForm::Kind scaling_kind(const std::string& name) {
  using Kind = ScalingForm::Kind;
  if (name == "range") return Kind::kRange;
  if (name == "mean") return Kind::kMean;
  if (name == "sigma") return Kind::kSigma;
  if (name == "centered") return Kind::kCentered;
  if (name == "none") return Kind::kNone;
  throw std::invalid_argument("unknown scaling '" + name.substr(0, 40) +
                              "', expected range, mean, sigma, centered or none");
}

Scaling linear_scaling(const FeatureStatistics& known, const ScalingForm& form) {
  using Kind = ScalingForm::Kind;
  const Index n = known.minimum.size();
  const bool by_mean = form.kind != Kind::kRange && form.kind != Kind::kNone;
  const bool by_sigma = form.kind == Kind::kSigma;
  if (known.maximum.size() != n)
    throw std::invalid_argument("a minimum and a maximum are needed of every feature");
  if ((by_mean && known.mean.size() != n) || (by_sigma && known.sigma.size() != n))
    throw std::invalid_argument("this scaling needs a mean, or sigma, of every feature");
  Scaling made{Vector::Zero(n), Vector::Zero(n)};
  for (Index i = 0; i < n; ++i) {
    const double origin = by_mean ? known.mean[i] : known.minimum[i];
    if (form.kind == Kind::kNone || form.kind == Kind::kCentered) {
      made.scale[i] = 1.0;
      made.offset[i] = by_mean ? -origin : 0.0;
      continue;
    }
    const double low = known.minimum[i], high = known.maximum[i];
    const double width = by_sigma ? known.sigma[i] : high - low;
    const double least = by_sigma ? 0.0 : 1e-12 * std::max(std::abs(low), std::abs(high));
    if (!(width > least)) continue;
    made.scale[i] = (form.high - form.low) / width;
    // volatile: rounded before the difference, with FMA or without, so that no SIMD level has
    // networks of its own
    const volatile double lowest = made.scale[i] * origin;
    made.offset[i] = form.low - lowest;
  }
  return made;
}

}  // namespace nearsight
