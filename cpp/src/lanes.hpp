// The few vector operations of the hot loops, on the compiler's own vector types (GCC, Clang);
// only `bits` and `Compress` know the instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#include "nearsight/types.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nearsight {

using Lanes = double __attribute__((vector_size(sizeof(double) * kPairLanes)));
using LaneMask = std::int64_t __attribute__((vector_size(sizeof(double) * kPairLanes)));

inline Lanes load(const double* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(double* p, Lanes v) { std::memcpy(p, &v, sizeof v); }

inline Lanes all(double x) { return Lanes{} + x; }

inline double sum(Lanes v) {
  double total = 0.0;
  for (Index l = 0; l < kPairLanes; ++l) total += v[l];
  return total;
}

// One bit per lane.
inline unsigned bits(LaneMask mask) {
#if defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_pd(reinterpret_cast<__m256d>(mask)));
#else
  unsigned result = 0;
  for (Index l = 0; l < kPairLanes; ++l) result |= static_cast<unsigned>(mask[l] & 1) << l;
  return result;
#endif
}

#if defined(__AVX2__)
// For every set of four lanes, the order that brings them to the front, as pairs of 32-bit words.
struct CompressTable {
  alignas(32) std::int32_t words[16][8];
  constexpr CompressTable() : words() {
    for (int keep = 0; keep < 16; ++keep) {
      int n = 0;
      for (int lane = 0; lane < 4; ++lane)
        if (keep >> lane & 1) {
          words[keep][2 * n] = 2 * lane;
          words[keep][2 * n + 1] = 2 * lane + 1;
          ++n;
        }
    }
  }
};
inline constexpr CompressTable kCompress;
#endif

// Brings the lanes whose bit is set to the front, in their order.
class Compress {
 public:
#if defined(__AVX2__)
  explicit Compress(unsigned keep)
      : order_(_mm256_load_si256(reinterpret_cast<const __m256i*>(kCompress.words[keep]))) {}
#else
  explicit Compress(unsigned keep) : keep_(keep) {}
#endif

  // Writes them to p, which has room for all lanes.
  void operator()(double* p, Lanes v) const {
#if defined(__AVX2__)
    const __m256i moved = _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(v), order_);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), moved);
#else
    for (Index l = 0; l < kPairLanes; ++l) {
      *p = v[l];
      p += keep_ >> l & 1;
    }
#endif
  }

 private:
#if defined(__AVX2__)
  __m256i order_;
#else
  unsigned keep_;
#endif
};

}  // namespace nearsight
