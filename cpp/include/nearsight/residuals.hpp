// Residuals of the loss and their derivatives with respect to the weights of one member.
#pragma once

#include <vector>

#include "nearsight/training_set.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

class ElementNetwork;

// Labels of the images: energies (images), forces (F, 3).
struct Labels {
  const double* energies;
  const double* forces;
};

// Residuals sqrt(w) (prediction - label) of the images of non-zero weight: per image its energy,
// if that has a weight, then x, y, z of its forces that have one. Images of the same elements
// come one after the other, so that the zeros of the Jacobian are rectangles.
//
// The Jacobian J is never kept: its rows are made for a few images at a time where J^T J needs
// them, and J^T v is a gradient, which takes little more than the residuals themselves.
class Residuals {
 public:
  Residuals(const TrainingSet& set, const ResidualWeights& weights);
  Residuals(const TrainingSet& set, const ResidualWeights& weights, const Labels& labels);
  ~Residuals();

  // Residuals of an image, that is, its rows of the Jacobian.
  struct Rows {
    Index image, first, count;
    bool has_energy;
    std::vector<bool> elements;           // which of them the image has
    std::vector<Index> begin, n_centers;  // by element, its centres among all in use
  };
  const std::vector<Rows>& rows() const { return rows_; }
  Index size() const { return residual_.size(); }

  // Evaluates the networks at these weights, where all derivatives are taken.
  void move_to(const Vector& weights);
  // The residuals at these weights, to which it moves.
  const Vector& evaluate(const Vector& weights);
  // J = d residual / d weights.
  Matrix jacobian();
  // The upper triangle of J^T J, with more columns than it has, and J^T v.
  void curvature(const Vector& v, Matrix& product, Vector& pulled_back);
  // J^T v alone.
  Vector pull_back(const Vector& v);
  // J^T (r(to) - r(from)), J and the residual r(from) at `from`, to which it moves.
  Vector pull_back_change(const Vector& from, const Vector& residual, const Vector& to);

 private:
  // The blocks of an atom whose centres have one element, those `first` to `first + n`.
  struct Group {
    int element;
    Index first, n;
    const double* derivatives;
  };
  template <class Function>
  void for_groups(Index force_atom, Function&& function) const;

  void place_centers();
  double energy(const Rows& rows) const;
  Eigen::Vector3d force(Index force_atom) const;
  double energy_residual(const Rows& rows) const;
  Eigen::Vector3d force_residual(Index force_atom) const;
  void write_rows(const Rows& rows, double* row, Index stride);
  void add_direction(Index force_atom, const double* v);
  Vector pull_back_directions(const Vector& v);
  Index n_atoms(Index g) const { return set_.image_centers[g + 1] - set_.image_centers[g]; }

  const TrainingSet& set_;
  const Labels labels_;
  std::vector<Rows> rows_;
  std::vector<double> energy_roots_, force_roots_;  // by image, by labelled atom
  std::vector<ElementNetwork> networks_;            // by element, all centres in use
  std::vector<Index> block_center_;                 // index of a block's centre in its network
  Vector residual_;
  Scratch some_rows_;               // of the Jacobian
  std::vector<Matrix> directions_;  // by element, (centres, features)
};

struct Predictions {
  Vector energies;  // (images) eV per atom
  Matrix forces;    // (F, 3) eV/Å
};

// Predictions of one member for all images.
Predictions predict(const TrainingSet& set, const Vector& weights);

}  // namespace nearsight
