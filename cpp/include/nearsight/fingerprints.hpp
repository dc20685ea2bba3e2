// Features of the atoms of a structure and their sparse derivatives, kept for training.
#pragma once

#include <vector>

#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// Features of every atom, (N, max_size): columns beyond the size of the atom's species are zero.
Matrix features(const SymmetryFunctions& functions, const StructureView& structure,
                int threads = 0);

// What the forces on some atoms ("rows") need: the features of all atoms that see one of them
// ("centres") and, in compressed rows, dG_centre/dr_row. For a chunk only atom 0 is asked for.
struct Fingerprints {
  Fingerprints(const SymmetryFunctions& functions, const StructureView& structure,
               const std::vector<Index>& rows, bool all_centers, int threads = 0);

  std::vector<int> centers;         // (C) atoms, ascending
  Matrix features;                  // (C, max_size)
  std::vector<Index> row_offsets;   // (rows + 1)
  std::vector<int> block_center;    // (B) index into `centers`, ascending within a row
  std::vector<double> derivatives;  // (B, 3, max_size)
};

}  // namespace nearsight
