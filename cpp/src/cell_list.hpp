// Cell list: atoms sorted into bins, from which neighbours are found; packed shifts by whole cells.
#pragma once

#include <Eigen/Geometry>
#include <Eigen/LU>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "distance_filter.hpp"
#include "nearsight/structure.hpp"

namespace nearsight {

// Largest number of cells within the cutoff in one direction; more are another unit of length.
inline constexpr int kMaxReach = 40;

// The cell with the vectors of directions that are not periodic replaced by unit vectors
// orthogonal to all others, so that it is never singular.
inline Eigen::Matrix3d complete_cell(Eigen::Matrix3d cell, const std::array<bool, 3>& periodic) {
  const int n = periodic[0] + periodic[1] + periodic[2];
  if (n == 3) return cell;
  if (n == 0) return Eigen::Matrix3d::Identity();
  for (int a = 0; a < 3; ++a) {
    const int b = (a + 1) % 3, c = (a + 2) % 3;
    if (n == 2 && !periodic[a]) {
      cell.row(a) = cell.row(b).cross(cell.row(c)).normalized();
    } else if (n == 1 && periodic[a]) {
      const Eigen::Vector3d along = cell.row(a).normalized();
      cell.row(b) = along.unitOrthogonal();
      cell.row(c) = along.cross(Eigen::Vector3d(cell.row(b)));
    }
  }
  return cell;
}

// A shift packed into three times 10 bits. Packed numbers may be added and subtracted as long as
// the sum is that of kNoShift and a shift within kMaxShift.
inline constexpr int kShiftBits = 10;
inline constexpr int kMaxShift = (1 << (kShiftBits - 1)) - 1;

inline std::uint32_t pack(const std::array<int, 3>& shift) {
  const int packed = (shift[0] * (1 << kShiftBits) + shift[1]) * (1 << kShiftBits) + shift[2];
  return static_cast<std::uint32_t>(packed);
}

inline const std::uint32_t kNoShift = pack({kMaxShift, kMaxShift, kMaxShift});

inline std::array<int, 3> unpack(std::uint32_t packed) {
  std::array<int, 3> shift;
  for (int a = 2; a >= 0; --a, packed >>= kShiftBits)
    shift[a] = static_cast<int>(packed & ((1U << kShiftBits) - 1)) - kMaxShift;
  return shift;
}

// Largest number of cells between a position and the first cell.
inline constexpr int kMaxWrapped = (kMaxShift - kMaxReach) / 2 - 1;

// CellList per range in the last direction.
inline constexpr int kBinsPerRange = 4;

// Atoms sorted into bins; the last direction runs fastest, so a column of bins is one range.
struct CellList {
  CellList(const Structure& structure, const Eigen::Matrix3d& cell, double range) : cell(cell) {
    const Index n = structure.size();
    const Eigen::Matrix3d inverse = cell.inverse();
    Positions fractional = structure.positions() * inverse;
    wrapped.assign(n, {0, 0, 0});
    // CellList as long as the range, but thin in the last direction, where many are one loop. And
    // not many more bins than atoms, which vacuum would cost.
    const double most = 2.0 * std::cbrt(static_cast<double>(n)) + 1.0;
    for (int a = 0; a < 3; ++a) {
      double height, length = 1.0;
      origin[a] = 0.0;
      if (structure.periodic()[a]) {
        height = 1.0 / inverse.col(a).norm();
        for (Index i = 0; i < n; ++i) {
          const double whole = std::floor(fractional(i, a));
          if (!(std::abs(whole) <= kMaxWrapped))
            throw std::invalid_argument("atom " + std::to_string(i) +
                                        " lies hundreds of cells away; wrap the positions");
          wrapped[i][a] = static_cast<int>(whole);
          fractional(i, a) -= whole;
        }
      } else {
        origin[a] = fractional.col(a).minCoeff();
        length = std::max(fractional.col(a).maxCoeff() - origin[a], 1e-9);
        height = length;  // the vector has length 1 and is orthogonal to the others
      }
      const double bins_per_range = a == 2 ? kBinsPerRange : 1.0;
      count[a] =
          static_cast<int>(std::clamp(std::floor(bins_per_range * height / range), 1.0, most));
      double bins_reached = std::ceil(range * count[a] / height * (1.0 + 1e-12));
      if (!structure.periodic()[a])  // the structure may be flat
        bins_reached = std::min(bins_reached, count[a] - 1.0);
      if (bins_reached > kMaxReach)
        throw std::invalid_argument("the cell is only " + std::to_string(height) +
                                    " Å high in one direction; lengths must be in Å");
      reach[a] = static_cast<int>(bins_reached);
      scale[a] = count[a] / length;
    }
    std::vector<std::array<int, 3>> bin_of(n);
    begin.assign(static_cast<std::size_t>(count[0]) * count[1] * count[2] + 1, 0);
    for (Index i = 0; i < n; ++i) {
      for (int a = 0; a < 3; ++a)
        bin_of[i][a] =
            std::min(count[a] - 1, static_cast<int>((fractional(i, a) - origin[a]) * scale[a]));
      ++begin[index(bin_of[i]) + 1];
    }
    for (std::size_t b = 1; b < begin.size(); ++b) begin[b] += begin[b - 1];
    std::vector<Index> fill(begin.begin(), begin.end() - 1);
    atom.resize(n);
    shift.resize(n);
    bin.resize(n);
    place.resize(n);
    for (auto* column : {&x, &y, &z}) column->resize(n + 8);
    Positions inside = fractional * cell;
    if (n > 0) inside.rowwise() -= inside.colwise().minCoeff().eval();
    double farthest = 0.0;  // where an image may lie
    for (int a = 0; a < 3; ++a) farthest += (reach[a] + 1) * cell.row(a).cwiseAbs().maxCoeff();
    if (n > 0) farthest += inside.cwiseAbs().maxCoeff();
    rounding = 8.0 * farthest * std::numeric_limits<float>::epsilon();
    for (Index i = 0; i < n; ++i) {
      const Index p = fill[index(bin_of[i])]++;
      atom[p] = static_cast<int>(i);
      shift[p] = kNoShift - pack(wrapped[i]);
      bin[p] = bin_of[i];
      place[i] = p;
      x[p] = static_cast<float>(inside(i, 0));
      y[p] = static_cast<float>(inside(i, 1));
      z[p] = static_cast<float>(inside(i, 2));
    }
  }

  Index index(const std::array<int, 3>& b) const {
    return (static_cast<Index>(b[0]) * count[1] + b[1]) * count[2] + b[2];
  }

  // Points from place p on.
  Points points(Index p) const { return {&x[p], &y[p], &z[p]}; }

  // Bin `place` of direction a as a bin inside the cell and whole cells.
  std::pair<int, int> fold(int place, int a) const {
    const int image = place >= 0 ? place / count[a] : -((count[a] - 1 - place) / count[a]);
    return {place - image * count[a], image};
  }

  Eigen::Matrix3d cell;
  std::array<int, 3> count, reach;
  std::array<double, 3> scale, origin;
  std::vector<std::array<int, 3>> wrapped;  // by atom: whole cells taken off
  std::vector<Index> place;                 // by atom: index into the following
  std::vector<Index> begin;                 // by bin: where its atoms begin
  // In the order of the bins:
  std::vector<int> atom;
  std::vector<std::uint32_t> shift;  // minus the cells taken off, packed
  std::vector<std::array<int, 3>> bin;
  std::vector<float> x, y, z;  // Å, inside the cell, from the lowest; room for eight at a time
  double rounding;             // Å, of distances from these
};

}  // namespace nearsight
