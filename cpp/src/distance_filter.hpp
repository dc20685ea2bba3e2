// Points within a distance of a centre, in single precision, eight at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "simd.hpp"

namespace nearsight {

// Coordinates in three columns, with room for eight more than there are points.
struct Points {
  const float *x, *y, *z;
};

// Indices of the points from `first` to `last`, without `self`, whose squared distance from
// `center` is below `limit`. Returns their number; `list` needs room for eight more.
inline Index points_within(const Points& points, Index first, Index last,
                           const std::array<float, 3>& center, float limit, Index self,
                           std::uint16_t* list) {
  constexpr Index kBatch = 128;
  Index16x8 base = Index16x8{} + static_cast<std::uint16_t>(first);
  Index m = 0;
  for (Index batch = first; batch < last; batch += kBatch) {
    // A byte of bits for every eight, then the indices of those that are near: stores whose address
    // depends on the geometry would hold up the loads that follow.
    std::uint8_t near[kBatch / 8];
    const Index end = std::min(batch + kBatch, last);
    std::uint8_t* bytes = near;
    for (Index k = batch; k < end; k += 8) {
      unsigned byte = 0;
      for (Index l = 0; l < 8; l += kFloats) {
        const Floats x = center[0] - load(points.x + k + l), y = center[1] - load(points.y + k + l),
                     z = center[2] - load(points.z + k + l);
        byte |= movemask(x * x + y * y + z * z < limit) << l;
      }
      *bytes++ = static_cast<std::uint8_t>(byte);
    }
    if (const Index over = (end - batch) % 8) bytes[-1] &= (1U << over) - 1;
    if (batch <= self && self < end) near[(self - batch) / 8] &= ~(1U << (self - batch) % 8);
    bytes = near;
    for (Index k = batch; k < end; k += 8, base += 8) {
      const unsigned byte = *bytes++;
      const Index16x8 indices = set_bit_indices(byte) + base;
      std::memcpy(list + m, &indices, sizeof indices);
      m += __builtin_popcount(byte);
    }
  }
  return m;
}

}  // namespace nearsight
