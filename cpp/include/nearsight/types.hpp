// Shared vocabulary of the core: index type, matrices, padded scratch. No Python inside.
#pragma once

#include <Eigen/Dense>
#include <cstddef>

namespace nearsight {

using Index = std::ptrdiff_t;
using Vector = Eigen::VectorXd;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Positions = Eigen::Matrix<double, Eigen::Dynamic, 3, Eigen::RowMajor>;

// Doubles in the widest vector register of any SIMD level (AVX-512). Scratch is aligned to it and
// padded to a multiple of it, so no loop has a tail: a result never depends on where it lies.
inline constexpr Index kLanes = 8;

inline constexpr Index padded(Index n, Index lanes = kLanes) {
  return (n + lanes - 1) / lanes * lanes;
}

// Doubles in the vectors of the hot loops. AVX-512 keeps four: its 512-bit arithmetic is no faster
// here, longer vectors waste more lanes on short lists, and its 32 registers help all the same.
#if defined(__AVX__)
inline constexpr Index kPairLanes = 4;
#else
inline constexpr Index kPairLanes = 2;
#endif

// Doubles to which rows of features kept for training are padded with zeros, at every level.
inline constexpr Index kFeatureLanes = 4;
static_assert(kFeatureLanes % kPairLanes == 0);

// A growing, aligned scratch array; `require` invalidates the content.
class Scratch {
 public:
  double* require(Index n) {
    if (data_.size() < n) data_.resize(padded(n + n / 2));
    return data_.data();
  }
  double* data() { return data_.data(); }

 private:
  Eigen::ArrayXd data_;
};

}  // namespace nearsight
