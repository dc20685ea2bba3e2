#include "nearsight/neighbor_list.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "cell_list.hpp"
#include "distance_filter.hpp"
#include "parallel.hpp"
#include "reduced_cell.hpp"

namespace nearsight {

namespace {

using Ints = int __attribute__((vector_size(sizeof(Vec))));
constexpr Index kInts = sizeof(Ints) / sizeof(int);
constexpr Index kCounted = 4 * kInts;

// More neighbours than most atoms have: what to reserve.
constexpr Index kTypicalNeighbors = 96;

// More than an atom has at any density and cutoff that make sense.
constexpr Index kMaxNeighbors = 5000;

// Points filtered in one go.
constexpr Index kBatch = 256;

// Candidates of one atom in the order in which they are found.
struct Candidates {
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

[[noreturn]] void refuse_crowd(int atom, double range) {
  std::ostringstream text;
  text << "atom " << atom << " has more than " << kMaxNeighbors << " neighbours within " << range
       << " Å; lengths must be in Å";
  throw std::invalid_argument(text.str());
}

// Candidates of the atom at place p of the cell list, those of one atom in the order of their
// shifts.
void find_pairs(const Structure& structure, const CellList& cells, double range, Index p,
                bool shifted, Candidates& found) {
  // In single precision a few more are found: `bonds` looks again.
  const double safe = range + cells.rounding;
  const float limit = static_cast<float>(safe * safe);
  const std::array<int, 3>& own = cells.bin[p];
  const std::array<int, 3>& wrapped = cells.wrapped[cells.atom[p]];
  found.size = 0;
  for (int dx = -cells.reach[0]; dx <= cells.reach[0]; ++dx) {
    const auto [bx, ix] = cells.fold(own[0] + dx, 0);
    if (ix != 0 && !structure.periodic()[0]) continue;
    for (int dy = -cells.reach[1]; dy <= cells.reach[1]; ++dy) {
      const auto [by, iy] = cells.fold(own[1] + dy, 1);
      if (iy != 0 && !structure.periodic()[1]) continue;
      for (int low = own[2] - cells.reach[2]; low <= own[2] + cells.reach[2];) {
        // All bins of the column that lie in one image are one range.
        const auto [bz, iz] = cells.fold(low, 2);
        const int bins_left = std::min(cells.count[2] - bz, own[2] + cells.reach[2] - low + 1);
        low += bins_left;
        if (iz != 0 && !structure.periodic()[2]) continue;
        const Index start = cells.begin[cells.index({bx, by, bz})];
        const Index stop = cells.begin[cells.index({bx, by, bz}) + bins_left];
        if (start == stop) continue;
        const std::array<int, 3> image{ix, iy, iz};
        std::array<float, 3> point{cells.x[p], cells.y[p], cells.z[p]};
        for (int a = 0; a < 3; ++a)
          for (int b = 0; image[a] != 0 && b < 3; ++b)
            point[b] -= static_cast<float>(image[a] * cells.cell(a, b));
        const std::uint32_t change = pack({ix + wrapped[0], iy + wrapped[1], iz + wrapped[2]});
        const bool home = ix == 0 && iy == 0 && iz == 0;
        std::uint16_t list[kBatch + 8];
        for (Index batch = start; batch < stop; batch += kBatch) {
          const Index m = points_within(cells.points(batch), 0, std::min(kBatch, stop - batch),
                                        point, limit, home ? p - batch : -1, list);
          found.require(m);
          for (Index h = 0; h < m; ++h) found.atom[found.size + h] = cells.atom[batch + list[h]];
          for (Index h = 0; shifted && h < m; ++h)
            found.shift[found.size + h] = cells.shift[batch + list[h]] + change;
          found.size += m;
          if (found.size > kMaxNeighbors) refuse_crowd(cells.atom[p], range);
        }
      }
    }
  }
}

// Appends the candidates sorted by atom. The place of each is the number of those before it,
// counted for each: quicker than sorting by comparisons up to a thousand neighbours, and of the
// order of the angular functions in any case.
void append_sorted(Candidates& found, bool shifted, std::vector<int>& atoms,
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

// Bits of a number, spread out to every third place.
std::uint64_t spread(std::uint64_t n) {
  std::uint64_t result = 0;
  for (int bit = 0; bit < 21; ++bit) result |= (n >> bit & 1) << (3 * bit);
  return result;
}

// Up to this many atoms their forces are near in memory in any order.
constexpr Index kMaxUnordered = 2000;

// Atoms in an order in which neighbours are near: along a Morton curve of cells.
std::vector<int> memory_order(const CellList& cells) {
  const Index n = static_cast<Index>(cells.atom.size());
  std::vector<int> order(n);
  if (n <= kMaxUnordered) {
    std::iota(order.begin(), order.end(), 0);
    return order;
  }
  struct Cube {
    std::uint64_t code;
    Index first, last;
  };
  std::vector<Cube> cubes;
  for (int x = 0; x < cells.count[0]; ++x)
    for (int y = 0; y < cells.count[1]; ++y)
      for (int z = 0; z < cells.count[2]; z += kBinsPerRange) {
        const Index bin = cells.index({x, y, z});
        cubes.push_back({spread(x) << 2 | spread(y) << 1 | spread(z / kBinsPerRange),
                         cells.begin[bin],
                         cells.begin[bin + std::min(kBinsPerRange, cells.count[2] - z)]});
      }
  std::sort(cubes.begin(), cubes.end(),
            [](const Cube& a, const Cube& b) { return a.code < b.code; });
  auto next = order.begin();
  for (const Cube& cube : cubes)
    next = std::copy(cells.atom.begin() + cube.first, cells.atom.begin() + cube.last, next);
  return order;
}

}  // namespace

NeighborList::NeighborList(const Structure& structure, double cutoff, double skin, int threads)
    : cutoff_(cutoff),
      skin_(skin),
      positions_(structure.positions()),
      cell_(structure.cell()),
      periodic_(structure.periodic()) {
  if (!(cutoff > 0.0 && skin >= 0.0))
    throw std::invalid_argument("the cutoff must be positive and the skin not negative");
  const Index n = structure.size();
  const ReducedCell reduced = reduced_cell(cell_, periodic_);
  lattice_ = reduced.vectors;
  is_reduced_ = reduced.differs;
  change_ = reduced.change;
  const CellList cells(structure, complete_cell(lattice_, periodic_), cutoff + skin);
  order_ = memory_order(cells);
  position_in_order_.resize(n);
  for (Index q = 0; q < n; ++q) position_in_order_[order_[q]] = static_cast<int>(q);
  const bool shifted = periodic_[0] || periodic_[1] || periodic_[2];
  const int team = thread_count(threads);
  blocks_.resize((n + kBlock - 1) / kBlock);
  std::vector<Candidates> found(team);
  parallel_blocks(n, kBlock, team, [&](Index first, Index last, int thread) {
    ListBlock& block = blocks_[first / kBlock];
    block.atoms.reserve(kTypicalNeighbors * kBlock);
    if (shifted) block.shifts.reserve(kTypicalNeighbors * kBlock);
    for (Index q = first; q < last; ++q) {
      look_for_interrupt(thread);
      const std::size_t begin = block.atoms.size();
      find_pairs(structure, cells, cutoff + skin, cells.place[order_[q]], shifted, found[thread]);
      append_sorted(found[thread], shifted, block.atoms, block.shifts);
      if (is_reduced_) sort_images(block, begin);
      block.end[q - first] = static_cast<int>(block.atoms.size());
    }
    block.atoms.shrink_to_fit();
    block.shifts.shrink_to_fit();
  });
}

bool NeighborList::is_valid_for(const Structure& structure) const {
  if (structure.size() != atoms() || structure.cell() != cell_ || structure.periodic() != periodic_)
    return false;
  const double squared = 0.25 * skin_ * skin_;
  for (Index i = 0; i < atoms(); ++i)
    if (!((structure.positions().row(i) - positions_.row(i)).squaredNorm() < squared)) return false;
  return true;
}

void NeighborList::sort_images(ListBlock& block, std::size_t begin) const {
  for (std::size_t first = begin, last; first < block.atoms.size(); first = last) {
    last = first + 1;
    while (last < block.atoms.size() && block.atoms[last] == block.atoms[first]) ++last;
    std::sort(block.shifts.begin() + first, block.shifts.begin() + last,
              [&](std::uint32_t a, std::uint32_t b) {
                return whole_cells(unpack(a)) < whole_cells(unpack(b));
              });
  }
}

std::array<int, 3> NeighborList::whole_cells(const std::array<int, 3>& shift) const {
  std::array<int, 3> result{0, 0, 0};
  for (int a = 0; a < 3; ++a)
    for (int b = 0; b < 3; ++b) result[b] += shift[a] * static_cast<int>(change_(a, b));
  return result;
}

double nearest_distance(const std::vector<Bond>& bonds, double none) {
  const auto nearer = [](const Bond& one, const Bond& other) {
    return one.distance < other.distance;
  };
  return bonds.empty() ? none : std::min_element(bonds.begin(), bonds.end(), nearer)->distance;
}

void NeighborList::bonds(const Structure& structure, Index i, std::vector<Bond>& found) const {
  const double limit = cutoff_ * cutoff_;
  const double* own = structure.positions().data() + 3 * i;
  const Index position = position_in_order_[i], in_block = position % kBlock;
  const ListBlock& block = blocks_[position / kBlock];
  const Index first = in_block == 0 ? 0 : block.end[in_block - 1], last = block.end[in_block];
  found.resize(last - first);
  Bond* bond = found.data();
  for (Index p = first; p < last; ++p) {
    const int j = block.atoms[p];
    const double* other = structure.positions().data() + 3 * static_cast<Index>(j);
    double x = other[0] - own[0], y = other[1] - own[1], z = other[2] - own[2];
    std::array<int, 3> shift{0, 0, 0};
    if (!block.shifts.empty() && block.shifts[p] != kNoShift) {
      shift = unpack(block.shifts[p]);
      for (int a = 0; a < 3; ++a) {
        if (shift[a] == 0) continue;
        x += shift[a] * lattice_(a, 0);
        y += shift[a] * lattice_(a, 1);
        z += shift[a] * lattice_(a, 2);
      }
      if (is_reduced_) shift = whole_cells(shift);
    }
    const double square = x * x + y * y + z * z;
    if (square >= limit) continue;
    const double distance = std::sqrt(square);
    if (distance < kOverlap)
      throw std::invalid_argument("atoms " + std::to_string(std::min<Index>(i, j)) + " and " +
                                  std::to_string(std::max<Index>(i, j)) +
                                  " overlap (less than 0.001 Å apart)");
    *bond++ = {x, y, z, distance, j, shift};
  }
  found.resize(bond - found.data());
}

}  // namespace nearsight
