// Which of many points are near one, told in single precision, eight at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "lanes.hpp"

namespace nearsight {

// Three columns of coordinates, with room for eight more than there are points.
struct Points {
  const float *x, *y, *z;
};

// Lists the numbers of the points from `first` to `last`, without `self`, whose squared distance
// from a place is below a limit. Returns how many; the list needs room for eight more.
inline Index list_near(const Points& points, Index first, Index last,
                       const std::array<float, 3>& place, float limit, Index self,
                       std::uint16_t* list) {
  constexpr Index kPart = 128;
  Numbers base = Numbers{} + static_cast<std::uint16_t>(first);
  Index m = 0;
  for (Index part = first; part < last; part += kPart) {
    // A byte of bits for every eight, then the numbers of those that are near: stores whose place
    // depends on the geometry would hold up the loads that follow.
    std::uint8_t near[kPart / 8];
    const Index end = std::min(part + kPart, last);
    std::uint8_t* bytes = near;
    for (Index k = part; k < end; k += 8) {
      unsigned byte = 0;
      for (Index l = 0; l < 8; l += kFloats) {
        const Floats x = place[0] - load(points.x + k + l), y = place[1] - load(points.y + k + l),
                     z = place[2] - load(points.z + k + l);
        byte |= bits(x * x + y * y + z * z < limit) << l;
      }
      *bytes++ = static_cast<std::uint8_t>(byte);
    }
    if (const Index over = (end - part) % 8) bytes[-1] &= (1U << over) - 1;
    if (part <= self && self < end) near[(self - part) / 8] &= ~(1U << (self - part) % 8);
    bytes = near;
    for (Index k = part; k < end; k += 8, base += 8) {
      const unsigned byte = *bytes++;
      const Numbers numbers = numbers_of_bits(byte) + base;
      std::memcpy(list + m, &numbers, sizeof numbers);
      m += __builtin_popcount(byte);
    }
  }
  return m;
}

}  // namespace nearsight
