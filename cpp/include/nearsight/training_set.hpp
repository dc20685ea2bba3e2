// Training data: images, their labels and the shape of the networks that are fitted to them.
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

// Fingerprints of one image and its labels, as `TrainingSet::add` takes them.
struct LabelledImage {
  Index n_centers, n_force_atoms, n_blocks;
  const int* center_element;   // (centres)
  const double* features;      // (centres, features), unscaled
  const Index* block_offsets;  // (force atoms + 1) blocks of every atom whose force is labelled
  const int* block_center;     // (blocks) index of the centre; of an atom, by element
  // (blocks, 3, features padded to kFeatureLanes) dG/dr, 1/Å, unscaled. Nearly all of the memory of
  // training: borrowed, so that sets of other networks or with more images share it.
  const double* derivatives;
  double energy;         // eV per atom, against the mean of the centres' energies
  const double* forces;  // (force atoms, 3) eV/Å
};

// Fingerprints of all images, one after the other, and their labels. Nothing changes after the last
// `add`, so that members may be trained in parallel.
struct TrainingSet {
  // scale, offset: (elements, features); the networks see scale * G + offset.
  TrainingSet(NetworkShape shape, Matrix scale, Matrix offset);

  // Scales the features of an image. Its derivatives must outlive the set. Throws
  // std::invalid_argument if an index is out of range or blocks are not sorted.
  void add(const LabelledImage& image);

  Index n_images() const { return static_cast<Index>(energies.size()); }
  Index n_centers() const { return image_centers.back(); }
  Index n_force_atoms() const { return image_force_atoms.back(); }
  Index n_blocks() const { return block_offsets.back(); }

  // First block from `b` on, of those before `last`, whose centre has another element.
  Index group_end(Index b, Index last) const {
    const int element = center_element[block_center[b]];
    while (b < last && center_element[block_center[b]] == element) ++b;
    return b;
  }

  NetworkShape shape;
  Matrix scale, offset;
  Index n_features;                         // padded with zeros to kFeatureLanes
  std::vector<Index> image_centers{0};      // (images + 1) centres of every image
  std::vector<Index> image_force_atoms{0};  // (images + 1) labelled atoms of every image
  std::vector<int> center_element;          // (C)
  std::vector<double> features;             // (C, n_features), scaled
  std::vector<Index> block_offsets{0};      // (F + 1) blocks of every labelled atom
  std::vector<int> block_center;            // (B) index of the centre; of an atom, by element
  std::vector<const double*> derivatives;   // (F) those of the blocks of every labelled atom
  std::vector<double> energies;             // (images)
  std::vector<double> forces;               // (F, 3)

 private:
  void check(const LabelledImage& image) const;
  void add_features(const LabelledImage& image);
};

// Weight (not its root) of every energy and force residual; zero leaves it out.
struct ResidualWeights {
  const double* energies;  // (images)
  const double* forces;    // (F)
};

}  // namespace nearsight
