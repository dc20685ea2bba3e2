// Vector operations of the hot loops, on the compiler's own vector types (GCC, Clang), with xsimd's
// names. Only `min`, `max`, `sqrt`, `movemask`, `reduce_add4`, `store_rows` and `load_columns` know
// the instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "nearsight/types.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nearsight {

// Doubles in the vectors of the hot loops. AVX-512 keeps four: its 512-bit arithmetic is no faster
// there, longer vectors waste more lanes on short lists, and its 32 registers help all the same.
#if defined(__AVX__)
inline constexpr Index kPairLanes = 4;
#else
inline constexpr Index kPairLanes = 2;
#endif
static_assert(kFeatureLanes % kPairLanes == 0);

using Vec = double __attribute__((vector_size(sizeof(double) * kPairLanes)));
// The longest vectors, for products of matrices: they have no short lists.
#if defined(__AVX512F__)
using WideVec = double __attribute__((vector_size(64)));
#else
using WideVec = Vec;
#endif
inline constexpr Index kWideLanes = sizeof(WideVec) / sizeof(double);
using Vec4 = double __attribute__((vector_size(4 * sizeof(double))));
using VecBits = std::uint64_t __attribute__((vector_size(sizeof(double) * kPairLanes)));
using Floats = float __attribute__((vector_size(sizeof(Vec))));
inline constexpr Index kFloats = sizeof(Floats) / sizeof(float);
using FloatMask = std::int32_t __attribute__((vector_size(sizeof(Vec))));

template <class V = Vec>
inline V load(const double* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
inline void store(double* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

inline Vec broadcast(double x) {
  Vec v{};
  for (Index l = 0; l < kPairLanes; ++l) v[l] = x;
  return v;
}

inline Vec min(Vec v, double limit) {
#if defined(__AVX2__)
  return reinterpret_cast<Vec>(_mm256_min_pd(reinterpret_cast<__m256d>(v), _mm256_set1_pd(limit)));
#else
  return v < limit ? v : broadcast(limit);
#endif
}

inline Vec max(Vec v, double limit) {
#if defined(__AVX2__)
  return reinterpret_cast<Vec>(_mm256_max_pd(reinterpret_cast<__m256d>(v), _mm256_set1_pd(limit)));
#else
  return v > limit ? v : broadcast(limit);
#endif
}

inline Vec sqrt(Vec v) {
#if defined(__AVX2__)
  return reinterpret_cast<Vec>(_mm256_sqrt_pd(reinterpret_cast<__m256d>(v)));
#else
  for (Index l = 0; l < kPairLanes; ++l) v[l] = std::sqrt(v[l]);
  return v;
#endif
}

inline double reduce_add(Vec v) {
  double total = 0.0;
  for (Index l = 0; l < kPairLanes; ++l) total += v[l];
  return total;
}

// Sums over the lanes of four vectors (xsimd's haddp).
inline void reduce_add4(Vec a, Vec b, Vec c, Vec d, Vec4& sums) {
#if defined(__AVX2__)
  const auto pairs = [](Vec low, Vec high) {  // low 0+1, high 0+1, low 2+3, high 2+3
    return _mm256_hadd_pd(reinterpret_cast<__m256d>(low), reinterpret_cast<__m256d>(high));
  };
  const __m256d ab = pairs(a, b), cd = pairs(c, d);
  sums = reinterpret_cast<Vec4>(
      _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31)));
#else
  sums = Vec4{reduce_add(a), reduce_add(b), reduce_add(c), reduce_add(d)};
#endif
}

// Coefficients of 2^r in powers of r for |r| <= 1/2, to 2e-17: its Chebyshev series, by fit_unit.
inline constexpr double kExp2Series[] = {1.0,
                                         0.6931471805599453,
                                         0.24022650695910158,
                                         0.0555041086648217,
                                         0.009618129107587253,
                                         0.001333355814639035,
                                         0.00015403530463727982,
                                         1.5252733856295574e-05,
                                         1.3215432534254118e-06,
                                         1.0178051192117847e-07,
                                         7.074194562613105e-09,
                                         4.456675463639861e-10};

