// Min-max scaling of the features of an element to [-1, 1].
#pragma once

#include "nearsight/types.hpp"

namespace nearsight {

// scaled = scale * G + offset.
struct Scaling {
  Vector scale, offset;
};

// Of features from `minimum` to `maximum`. One that never varied carries no information and is
// scaled to zero. Throws std::invalid_argument if the two differ in length.
Scaling linear_scaling(const Vector& minimum, const Vector& maximum);

}  // namespace nearsight
