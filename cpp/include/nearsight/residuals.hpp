// Residuals of the loss and their derivatives with respect to the weights of one member.
#pragma once

#include <vector>

#include "nearsight/element_pass.hpp"
#include "nearsight/training_set.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

// Residuals sqrt(w) (prediction - target) of the images of non-zero weight: per image its energy,
// if that has a weight, then its rows' x, y, z, if one of them has. Images of the same elements
// come one after the other, so that the zeros of the Jacobian are rectangles.
class Residuals {
 public:
  Residuals(const NetworkShape& shape, const TrainingSet& set, const ResidualWeights& weights);

  // Where the residuals of an image are.
  struct Lines {
    Index image, first, count;
    bool has_energy, has_forces;
    std::vector<bool> elements;           // which of them the image has
    std::vector<Index> begin, n_centers;  // by element, its centres among all in use
  };
  const std::vector<Lines>& lines() const { return lines_; }
  Index size() const { return residual_.size(); }

  // The residuals at these weights.
  const Vector& evaluate(const Vector& weights);
  // d residual / d weights where `evaluate` was last.
  const Matrix& differentiate();
  // The lower triangle of J^T J after `differentiate`.
  void curvature(Eigen::MatrixXd& product) const;

 private:
  void place_centers();
  double energy(const Lines& lines) const;
  Eigen::Vector3d force(Index row) const;
  Index n_atoms(Index g) const { return set_.image_centers[g + 1] - set_.image_centers[g]; }

  const NetworkShape& shape_;
  const TrainingSet& set_;
  std::vector<Lines> lines_;
  std::vector<double> energy_roots_, force_roots_;  // by image, by row
  std::vector<ElementPass> passes_;                 // by element, all centres in use
  std::vector<Index> block_place_;                  // row of a block's centre in its pass
  Vector residual_;
  Matrix jacobian_;
};

struct Predictions {
  Vector energies;  // (images) eV per atom
  Matrix forces;    // (R, 3) eV/Å
};

// Predictions of one member for all images.
Predictions predict(const NetworkShape& shape, const Vector& weights, const TrainingSet& set);

}  // namespace nearsight
