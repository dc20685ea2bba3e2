// Shared vocabulary of the core: index type, matrices, padded scratch. No Python inside.
#pragma once

#include <Eigen/Core>
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

// Doubles to which rows of features kept for training are padded with zeros, at every level.
inline constexpr Index kFeatureLanes = 4;

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
