// Products of matrices too small for the packing of a general GEMM: sums in registers.
#pragma once

#include <algorithm>

#include "nearsight/types.hpp"
#include "simd.hpp"

namespace nearsight {

// Left operand: element (k, i) is at data[k * outer + i * inner].
struct GemmOperand {
  const double* data;
  Index outer, inner;
};

namespace detail {

template <bool kAdd, class V, int kRows, int kVectors>
inline void tile(Index depth, GemmOperand a, const double* b, Index b_outer, double* c,
                 Index c_outer) {
  constexpr Index kLanes = sizeof(V) / sizeof(double);
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v)
      sum[i][v] = kAdd ? load<V>(c + i * c_outer + v * kLanes) : V{};
  const double* x = a.data;
  for (Index k = 0; k < depth; ++k, x += a.outer, b += b_outer) {
    V right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = load<V>(b + v * kLanes);
    for (int i = 0; i < kRows; ++i) {
      const double left = x[i * a.inner];
      for (int v = 0; v < kVectors; ++v) sum[i][v] += left * right[v];
    }
  }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) store(c + i * c_outer + v * kLanes, sum[i][v]);
}

// `tile` for n rows, at most kRows.
template <bool kAdd, class V, int kVectors, int kRows>
inline void tile_of(Index n, Index depth, GemmOperand a, const double* b, Index b_outer, double* c,
                    Index c_outer) {
  if constexpr (kRows > 1) {
    if (n < kRows)
      return tile_of<kAdd, V, kVectors, kRows - 1>(n, depth, a, b, b_outer, c, c_outer);
  }
  tile<kAdd, V, kRows, kVectors>(depth, a, b, b_outer, c, c_outer);
}

template <bool kAdd, class V, int kVectors>
inline void strip(Index rows, Index depth, GemmOperand a, const double* b, Index b_outer, double* c,
                  Index c_outer) {
  // Enough sums for the units to be always at work on some of them.
  constexpr int kMaxRows = kVectors == 1 ? 8 : 6;
  while (rows > 0) {
    // Ten rows are five and five.
    const Index n =
        rows > kMaxRows && rows < 2 * kMaxRows ? (rows + 1) / 2 : std::min<Index>(rows, kMaxRows);
    tile_of<kAdd, V, kVectors, kMaxRows>(n, depth, a, b, b_outer, c, c_outer);
    rows -= n;
    a.data += n * a.inner;
    c += n * c_outer;
  }
}

}  // namespace detail

// c(i, j) = sum over k of a(k, i) b(k, j), or added to c, for `rows` i and `depth` k. Rows of b
// and c are contiguous and `columns` long, a multiple of the lanes.
template <bool kAdd>
inline void small_gemm(Index rows, Index columns, Index depth, GemmOperand a, const double* b,
                       Index b_outer, double* c, Index c_outer) {
  Index j = 0;
  for (; j + 2 * kWideLanes <= columns; j += 2 * kWideLanes)
    detail::strip<kAdd, WideVec, 2>(rows, depth, a, b + j, b_outer, c + j, c_outer);
  for (; j + kWideLanes <= columns; j += kWideLanes)
    detail::strip<kAdd, WideVec, 1>(rows, depth, a, b + j, b_outer, c + j, c_outer);
  if (j < columns) detail::strip<kAdd, Vec, 1>(rows, depth, a, b + j, b_outer, c + j, c_outer);
}

}  // namespace nearsight
