// A structure as the core sees it: borrowed arrays, checked when made.
#pragma once

#include <array>

#include "nearsight/types.hpp"

namespace nearsight {

struct StructureView {
  // positions: (N, 3) Å; species: N indices into the element list; cell: rows are cell vectors, Å.
  // Throws std::invalid_argument for an empty structure, a position that is not finite, a species
  // out of range, or a periodic direction without an independent cell vector.
  StructureView(Eigen::Map<const Positions> positions, const int* species, int n_species,
                const Eigen::Matrix3d& cell, std::array<bool, 3> periodic);

  Index size() const { return positions.rows(); }

  Eigen::Map<const Positions> positions;
  const int* species;
  Eigen::Matrix3d cell;  // vectors of directions that are not periodic are never used
  std::array<bool, 3> periodic;
};

}  // namespace nearsight
