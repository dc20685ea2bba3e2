#include "nearsight/neighbor_list.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "lanes.hpp"
#include "nearsight/parallel.hpp"

namespace nearsight {

namespace {

// Two atoms nearer than this are at one place, Å.
constexpr double kSamePlace = 1e-3;

// Cells within the cutoff in one direction; more are no crystal but another unit of length.
constexpr double kMostReach = 40;

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

// A pair packed so that integers sort by (atom, shift): 31 bits, then three times 11.
constexpr int kShiftBits = 11;
constexpr int kMostShift = (1 << (kShiftBits - 1)) - 1;

std::uint64_t pack(int atom, const std::array<int, 3>& shift) {
  std::uint64_t key = static_cast<std::uint64_t>(atom);
  for (const int s : shift) key = key << kShiftBits | static_cast<std::uint64_t>(s + kMostShift);
  return key;
}

// What is added to a packed pair to change its shift.
std::int64_t pack_change(const std::array<int, 3>& shift) {
  std::int64_t change = 0;
  for (const int s : shift) change = change * (std::int64_t{1} << kShiftBits) + s;
  return change;
}

int unpack_atom(std::uint64_t key) { return static_cast<int>(key >> (3 * kShiftBits)); }

std::array<int, 3> unpack_shift(std::uint64_t key) {
  std::array<int, 3> shift;
  for (int a = 2; a >= 0; --a, key >>= kShiftBits)
    shift[a] = static_cast<int>(key & ((1U << kShiftBits) - 1)) - kMostShift;
  return shift;
}

// Bins per range in the last direction.
constexpr int kThin = 4;

// Atoms sorted into bins; the last direction runs fastest, so a column of bins is one range.
struct Bins {
  Bins(const StructureView& structure, double range) : cell(complete_cell(structure)) {
    const Index n = structure.size();
    const Eigen::Matrix3d inverse = cell.inverse();
    Positions fractional = structure.positions * inverse;
    wrapped.assign(n, {0, 0, 0});
    // Bins as long as the range, but thin in the last direction, where many are one loop. And not
    // many more bins than atoms, which vacuum would cost.
    const double most = 2.0 * std::cbrt(static_cast<double>(n)) + 1.0;
    for (int a = 0; a < 3; ++a) {
      double height, length = 1.0;
      origin[a] = 0.0;
      if (structure.periodic[a]) {
        height = 1.0 / inverse.col(a).norm();
        for (Index i = 0; i < n; ++i) {
          const double whole = std::floor(fractional(i, a));
          if (!(std::abs(whole) <= kMostShift / 4))
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
      const double bins_per_range = a == 2 ? kThin : 1.0;
      count[a] =
          static_cast<int>(std::clamp(std::floor(bins_per_range * height / range), 1.0, most));
      double bins_reached = std::ceil(range * count[a] / height * (1.0 + 1e-12));
      if (!structure.periodic[a])  // the structure may be flat
        bins_reached = std::min(bins_reached, count[a] - 1.0);
      if (bins_reached > kMostReach)
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
    key.resize(n);
    bin.resize(n);
    for (auto* column : {&x, &y, &z}) column->resize(n + kPairLanes);
    const Positions place = fractional * cell;
    for (Index i = 0; i < n; ++i) {
      const Index p = fill[index(bin_of[i])]++;
      atom[p] = static_cast<int>(i);
      key[p] = pack(atom[p], {0, 0, 0}) - pack_change(wrapped[i]);
      bin[p] = bin_of[i];
      x[p] = place(i, 0);
      y[p] = place(i, 1);
      z[p] = place(i, 2);
    }
  }

  Index index(const std::array<int, 3>& b) const {
    return (static_cast<Index>(b[0]) * count[1] + b[1]) * count[2] + b[2];
  }

  // Bin `place` of direction a as a bin inside and whole cells.
  std::pair<int, int> fold(int place, int a) const {
    const int image = place >= 0 ? place / count[a] : -((count[a] - 1 - place) / count[a]);
    return {place - image * count[a], image};
  }

  Eigen::Matrix3d cell;
  std::array<int, 3> count, reach;
  std::array<double, 3> scale, origin;
  std::vector<std::array<int, 3>> wrapped;  // by atom: whole cells taken off
  std::vector<Index> begin;                 // by bin
  // In the order of the bins:
  std::vector<int> atom;
  std::vector<std::uint64_t> key;  // packed with the cells taken off
  std::vector<std::array<int, 3>> bin;
  std::vector<double> x, y, z;  // inside the cell; room for a whole last vector
};

// Appends the packed pairs of the atom at place p of the bins.
void find_pairs(const StructureView& structure, const Bins& bins, double range, Index p,
                std::vector<std::uint64_t>& found) {
  // Positions inside the cell differ from the given ones by rounding: `bonds` looks again.
  const double limit = range * range * (1.0 + 1e-10);
  const std::size_t first = found.size();
  const int i = bins.atom[p];
  const std::uint64_t self = pack(i, {0, 0, 0});
  const std::array<int, 3>& own = bins.bin[p];
  std::array<int, 3> image;
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
        image = {ix, iy, iz};
        const Index start = bins.begin[bins.index({bx, by, bz})];
        const Index stop = bins.begin[bins.index({bx, by, bz}) + bins_left];
        double x0 = bins.x[p], y0 = bins.y[p], z0 = bins.z[p];
        for (int a = 0; a < 3; ++a)
          if (image[a] != 0) {
            x0 -= image[a] * bins.cell(a, 0);
            y0 -= image[a] * bins.cell(a, 1);
            z0 -= image[a] * bins.cell(a, 2);
          }
        for (int a = 0; a < 3; ++a) image[a] += bins.wrapped[i][a];
        const std::int64_t change = pack_change(image);
        for (Index k = start; k < stop; k += 64) {
          const Index end = std::min(k + 64, stop);
          std::uint64_t keep = 0;  // a bit for each
          for (Index l = k; l < end; l += kPairLanes) {
            const Lanes x = load(&bins.x[l]) - x0, y = load(&bins.y[l]) - y0,
                        z = load(&bins.z[l]) - z0;
            keep |= std::uint64_t{bits(x * x + y * y + z * z < limit)} << (l - k);
          }
          if (end - k < 64) keep &= (std::uint64_t{1} << (end - k)) - 1;
          for (; keep != 0; keep &= keep - 1) {
            const std::uint64_t key = bins.key[k + __builtin_ctzll(keep)] + change;
            if (key != self) found.push_back(key);
          }
        }
      }
    }
  }
  std::sort(found.begin() + first, found.end());
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
  std::vector<std::pair<std::uint64_t, int>> code(n);
  for (Index p = 0; p < n; ++p) {
    const std::array<int, 3>& b = bins.bin[p];
    code[p] = {spread(b[0]) << 2 | spread(b[1]) << 1 | spread(b[2] / kThin), bins.atom[p]};
  }
  std::sort(code.begin(), code.end());
  for (Index p = 0; p < n; ++p) order[p] = code[p].second;
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
  constexpr Index kGrain = 256;
  std::vector<std::vector<std::uint64_t>> blocks((n + kGrain - 1) / kGrain);
  std::vector<Index> place_of(n), size_of(n);  // by rank
  parallel_blocks(n, kGrain, thread_count(threads), [&](Index first, Index last, int) {
    std::vector<std::uint64_t>& found = blocks[first / kGrain];
    for (Index p = first; p < last; ++p) {
      const Index before = static_cast<Index>(found.size());
      find_pairs(structure, bins, cutoff + skin, p, found);
      const int rank = rank_[bins.atom[p]];
      place_of[rank] = before;
      size_of[rank] = static_cast<Index>(found.size()) - before;
    }
  });
  offsets_.assign(n + 1, 0);
  for (Index q = 0; q < n; ++q) offsets_[q + 1] = offsets_[q] + size_of[q];
  pairs_.resize(offsets_[n]);
  for (Index p = 0; p < n; ++p) {
    const int rank = rank_[bins.atom[p]];
    std::vector<std::uint64_t>& block = blocks[p / kGrain];
    std::copy_n(block.begin() + place_of[rank], size_of[rank], pairs_.begin() + offsets_[rank]);
    if (p + 1 == n || (p + 1) % kGrain == 0) std::vector<std::uint64_t>().swap(block);
  }
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
  const std::uint64_t none = pack(0, {0, 0, 0});  // the shift bits of no shift
  const Index first = offsets_[rank_[i]], last = offsets_[rank_[i] + 1];
  found.resize(last - first);
  Bond* bond = found.data();
  for (Index p = first; p < last; ++p) {
    const std::uint64_t key = pairs_[p];
    const int j = unpack_atom(key);
    const double* other = structure.positions.data() + 3 * static_cast<Index>(j);
    double x = other[0] - own[0], y = other[1] - own[1], z = other[2] - own[2];
    std::array<int, 3> shift{0, 0, 0};
    if ((key ^ none) << 31 != 0) {
      shift = unpack_shift(key);
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
