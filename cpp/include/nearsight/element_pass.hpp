// The network of one element, for all its centres in a training set.
#pragma once

#include <vector>

#include "nearsight/training_set.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

// The force on an atom is linear in dE/dG: F = -sum_c dG_c/dr . dE_c/dG_c. For every block
// V = dG_c/dr the network of centre c is carried along V (forward tangents z', a'), and the
// tangent of the energy is differentiated backwards with respect to the weights:
//   z'_1 = W_1 V, a'_l = f'(z_l) z'_l, z'_(l+1) = W_(l+1) a'_l,  E' = a'_L
//   adjoint of z'_l:  d_l = dE/dz_l, the same for all blocks of a centre
//   adjoint of z_l:   y_l = f'(z_l) W_(l+1)^T y_(l+1) + f''(z_l) z'_l dE/da_l
//   dE'/dW_l = d_l (x) a'_(l-1) + y_l (x) a_(l-1),  dE'/db_l = y_l
// which costs a tenth of forming d2E/dG dw.
class ElementPass {
 public:
  using Layer = NetworkShape::Layer;

  // One row of scaled features for every centre, padded.
  ElementPass(const std::vector<Layer>& layers, Matrix features);

  // Energies of all centres and their derivatives at these weights of a member.
  void run(const double* weights);
  double energy(Index first, Index n) const;  // of these centres
  const double* gradient(Index center) const { return gradient_.row(center).data(); }

  // Sets d(factor * energy of these centres)/dw in a line of the Jacobian, after `run`.
  void energy_line(Index first, Index n, double factor, double* line) const;

  // The blocks of one row: their centres, and the lines of dG/dr along x, y and z, (3 n, inputs),
  // `stride` apart and padded.
  struct Blocks {
    const Index* centers;
    Index n;
    const double* derivatives;
    Index stride;
  };
  // Sets d(factor * sum of V . dE/dG)/dw along x, y and z in three lines, `stride` apart.
  void force_lines(const Blocks& blocks, double factor, double* lines, Index stride);

 private:
  // What the blocks of a row need of a layer: the lines of their centres, and z'_l, a'_l, y_l.
  struct Row {
    Scratch slope, bend, delta, below;
    Scratch tangent_z, tangent_a, adjoint;
  };
  Index inputs(std::size_t l) const { return padded(layers_[l].inputs, kPairLanes); }
  Index outputs(std::size_t l) const { return padded(layers_[l].outputs, kPairLanes); }
  const Matrix& below(std::size_t l) const { return l == 0 ? features_ : value_[l - 1]; }
  // An output that is linear has a tangent, but its derivatives do not bend.
  bool bends(std::size_t l) const {
    return l + 1 < layers_.size() || layers_[l].activation != Activation::kLinear;
  }

  // Lines of all matrices are padded, so that products have no tails.
  const std::vector<Layer>& layers_;
  std::vector<Matrix> weights_, transposed_;  // by layer, (outputs, inputs) and (inputs, outputs)
  Matrix features_, gradient_;                // (centres, inputs)
  // By layer, (centres, outputs): a_l, f', dE/dz_l, dE/da_l and f'' dE/da_l.
  std::vector<Matrix> value_, slope_, delta_, above_, bend_;
  std::vector<Row> row_;
  Scratch product_;
};

}  // namespace nearsight
