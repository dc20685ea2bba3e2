#include "nearsight/scaling.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace nearsight {

Scaling linear_scaling(const Vector& minimum, const Vector& maximum) {
  if (minimum.size() != maximum.size())
    throw std::invalid_argument("a minimum and a maximum are needed of every feature");
  const Index n = minimum.size();
  Scaling made{Vector::Zero(n), Vector::Zero(n)};
  for (Index i = 0; i < n; ++i) {
    const double low = minimum[i], high = maximum[i], spread = high - low;
    if (!(spread > 1e-12 * std::max(std::abs(low), std::abs(high)))) continue;
    made.scale[i] = 2.0 / spread;
    // volatile: rounded before the difference, with FMA or without, so that no SIMD level has
    // networks of its own
    const volatile double lowest = made.scale[i] * low;
    made.offset[i] = -1.0 - lowest;
  }
  return made;
}

}  // namespace nearsight