// 2^x for x <= 1000, to the last bit or two; 2^-1000 below -1000.
inline Vec exp2(Vec x) {
  x = max(x, -1000.0);
  // Adding 1.5 2^52 rounds to a whole number and leaves it in the low bits.
  const Vec shifted = x + 0x1.8p52, rest = x - (shifted - 0x1.8p52), square = rest * rest;
  constexpr int kTerms = std::size(kExp2Series);
  Vec even = broadcast(kExp2Series[kTerms - 2]), odd = broadcast(kExp2Series[kTerms - 1]);
  for (int p = kTerms - 4; p >= 0; p -= 2) {  // two chains, half as long
    even = even * square + kExp2Series[p];
    odd = odd * square + kExp2Series[p + 1];
  }
  Vec value = even + rest * odd;
  VecBits whole, result;
  std::memcpy(&whole, &shifted, sizeof whole);
  std::memcpy(&result, &value, sizeof result);
  result += whole << 52;
  std::memcpy(&value, &result, sizeof value);
  return value;
}

inline constexpr double kLog2E = 1.4426950408889634;  // log2(e)

inline Vec exp(Vec x) { return exp2(kLog2E * x); }

// The transpose: row l, at `rows + l * step`, gets lane l of a, b, c and d.
inline void store_rows(double* rows, Index step, Vec a, Vec b, Vec c, Vec d) {
#if defined(__AVX2__)
  const auto low = [](Vec x, Vec y) {  // x0 y0 x2 y2
    return _mm256_unpacklo_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y));
  };
  const auto high = [](Vec x, Vec y) {  // x1 y1 x3 y3
    return _mm256_unpackhi_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y));
  };
  const __m256d ab[2] = {low(a, b), high(a, b)}, cd[2] = {low(c, d), high(c, d)};
  for (int l = 0; l < 2; ++l) {
    _mm256_storeu_pd(rows + l * step, _mm256_permute2f128_pd(ab[l], cd[l], 0x20));
    _mm256_storeu_pd(rows + (l + 2) * step, _mm256_permute2f128_pd(ab[l], cd[l], 0x31));
  }
#else
  for (Index l = 0; l < kPairLanes; ++l) {
    const double row[] = {a[l], b[l], c[l], d[l]};
    std::memcpy(rows + l * step, row, sizeof row);
  }
#endif
}

// One bit per lane.
inline unsigned movemask(FloatMask mask) {
#if defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#else
  unsigned result = 0;
  for (Index l = 0; l < kFloats; ++l) result |= static_cast<unsigned>(mask[l] & 1) << l;
  return result;
#endif
}

// Indices of the set bits of a byte, lowest first.
using Index16x8 = std::uint16_t __attribute__((vector_size(16)));
struct SetBits {
  std::uint16_t of[256][8]{};
  constexpr SetBits() {
    for (unsigned byte = 0; byte < 256; ++byte)
      for (int bit = 0, n = 0; bit < 8; ++bit)
        if (byte >> bit & 1) of[byte][n++] = static_cast<std::uint16_t>(bit);
  }
};
alignas(16) inline constexpr SetBits kSetBits;

inline Index16x8 set_bit_indices(unsigned byte) {
  Index16x8 indices;
  std::memcpy(&indices, kSetBits.of[byte], sizeof indices);
  return indices;
}

// Two neighbouring columns of kPairLanes records, each starting at a pointer.
inline void load_columns(const double* const records[kPairLanes], Index column, Vec out[2]) {
#if defined(__AVX2__)
  const auto halves = [&](int low, int high) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(records[low] + column)),
                                _mm_loadu_pd(records[high] + column), 1);
  };
  const __m256d even = halves(0, 2), odd = halves(1, 3);
  out[0] = reinterpret_cast<Vec>(_mm256_unpacklo_pd(even, odd));
  out[1] = reinterpret_cast<Vec>(_mm256_unpackhi_pd(even, odd));
#else
  for (int c = 0; c < 2; ++c) {
    double each[kPairLanes];
    for (Index l = 0; l < kPairLanes; ++l) each[l] = records[l][column + c];
    out[c] = load(each);
  }
#endif
}

}  // namespace nearsight
