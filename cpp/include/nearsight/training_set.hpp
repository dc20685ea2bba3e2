// What the weights of one member are fitted to.
#pragma once

#include <vector>

#include "nearsight/network.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

// Shape of the networks of all elements. The weights of a member are one vector: for every
// element, for every layer, W (out, in) row-major, then b (out).
struct NetworkShape {
  struct Layer {
    Index inputs, outputs;
    Activation activation;
    Index weights, bias;  // where they begin in the vector of weights
  };
  // sizes[e]: layer sizes of element e, inputs first, 1 last; one activation per layer.
  NetworkShape(const std::vector<std::vector<Index>>& sizes,
               const std::vector<Activation>& activations);

  std::vector<std::vector<Layer>> elements;
  std::vector<Index> begin;  // (elements + 1) where the weights of every element begin
  Index n_weights = 0;
};

// The features of a training set are padded with zeros to a multiple of this.
inline constexpr Index kFeatureLanes = 4;
static_assert(kFeatureLanes % kPairLanes == 0);

// Scaled fingerprints of all images of a training set, one after the other, and the targets.
// A view: the arrays belong to the caller.
struct TrainingSet {
  Index n_images, n_centers, n_rows, n_blocks, n_features;
  const Index* image_centers;  // (images + 1) centres of every image
  const Index* image_rows;     // (images + 1) atoms whose force counts, of every image
  const int* center_element;   // (C)
  const double* features;      // (C, features)
  const Index* row_offsets;    // (R + 1) blocks of every row
  const int* block_center;     // (B) index of the centre; in a row by element
  // (3 B, features) dG/dr: for every row and element, all blocks along x, then y, then z.
  const double* derivatives;
  const double* energies;  // (images) eV per atom, against the mean of the centres' energies
  const double* forces;    // (R, 3) eV/Å

  // The first block from `b` on, of those before `last`, whose centre has another element.
  Index group_end(Index b, Index last) const {
    const int element = center_element[block_center[b]];
    while (b < last && center_element[block_center[b]] == element) ++b;
    return b;
  }
  // Throws std::invalid_argument if an index is out of range.
  void check(const NetworkShape& shape) const;
};

// Weight (not its root) of every energy and force residual; zero leaves it out.
struct ResidualWeights {
  const double* energies;  // (images)
  const double* forces;    // (R)
};

}  // namespace nearsight
