#include "nearsight/neighbor_list.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <tuple>

#include "nearsight/parallel.hpp"

namespace nearsight {

namespace {

// Two atoms nearer than this are at one place, Å.
constexpr double kSamePlace = 1e-3;

// The cell with the vectors of directions that are not periodic replaced by unit vectors
// orthogonal to all others, so that it is never singular.
Eigen::Matrix3d complete_cell(const StructureView& structure) {
  Eigen::Matrix3d cell = structure.cell;
  const auto& periodic = structure.periodic;
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

// Atoms sorted into bins whose width is at least the cutoff wherever more than one fits.
struct Bins {
  Bins(const StructureView& structure, double cutoff) : cell(complete_cell(structure)) {
    const Index n = structure.size();
    const Eigen::Matrix3d inverse = cell.inverse();
    Positions fractional = structure.positions * inverse;
    wrapped.resize(n);
    // Roughly one atom per bin is enough; more bins than that cost memory for vacuum.
    const double most = std::cbrt(static_cast<double>(n)) + 1.0;
    for (int a = 0; a < 3; ++a) {
      double height, origin = 0.0, length = 1.0;
      if (structure.periodic[a]) {
        height = 1.0 / inverse.col(a).norm();
        for (Index i = 0; i < n; ++i) {
          const double whole = std::floor(fractional(i, a));
          wrapped[i][a] = static_cast<int>(whole);
          fractional(i, a) -= whole;
        }
      } else {
        origin = fractional.col(a).minCoeff();
        length = std::max(fractional.col(a).maxCoeff() - origin, 1e-9);
        height = length;  // the vector has length 1 and is orthogonal to the others
        for (Index i = 0; i < n; ++i) wrapped[i][a] = 0;
      }
      count[a] = static_cast<int>(std::clamp(std::floor(height / cutoff), 1.0, most));
      reach[a] = structure.periodic[a] ? static_cast<int>(std::ceil(cutoff * count[a] / height))
                                       : (count[a] > 1 ? 1 : 0);
      scale[a] = count[a] / length;
      start[a] = origin;
    }
    bin_of.resize(n);
    std::vector<Index> fill(static_cast<std::size_t>(count[0]) * count[1] * count[2] + 1, 0);
    for (Index i = 0; i < n; ++i) {
      for (int a = 0; a < 3; ++a)
        bin_of[i][a] = std::min(
            count[a] - 1, static_cast<int>((fractional(i, a) - start[a]) * scale[a]));
      ++fill[index(bin_of[i]) + 1];
    }
    for (std::size_t b = 1; b < fill.size(); ++b) fill[b] += fill[b - 1];
    begin = fill;
    atoms.resize(n);
    for (Index i = 0; i < n; ++i) atoms[fill[index(bin_of[i])]++] = static_cast<int>(i);
  }

  Index index(const std::array<int, 3>& b) const {
    return (static_cast<Index>(b[0]) * count[1] + b[1]) * count[2] + b[2];
  }

  Eigen::Matrix3d cell;
  std::array<int, 3> count, reach;
  std::array<double, 3> scale, start;
  std::vector<std::array<int, 3>> wrapped, bin_of;  // whole cells taken off; bin of every atom
  std::vector<Index> begin;
  std::vector<int> atoms;
};

void find_bonds(const StructureView& structure, const Bins& bins, double cutoff, Index i,
                std::vector<Bond>& found) {
  const auto& x = structure.positions;
  const double limit = cutoff * cutoff;
  const std::size_t first = found.size();
  std::array<int, 3> d, bin, image;
  for (d[0] = -bins.reach[0]; d[0] <= bins.reach[0]; ++d[0])
    for (d[1] = -bins.reach[1]; d[1] <= bins.reach[1]; ++d[1])
      for (d[2] = -bins.reach[2]; d[2] <= bins.reach[2]; ++d[2]) {
        bool inside = true;
        for (int a = 0; a < 3; ++a) {
          const int place = bins.bin_of[i][a] + d[a];
          image[a] = place >= 0 ? place / bins.count[a]
                                : -((bins.count[a] - 1 - place) / bins.count[a]);
          bin[a] = place - image[a] * bins.count[a];
          if (image[a] != 0 && !structure.periodic[a]) inside = false;
        }
        if (!inside) continue;
        const Index b = bins.index(bin);
        for (Index p = bins.begin[b]; p < bins.begin[b + 1]; ++p) {
          const int j = bins.atoms[p];
          std::array<int, 3> shift;
          for (int a = 0; a < 3; ++a) shift[a] = image[a] + bins.wrapped[i][a] - bins.wrapped[j][a];
          Eigen::RowVector3d r = x.row(j) - x.row(i);
          for (int a = 0; a < 3; ++a)
            if (shift[a] != 0) r += shift[a] * bins.cell.row(a);
          const double square = r.squaredNorm();
          if (square >= limit) continue;
          if (j == i && shift == std::array<int, 3>{0, 0, 0}) continue;
          const double distance = std::sqrt(square);
          if (distance < kSamePlace)
            throw std::invalid_argument("atoms " + std::to_string(std::min<Index>(i, j)) + " and " +
                                        std::to_string(std::max<Index>(i, j)) +
                                        " are at one place (less than 0.001 Å apart)");
          found.push_back({r[0], r[1], r[2], distance, j, shift});
        }
      }
  std::sort(found.begin() + first, found.end(), [](const Bond& a, const Bond& b) {
    return std::tie(a.atom, a.shift) < std::tie(b.atom, b.shift);
  });
}

}  // namespace

NeighborList::NeighborList(const StructureView& structure, double cutoff, int threads) {
  const Index n = structure.size();
  const Bins bins(structure, cutoff);
  constexpr Index kGrain = 64;
  std::vector<std::vector<Bond>> blocks((n + kGrain - 1) / kGrain);
  offsets.assign(n + 1, 0);
  parallel_blocks(n, kGrain, thread_count(threads), [&](Index first, Index last, int) {
    std::vector<Bond>& found = blocks[first / kGrain];
    found.reserve(static_cast<std::size_t>(80 * (last - first)));
    for (Index i = first; i < last; ++i) {
      const std::size_t before = found.size();
      find_bonds(structure, bins, cutoff, i, found);
      offsets[i + 1] = static_cast<Index>(found.size() - before);
    }
  });
  for (Index i = 0; i < n; ++i) offsets[i + 1] += offsets[i];
  bonds.reserve(offsets[n]);
  for (std::vector<Bond>& block : blocks) {
    bonds.insert(bonds.end(), block.begin(), block.end());
    std::vector<Bond>().swap(block);
  }
}

}  // namespace nearsight
