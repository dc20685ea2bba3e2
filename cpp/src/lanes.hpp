// The few vector operations of the hot loops, on the compiler's own vector types (GCC, Clang);
// only `at_most`, `at_least`, `bits`, `sums_of` and `load_columns` know the instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <iterator>

#include "nearsight/types.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nearsight {

using Lanes = double __attribute__((vector_size(sizeof(double) * kPairLanes)));
using Four = double __attribute__((vector_size(4 * sizeof(double))));
using LaneBits = std::uint64_t __attribute__((vector_size(sizeof(double) * kPairLanes)));
using Floats = float __attribute__((vector_size(sizeof(Lanes))));
inline constexpr Index kFloats = sizeof(Floats) / sizeof(float);
using FloatMask = std::int32_t __attribute__((vector_size(sizeof(Lanes))));

inline Lanes load(const double* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(double* p, Lanes v) { std::memcpy(p, &v, sizeof v); }

inline Lanes all(double x) {
  Lanes v{};
  for (Index l = 0; l < kPairLanes; ++l) v[l] = x;
  return v;
}

// The smaller and the larger of two.
inline Lanes at_most(Lanes v, double limit) {
#if defined(__AVX2__)
  return reinterpret_cast<Lanes>(
      _mm256_min_pd(reinterpret_cast<__m256d>(v), _mm256_set1_pd(limit)));
#else
  return v < limit ? v : all(limit);
#endif
}

inline Lanes at_least(Lanes v, double limit) {
#if defined(__AVX2__)
  return reinterpret_cast<Lanes>(
      _mm256_max_pd(reinterpret_cast<__m256d>(v), _mm256_set1_pd(limit)));
#else
  return v > limit ? v : all(limit);
#endif
}

inline double sum(Lanes v) {
  double total = 0.0;
  for (Index l = 0; l < kPairLanes; ++l) total += v[l];
  return total;
}

// Sums over the lanes of four vectors.
inline void sums_of(Lanes a, Lanes b, Lanes c, Lanes d, Four& sums) {
#if defined(__AVX2__)
  const auto pairs = [](Lanes low, Lanes high) {  // low 0+1, high 0+1, low 2+3, high 2+3
    return _mm256_hadd_pd(reinterpret_cast<__m256d>(low), reinterpret_cast<__m256d>(high));
  };
  const __m256d ab = pairs(a, b), cd = pairs(c, d);
  sums = reinterpret_cast<Four>(
      _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31)));
#else
  sums = Four{sum(a), sum(b), sum(c), sum(d)};
#endif
}

// 2^r = sum_n of these r^n for |r| <= 1/2, to 2e-17: its Chebyshev series there, by fit_unit.
inline constexpr double kPowerOfTwo[] = {1.0,
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

// 2^x for x <= 1000, to the last bit or two; below -1000 as at -1000.
inline Lanes power_of_two(Lanes x) {
  x = at_least(x, -1000.0);
  // Adding 1.5 2^52 rounds to a whole number and leaves it in the low bits.
  const Lanes shifted = x + 0x1.8p52, rest = x - (shifted - 0x1.8p52), square = rest * rest;
  constexpr int kTerms = std::size(kPowerOfTwo);
  Lanes even = all(kPowerOfTwo[kTerms - 2]), odd = all(kPowerOfTwo[kTerms - 1]);
  for (int p = kTerms - 4; p >= 0; p -= 2) {  // two chains, half as long
    even = even * square + kPowerOfTwo[p];
    odd = odd * square + kPowerOfTwo[p + 1];
  }
  Lanes value = even + rest * odd;
  LaneBits whole, result;
  std::memcpy(&whole, &shifted, sizeof whole);
  std::memcpy(&result, &value, sizeof result);
  result += whole << 52;
  std::memcpy(&value, &result, sizeof value);
  return value;
}

inline constexpr double kLog2E = 1.4426950408889634;  // log2(e)

inline Lanes exponential(Lanes x) { return power_of_two(kLog2E * x); }

// One bit per lane.
inline unsigned bits(FloatMask mask) {
#if defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
#else
  unsigned result = 0;
  for (Index l = 0; l < kFloats; ++l) result |= static_cast<unsigned>(mask[l] & 1) << l;
  return result;
#endif
}

// The numbers of the bits of a byte that are set, lowest first.
using Numbers = std::uint16_t __attribute__((vector_size(16)));
struct NumbersOfBits {
  std::uint16_t of[256][8]{};
  constexpr NumbersOfBits() {
    for (unsigned byte = 0; byte < 256; ++byte)
      for (int bit = 0, n = 0; bit < 8; ++bit)
        if (byte >> bit & 1) of[byte][n++] = static_cast<std::uint16_t>(bit);
  }
};
alignas(16) inline constexpr NumbersOfBits kNumbersOfBits;

inline Numbers numbers_of_bits(unsigned byte) {
  Numbers numbers;
  std::memcpy(&numbers, kNumbersOfBits.of[byte], sizeof numbers);
  return numbers;
}

// Two neighbouring columns of as many records as there are lanes, each starting at a pointer.
inline void load_columns(const double* const records[kPairLanes], Index column, Lanes out[2]) {
#if defined(__AVX2__)
  const auto halves = [&](int low, int high) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(records[low] + column)),
                                _mm_loadu_pd(records[high] + column), 1);
  };
  const __m256d even = halves(0, 2), odd = halves(1, 3);
  out[0] = reinterpret_cast<Lanes>(_mm256_unpacklo_pd(even, odd));
  out[1] = reinterpret_cast<Lanes>(_mm256_unpackhi_pd(even, odd));
#else
  for (int c = 0; c < 2; ++c) {
    double each[kPairLanes];
    for (Index l = 0; l < kPairLanes; ++l) each[l] = records[l][column + c];
    out[c] = load(each);
  }
#endif
}

}  // namespace nearsight
