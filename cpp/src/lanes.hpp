// The few vector operations of the hot loops, on the compiler's own vector types (GCC, Clang);
// only `bits`, `sums_of` and `load_columns` know the instruction set.
#pragma once

#include <cstdint>
#include <cstring>

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

// exp(x) for x <= 700, to the last bit or two; below -700 as at -700.
inline Lanes exponential(Lanes x) {
  constexpr double kInverse[] = {1.0,
                                 1.0,
                                 1.0 / 2.0,
                                 1.0 / 6.0,
                                 1.0 / 24.0,
                                 1.0 / 120.0,
                                 1.0 / 720.0,
                                 1.0 / 5040.0,
                                 1.0 / 40320.0,
                                 1.0 / 362880.,
                                 1.0 / 3628800.0,
                                 1.0 / 39916800.0,
                                 1.0 / 479001600.0,
                                 1.0 / 6227020800.0};  // 1 / n!
  x = x > -700.0 ? x : all(-700.0);
  // Adding 1.5 2^52 rounds to a whole number and leaves it in the low bits: x = n ln 2 + rest.
  const Lanes shifted = x * 1.4426950408889634 + 0x1.8p52, n = shifted - 0x1.8p52;
  const Lanes rest = x - n * 6.93147180369123816490e-01 - n * 1.90821492927058770002e-10;
  const Lanes square = rest * rest;
  Lanes even = all(kInverse[12]), odd = all(kInverse[13]);  // two chains, half as long
  for (int p = 10; p >= 0; p -= 2) {
    even = even * square + kInverse[p];
    odd = odd * square + kInverse[p + 1];
  }
  Lanes value = even + rest * odd;
  LaneBits whole, result;
  std::memcpy(&whole, &shifted, sizeof whole);
  std::memcpy(&result, &value, sizeof result);
  result += whole << 52;
  std::memcpy(&value, &result, sizeof value);
  return value;
}

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
