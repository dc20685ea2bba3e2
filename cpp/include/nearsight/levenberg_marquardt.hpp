// Minimisation of the loss of one member.
#pragma once

#include "nearsight/training_set.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

struct Fit {
  Vector weights;
  double loss;
  Index iterations, trials;  // Jacobians and steps that were tried
};

// Minimises 1/2 |r|^2 + l2/2 |w|^2 from `start`, in that many iterations at most; ends when two
// iterations in a row lower it by less than the part `tolerance`.
Fit levenberg_marquardt(const TrainingSet& set, const ResidualWeights& weights, const Vector& start,
                        double l2, Index iterations, double tolerance = 0.0);

}  // namespace nearsight
