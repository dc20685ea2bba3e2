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

// That of the nearest neighbour, Å; `none` without any.
double nearest_distance(const std::vector<Bond>& bonds, double none);

inline constexpr double kOverlap = 1e-3;  // Å; atoms that are nearer overlap

// Verlet list: all pairs within cutoff + skin of the positions it was built from, four or
// (periodic) eight bytes each. Bonds are computed from present positions, so a list is valid until
// an atom has moved by half the skin or the cell has changed.
//
// Every ordered pair is there; so are all images of a neighbour and the images of the atom itself.
class NeighborList {
 public:
  explicit NeighborList(const Structure& structure, double cutoff, double skin = 0.0,
                        int threads = 0);

  Index atoms() const { return static_cast<Index>(order_.size()); }
  double cutoff() const { return cutoff_; }

  // Whether it still holds all neighbours of these atoms, the same ones at other positions.
  bool is_valid_for(const Structure& structure) const;

  // The bonds of atom i in a structure, distance < cutoff, sorted by (atom, shift).
  // Throws std::invalid_argument if two atoms overlap.
  void bonds(const Structure& structure, Index i, std::vector<Bond>& found) const;

  // Order of the atoms in which neighbours are near in memory, and the position of every atom in
  // it. Small structures keep their order.
  const std::vector<int>& order() const { return order_; }
  const std::vector<int>& position_in_order() const { return position_in_order_; }

 private:
  double cutoff_, skin_;
  Positions positions_;  // cell_ and periodic_ too: those it was built from
  Eigen::Matrix3d cell_;
  std::array<bool, 3> periodic_;
  // The same lattice spanned by its shortest vectors, in which the list counts cells: change .
  // cell.
  Eigen::Matrix3d lattice_;
  Eigen::Matrix<std::int64_t, 3, 3> change_;
  bool is_reduced_;
  std::vector<int> order_, position_in_order_;
  // Candidates of atoms that are neighbours in the order, ascending by (atom, shift) for each.
  static constexpr Index kBlock = 256;
  struct ListBlock {
    std::array<int, kBlock> end;  // of the candidates of each
    std::vector<int> atoms;
    std::vector<std::uint32_t> shifts;  // packed; none if nothing is periodic
  };
  // A shift by cells of the lattice in cells as they were given; and images of an atom in the order
  // of these.
  std::array<int, 3> whole_cells(const std::array<int, 3>& shift) const;
  void sort_images(ListBlock& block, std::size_t begin) const;

  std::vector<ListBlock> blocks_;  // by position in the order
};

}  // namespace nearsight
