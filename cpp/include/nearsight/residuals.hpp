// Residuals of the loss and their derivatives with respect to the weights of one member.
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
  Index n_weights = 0;
};

// Scaled fingerprints of all images of a training set, one after the other, and the targets.
// A view: the arrays belong to the caller.
struct TrainingSet {
  Index n_images, n_centers, n_rows, n_blocks, n_features;
  const Index* image_centers;  // (images + 1) centres of every image
  const Index* image_rows;     // (images + 1) atoms whose force counts, of every image
  const int* center_element;   // (C)
  const double* features;      // (C, features)
  const Index* row_offsets;    // (R + 1) blocks of every row
  const int* block_center;     // (B) index of the centre
  const double* derivatives;   // (B, 3, features)
  const double* energies;      // (images) eV per atom, against the mean of the centres' energies
  const double* forces;        // (R, 3) eV/Å
  // Throws std::invalid_argument if an index is out of range.
  void check(const NetworkShape& shape) const;
};

// Weight (not its root) of every energy and force residual; zero leaves it out.
struct ResidualWeights {
  const double* energies;  // (images)
  const double* forces;    // (R)
};

struct Predictions {
  Vector energies;  // (images) eV per atom
  Matrix forces;    // (R, 3) eV/Å
};

// Predictions of one member; images and rows of weight zero are left at zero if weights are given.
Predictions predict(const NetworkShape& shape, const double* weights, const TrainingSet& set,
                    const ResidualWeights* only = nullptr);

// Residual vector sqrt(w) (prediction - target): energies of all images of non-zero weight, then
// per image its rows' x, y, z. With `jacobian` also d residual / d weights.
void residuals(const NetworkShape& shape, const double* weights, const TrainingSet& set,
               const ResidualWeights& w, Vector& residual, Matrix* jacobian);

// loss = 1/2 |r|^2, gradient = J^T r, curvature = J^T J (both triangles), without keeping J.
double normal_equations(const NetworkShape& shape, const double* weights, const TrainingSet& set,
                        const ResidualWeights& w, Vector& gradient, Matrix& curvature);

}  // namespace nearsight
