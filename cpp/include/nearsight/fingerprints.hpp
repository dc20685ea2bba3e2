// Features of the atoms of a structure and their sparse derivatives, kept for training.
#pragma once

#include <vector>

#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// Features of every atom, (N, max_size): columns beyond the size of the atom's species are zero.
Matrix features(const SymmetryFunctions& functions, const Structure& structure, int threads = 0);

// Input of the forces on some atoms ("force atoms"): the features of all atoms that see one of them
// ("centres") and, in compressed rows, dG_centre/dr_force_atom. For a chunk only atom 0 is one.
struct Fingerprints {
  // Throws std::invalid_argument for overlapping atoms or a force atom that does not exist.
  Fingerprints(const SymmetryFunctions& functions, const Structure& structure,
               const std::vector<Index>& force_atoms, bool all_centers, int threads = 0);

  std::vector<int> centers;          // (C) atoms, ascending
  Matrix features;                   // (C, max_size)
  Vector nearest;                    // (C) distance to the nearest neighbour, Å; 0 without any
  std::vector<Index> block_offsets;  // (F + 1) blocks of every force atom
  // Within a force atom by element of the centre, then ascending.
  std::vector<int> block_center;    // (B) index into `centers`
  std::vector<double> derivatives;  // (B, 3, max_size padded to kFeatureLanes)

 private:
  // dG_centre/dr of one force atom, (3, width).
  struct DerivativeBlock {
    int force_atom;
    std::vector<double> values;
  };
  using BlocksByCenter = std::vector<std::vector<DerivativeBlock>>;

  void find_centers(const NeighborList& list, const Structure& structure,
                    const std::vector<Index>& force_atoms, bool all_centers);
  BlocksByCenter evaluate_centers(const SymmetryFunctions& functions, const NeighborList& list,
                                  const Structure& structure, const std::vector<Index>& force_atoms,
                                  int threads);
  void compress(const BlocksByCenter& blocks, const Structure& structure, Index n_force_atoms);
};

}  // namespace nearsight
