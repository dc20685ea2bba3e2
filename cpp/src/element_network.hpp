// The network of one element in training, for all its centres at once.
#pragma once

#include <vector>

#include "nearsight/training_set.hpp"
#include "nearsight/types.hpp"
#include "simd.hpp"

namespace nearsight {

// The force on an atom is linear in dE/dG: F = -sum_c dG_c/dr . dE_c/dG_c. For every block
// V = S dG_c/dr, S the scaling, the network of centre c is carried along V (forward tangents z',
// a'), and the tangent of the energy is differentiated backwards with respect to the weights:
//   z'_1 = W_1 V, a'_l = f'(z_l) z'_l, z'_(l+1) = W_(l+1) a'_l,  E' = a'_L
//   adjoint of z'_l:  d_l = dE/dz_l, the same for all blocks of a centre
//   adjoint of z_l:   y_l = f'(z_l) W_(l+1)^T y_(l+1) + f''(z_l) z'_l dE/da_l
//   dE'/dW_l = d_l (x) a'_(l-1) + y_l (x) a_(l-1),  dE'/db_l = y_l
// which costs a tenth of forming d2E/dG dw.
class ElementNetwork {
 public:
  using Layer = NetworkShape::Layer;

  // One row of scaled features for every centre, padded, and their scale, likewise.
  ElementNetwork(const std::vector<Layer>& layers, Matrix features, Eigen::RowVectorXd scale);

  // Energies of all centres and their derivatives at these weights of a member.
  void run(const double* weights);
  Index n_centers() const { return features_.rows(); }
  double energy(Index first, Index n) const;  // of these centres
  // dE/dG, of unscaled features.
  const double* gradient(Index center) const { return gradient_.row(center).data(); }

  // Sets d(factor * energy of these centres)/dw in a row of the Jacobian, after `run`.
  void energy_row(Index first, Index n, double factor, double* row);

  // Some centres and for each of them directions in the space of its unscaled features, (n, axes,
  // inputs), rows `stride` apart and padded: dG/dr along x, y and z for the blocks of an atom.
  struct BlockView {
    const Index* centers;
    Index n, axes;
    const double* derivatives;
    Index stride;
  };
  // Sets d(factor * sum of dE/dG along the directions)/dw in a row for every axis, `stride` apart.
  void force_rows(const BlockView& blocks, double factor, double* rows, Index stride);

 private:
  // Of one layer, for the blocks of an atom: rows of their centres, and z'_l, a'_l, y_l.
  struct LayerScratch {
    Scratch slope, curvature_term, delta, input;
    Scratch tangent_z, tangent_a, adjoint;
  };
  void forward_tangents(const BlockView& blocks);
  void backward_adjoint(const BlockView& blocks, std::size_t l);
  void write_rows(const BlockView& blocks, std::size_t l, double factor, double* rows,
                  Index stride);
  static void put_gradient(const Layer& layer, double factor, const double* w, const double* b,
                           double* row);
  const double* rows_of(const Matrix& all, const BlockView& blocks, Scratch& copy) const;

  Index inputs(std::size_t l) const { return padded(layers_[l].inputs, kPairLanes); }
  Index outputs(std::size_t l) const { return padded(layers_[l].outputs, kPairLanes); }
  const Matrix& input(std::size_t l) const { return l == 0 ? features_ : value_[l - 1]; }
  // A linear output has a tangent, but no curvature.
  bool has_curvature(std::size_t l) const {
    return l + 1 < layers_.size() || layers_[l].activation != Activation::kLinear;
  }

  // Rows of all matrices are padded, so that products have no tails.
  const std::vector<Layer>& layers_;
  std::vector<Matrix> weights_, transposed_;  // by layer, (outputs, inputs) and (inputs, outputs)
  Matrix scaled_;                             // of the first layer, (inputs, outputs), S W^T
  Matrix features_, gradient_;                // (centres, inputs)
  Eigen::RowVectorXd scale_;                  // (inputs)
  // By layer, (centres, outputs): a_l, f', dE/dz_l, dE/da_l and f'' dE/da_l.
  std::vector<Matrix> value_, slope_, delta_, dE_da_, curvature_term_;
  std::vector<LayerScratch> scratch_;
  bool consecutive_ = true;  // the centres of the blocks at hand
  Scratch weight_gradient_;
};

}  // namespace nearsight
