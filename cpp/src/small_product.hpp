// Products of matrices too small for the packing of a general product: sums in registers.
#pragma once

#include <algorithm>

#include "lanes.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

// One factor of a product: element (k, i) is at data[k * outer + i * inner].
struct Factor {
  const double* data;
  Index outer, inner;
};

namespace detail {

template <bool kAdd, int kRows, int kVectors>
inline void tile(Index depth, Factor a, const double* b, Index b_outer, double* c, Index c_outer) {
  Lanes sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v)
      sum[i][v] = kAdd ? load(c + i * c_outer + v * kPairLanes) : Lanes{};
  const double* x = a.data;
  for (Index k = 0; k < depth; ++k, x += a.outer, b += b_outer) {
    Lanes right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + v * kPairLanes);
    for (int i = 0; i < kRows; ++i) {
      const double left = x[i * a.inner];
      for (int v = 0; v < kVectors; ++v) sum[i][v] += left * right[v];
    }
  }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) store(c + i * c_outer + v * kPairLanes, sum[i][v]);
}

// The same for n rows, at most kRows.
template <bool kAdd, int kVectors, int kRows>
inline void tile_of(Index n, Index depth, Factor a, const double* b, Index b_outer, double* c,
                    Index c_outer) {
  if constexpr (kRows > 1) {
    if (n < kRows) return tile_of<kAdd, kVectors, kRows - 1>(n, depth, a, b, b_outer, c, c_outer);
  }
  tile<kAdd, kRows, kVectors>(depth, a, b, b_outer, c, c_outer);
}

template <bool kAdd, int kVectors>
inline void strip(Index rows, Index depth, Factor a, const double* b, Index b_outer, double* c,
                  Index c_outer) {
  constexpr int kMost = 6;
  while (rows > 0) {
    // Ten rows are five and five.
    const Index n =
        rows > kMost && rows < 2 * kMost ? (rows + 1) / 2 : std::min<Index>(rows, kMost);
    tile_of<kAdd, kVectors, kMost>(n, depth, a, b, b_outer, c, c_outer);
    rows -= n;
    a.data += n * a.inner;
    c += n * c_outer;
  }
}

}  // namespace detail

// c(i, j) = sum over k of a(k, i) b(k, j), or added to c, for `rows` i and `depth` k. Lines of b
// and c are contiguous and `columns` long, a multiple of the lanes.
template <bool kAdd>
inline void product(Index rows, Index columns, Index depth, Factor a, const double* b,
                    Index b_outer, double* c, Index c_outer) {
  Index j = 0;
  for (; j + 2 * kPairLanes <= columns; j += 2 * kPairLanes)
    detail::strip<kAdd, 2>(rows, depth, a, b + j, b_outer, c + j, c_outer);
  if (j < columns) detail::strip<kAdd, 1>(rows, depth, a, b + j, b_outer, c + j, c_outer);
}

}  // namespace nearsight
