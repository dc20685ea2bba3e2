#include "nearsight/neighbor_list.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "bins.hpp"
#include "near_points.hpp"
#include "nearsight/parallel.hpp"

namespace nearsight {

namespace {

// Two atoms nearer than this are at one place, Å.
constexpr double kSamePlace = 1e-3;

using Ints = int __attribute__((vector_size(sizeof(Lanes))));
constexpr Index kInts = sizeof(Ints) / sizeof(int);
constexpr Index kCounted = 4 * kInts;

// More neighbours than most atoms have.
constexpr Index kMany = 96;

// Atoms looked at in one go.
constexpr Index kPart = 256;

// The neighbours of one atom as they are found.
struct Found {
  std::vector<int> atom, rank;
  std::vector<std::uint32_t> shift;
  Index size = 0;

  void require(Index more) {
    const std::size_t room = padded(size + more, kCounted);
    if (atom.size() >= room) return;
    for (auto* column : {&atom, &rank}) column->resize(2 * room);
    shift.resize(2 * room);
  }
};

// The neighbours of the atom at place p of the bins, those of one atom in the order of their
// shifts.
void find_pairs(const StructureView& structure, const Bins& bins, double range, Index p,
                bool shifted, Found& found) {
  // In single precision a few more are found: `bonds` looks again.
  const double safe = range + bins.rounding;
  const float limit = static_cast<float>(safe * safe);
  const std::array<int, 3>& own = bins.bin[p];
  const std::array<int, 3>& wrapped = bins.wrapped[bins.atom[p]];
  found.size = 0;
  for (int dx = -bins.reach[0]; dx <= bins.reach[0]; ++dx) {
    const auto [bx, ix] = bins.fold(own[0] + dx, 0);
    if (ix != 0 && !structure.periodic[0]) continue;
    for (int dy = -bins.reach[1]; dy <= bins.reach[1]; ++dy) {
      const auto [by, iy] = bins.fold(own[1] + dy, 1);
      if (iy != 0 && !structure.periodic[1]) continue;
      for (int low = own[2] - bins.reach[2]; low <= own[2] + bins.reach[2];) {
        // All bins of the column that lie in one image are one range.
        const auto [bz, iz] = bins.fold(low, 2);
        const int bins_left = std::min(bins.count[2] - bz, own[2] + bins.reach[2] - low + 1);
        low += bins_left;
        if (iz != 0 && !structure.periodic[2]) continue;
        const Index start = bins.begin[bins.index({bx, by, bz})];
        const Index stop = bins.begin[bins.index({bx, by, bz}) + bins_left];
        if (start == stop) continue;
        const std::array<int, 3> image{ix, iy, iz};
        std::array<float, 3> point{bins.x[p], bins.y[p], bins.z[p]};
        for (int a = 0; a < 3; ++a)
          for (int b = 0; image[a] != 0 && b < 3; ++b)
            point[b] -= static_cast<float>(image[a] * bins.cell(a, b));
        const std::uint32_t change = pack({ix + wrapped[0], iy + wrapped[1], iz + wrapped[2]});
        const bool home = ix == 0 && iy == 0 && iz == 0;
        std::uint16_t list[kPart + 8];
        for (Index part = start; part < stop; part += kPart) {
          const Index m = list_near(bins.points(part), 0, std::min(kPart, stop - part), point,
                                    limit, home ? p - part : -1, list);
          found.require(m);
          for (Index h = 0; h < m; ++h) found.atom[found.size + h] = bins.atom[part + list[h]];
          for (Index h = 0; shifted && h < m; ++h)
            found.shift[found.size + h] = bins.shift[part + list[h]] + change;
          found.size += m;
        }
      }
    }
  }
}

// Appends what was found in the order of the atoms. The place of each is the number of those before
// it, counted for each: quicker than sorting by comparisons up to a thousand neighbours, and of
// the order of the angular functions in any case.
void append_sorted(Found& found, bool shifted, std::vector<int>& atoms,
                   std::vector<std::uint32_t>& shifts) {
  const Index n = found.size;
  const std::size_t first = atoms.size();
  atoms.resize(first + n);
  if (shifted) {
    shifts.resize(first + n);
    std::fill_n(found.rank.begin(), n, 0);
  }
  for (Index k = 0; k < n; k += kCounted) {
    Ints some[4], places[4]{};
    std::memcpy(some, &found.atom[k], sizeof some);
    for (Index l = 0; l < n; ++l)
      for (int v = 0; v < 4; ++v) places[v] -= found.atom[l] < some[v];
    for (Index l = 0; l < kCounted && k + l < n; ++l) {
      int place = places[l / kInts][l % kInts];
      if (shifted) {
        place += found.rank[place]++;  // images of one atom
        shifts[first + place] = found.shift[k + l];
      }
      atoms[first + place] = found.atom[k + l];
    }
  }
}

// The bits of a number spread out to every third place.
std::uint64_t spread(std::uint64_t n) {
  std::uint64_t result = 0;
  for (int bit = 0; bit < 21; ++bit) result |= (n >> bit & 1) << (3 * bit);
  return result;
}

// Up to this many atoms all their forces are near in memory in any order.
constexpr Index kMostUnordered = 2000;

// Atoms in an order in which neighbours are near: along a Morton curve of bins.
std::vector<int> order_of(const Bins& bins) {
  const Index n = static_cast<Index>(bins.atom.size());
  std::vector<int> order(n);
  if (n <= kMostUnordered) {
    std::iota(order.begin(), order.end(), 0);
    return order;
  }
  struct Cube {
    std::uint64_t code;
    Index first, last;
  };
  std::vector<Cube> cubes;
  for (int x = 0; x < bins.count[0]; ++x)
    for (int y = 0; y < bins.count[1]; ++y)
      for (int z = 0; z < bins.count[2]; z += kThin) {
        const Index bin = bins.index({x, y, z});
        cubes.push_back({spread(x) << 2 | spread(y) << 1 | spread(z / kThin), bins.begin[bin],
                         bins.begin[bin + std::min(kThin, bins.count[2] - z)]});
      }
  std::sort(cubes.begin(), cubes.end(),
            [](const Cube& a, const Cube& b) { return a.code < b.code; });
  auto next = order.begin();
  for (const Cube& cube : cubes)
    next = std::copy(bins.atom.begin() + cube.first, bins.atom.begin() + cube.last, next);
  return order;
}

}  // namespace

NeighborList::NeighborList(const StructureView& structure, double cutoff, double skin, int threads)
    : cutoff_(cutoff),
      skin_(skin),
      positions_(structure.positions),
      cell_(structure.cell),
      periodic_(structure.periodic) {
  if (!(cutoff > 0.0 && skin >= 0.0))
    throw std::invalid_argument("the cutoff must be positive and the skin not negative");
  const Index n = structure.size();
  const Bins bins(structure, cutoff + skin);
  order_ = order_of(bins);
  rank_.resize(n);
  for (Index q = 0; q < n; ++q) rank_[order_[q]] = static_cast<int>(q);
  const bool shifted = periodic_[0] || periodic_[1] || periodic_[2];
  const int team = thread_count(threads);
  blocks_.resize((n + kBlock - 1) / kBlock);
  std::vector<Found> found(team);
  parallel_blocks(n, kBlock, team, [&](Index first, Index last, int thread) {
    Block& block = blocks_[first / kBlock];
    block.atoms.reserve(kMany * kBlock);
    if (shifted) block.shifts.reserve(kMany * kBlock);
    for (Index q = first; q < last; ++q) {
      find_pairs(structure, bins, cutoff + skin, bins.place[order_[q]], shifted, found[thread]);
      append_sorted(found[thread], shifted, block.atoms, block.shifts);
      block.end[q - first] = static_cast<int>(block.atoms.size());
    }
    block.atoms.shrink_to_fit();
    block.shifts.shrink_to_fit();
  });
}

Index NeighborList::candidates() const {
  Index total = 0;
  for (const Block& block : blocks_) total += static_cast<Index>(block.atoms.size());
  return total;
}

bool NeighborList::serves(const Eigen::Ref<const Positions>& positions, const Eigen::Matrix3d& cell,
                          const std::array<bool, 3>& periodic) const {
  if (positions.rows() != atoms() || cell != cell_ || periodic != periodic_) return false;
  const double squared = 0.25 * skin_ * skin_;
  for (Index i = 0; i < atoms(); ++i)
    if (!((positions.row(i) - positions_.row(i)).squaredNorm() < squared)) return false;  // or NaN
  return true;
}

void NeighborList::bonds(const StructureView& structure, Index i, std::vector<Bond>& found) const {
  const double limit = cutoff_ * cutoff_;
  const double* own = structure.positions.data() + 3 * i;
  const Index rank = rank_[i], in_block = rank % kBlock;
  const Block& block = blocks_[rank / kBlock];
  const Index first = in_block == 0 ? 0 : block.end[in_block - 1], last = block.end[in_block];
  found.resize(last - first);
  Bond* bond = found.data();
  for (Index p = first; p < last; ++p) {
    const int j = block.atoms[p];
    const double* other = structure.positions.data() + 3 * static_cast<Index>(j);
    double x = other[0] - own[0], y = other[1] - own[1], z = other[2] - own[2];
    std::array<int, 3> shift{0, 0, 0};
    if (!block.shifts.empty() && block.shifts[p] != kNoShift) {
      shift = unpack(block.shifts[p]);
      for (int a = 0; a < 3; ++a) {
        if (shift[a] == 0) continue;
        x += shift[a] * structure.cell(a, 0);
        y += shift[a] * structure.cell(a, 1);
        z += shift[a] * structure.cell(a, 2);
      }
    }
    const double square = x * x + y * y + z * z;
    if (square >= limit) continue;
    const double distance = std::sqrt(square);
    if (distance < kSamePlace)
      throw std::invalid_argument("atoms " + std::to_string(std::min<Index>(i, j)) + " and " +
                                  std::to_string(std::max<Index>(i, j)) +
                                  " are at one place (less than 0.001 Å apart)");
    *bond++ = {x, y, z, distance, j, shift};
  }
  found.resize(bond - found.data());
}

}  // namespace nearsight
