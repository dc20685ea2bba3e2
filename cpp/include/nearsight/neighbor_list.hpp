// Neighbours of every atom within a cutoff: a cell list, linear in the number of atoms.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "nearsight/structure.hpp"

namespace nearsight {

// Atom j as seen from atom i: r = r_j - r_i + shift . cell.
struct Bond {
  double x, y, z;  // Å
  double distance;
  int atom;                  // j
  std::array<int, 3> shift;  // whole cells; zero in directions that are not periodic
};

// Who may be whose neighbour: all pairs nearer than the cutoff and the skin when the list was
// made, four or (periodic) eight bytes each. Bonds are worked out from present positions, so a list
// serves until an atom has moved by half the skin or the cell has changed.
//
// Every ordered pair is there; so are all images of a neighbour and the images of the atom itself.
class NeighborList {
 public:
  NeighborList(const StructureView& structure, double cutoff, double skin = 0.0, int threads = 0);

  Index atoms() const { return static_cast<Index>(order_.size()); }
  double cutoff() const { return cutoff_; }

  // Whether it still holds all neighbours of the same atoms at these positions.
  bool serves(const Eigen::Ref<const Positions>& positions, const Eigen::Matrix3d& cell,
              const std::array<bool, 3>& periodic) const;

  // The bonds of atom i in a structure, distance < cutoff, sorted by (atom, shift).
  // Throws std::invalid_argument if two atoms are at one place.
  void bonds(const StructureView& structure, Index i, std::vector<Bond>& found) const;

  // The atoms in an order in which neighbours are near in memory, and the place of every atom in
  // it. Small structures keep their order.
  const std::vector<int>& order() const { return order_; }
  const std::vector<int>& rank() const { return rank_; }

  // As many as `bonds` can find at most.
  Index candidates() const;

 private:
  double cutoff_, skin_;
  Positions positions_;  // cell_ and periodic_ too: those it was made for
  Eigen::Matrix3d cell_;
  std::array<bool, 3> periodic_;
  std::vector<int> order_, rank_;
  // The candidates of atoms of neighbouring rank, in ascending order of (atom, shift) for each.
  static constexpr Index kBlock = 256;
  struct Block {
    std::array<int, kBlock> end;  // of the candidates of each
    std::vector<int> atoms;
    std::vector<std::uint32_t> shifts;  // packed; none if nothing is periodic
  };
  std::vector<Block> blocks_;  // by rank
};

}  // namespace nearsight
