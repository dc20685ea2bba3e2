// Neighbours of every atom within a cutoff: a cell list, linear in the number of atoms.
#pragma once

#include <array>
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

// All bonds with distance < cutoff, in compressed rows: those of atom i are
// bonds[offsets[i]] ... bonds[offsets[i + 1] - 1], sorted by (atom, shift). Every ordered pair is
// there; so are all images of a neighbour and the images of the atom itself.
// Throws std::invalid_argument if two atoms are at one place.
struct NeighborList {
  NeighborList(const StructureView& structure, double cutoff, int threads = 0);

  Index size(Index i) const { return offsets[i + 1] - offsets[i]; }
  const Bond* begin(Index i) const { return bonds.data() + offsets[i]; }
  const Bond* end(Index i) const { return bonds.data() + offsets[i + 1]; }

  std::vector<Index> offsets;
  std::vector<Bond> bonds;
};

}  // namespace nearsight
