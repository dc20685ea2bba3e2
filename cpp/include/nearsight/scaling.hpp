// Scaling of the features of an element before its network.
#pragma once

#include <string>

#include "nearsight/types.hpp"

namespace nearsight {

// scaled = scale * G + offset.
struct Scaling {
  Vector scale, offset;
};

// scaled = low + (high - low) (G - origin) / width. The default is min-max scaling to [-1, 1]; the
// others are those of n2p2.
struct ScalingForm {
  // range:    origin minimum, width maximum - minimum
  // mean:     origin mean, width maximum - minimum
  // sigma:    origin mean, width sigma
  // centered: G - mean
  // none:     G
  enum class Kind { kRange, kMean, kSigma, kCentered, kNone };
  Kind kind = Kind::kRange;
  double low = -1.0, high = 1.0;
};

// Throws std::invalid_argument for an unknown name ("range", "mean", ...).
ScalingForm::Kind scaling_kind(const std::string& name);

// Of the features known; mean and sigma may be empty where the form does not ask for them.
struct FeatureStatistics {
  Vector minimum, maximum, mean, sigma;
};

// A feature that never varied carries no information and is scaled to zero. Throws
// std::invalid_argument if the vectors differ in length.
Scaling linear_scaling(const FeatureStatistics& known, const ScalingForm& form = {});

}  // namespace nearsight
