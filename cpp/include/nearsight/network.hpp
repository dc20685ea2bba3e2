// Feed-forward networks of one element, many members at once.
#pragma once

#include <string>
#include <vector>

#include "nearsight/types.hpp"

namespace nearsight {

// The last six, of n2p2: max(z, 0), exp(-z^2/2), cos z, 1 - sigmoid, exp(-z), z^2.
enum class Activation {
  kLinear,
  kTanh,
  kSigmoid,
  kSoftplus,
  kRelu,
  kGaussian,
  kCosine,
  kReversedSigmoid,
  kExponential,
  kSquare
};

// Throws std::invalid_argument for an unknown name ("linear", "tanh", "sigmoid", "softplus", ...).
Activation activation_from_name(const std::string& name);

// a = f(z), da/dz and d2a/dz2, element by element over n values.
void activate(Activation f, const double* z, Index n, double* a, double* slope,
              double* curvature = nullptr);

// One layer of all members: weights (M, out, in) and bias (M, out), row-major, z = W x + b.
struct LayerView {
  Index inputs, outputs;
  const double* weights;
  const double* bias;
  Activation activation;
};

// M networks of one shape, E = intercept + slope * output. Members lie in the lanes of vectors.
class NetworkBatch {
 public:
  // `scale` and `offset` (features): the networks see scale * G + offset. Throws
  // std::invalid_argument if the layers do not fit together.
  NetworkBatch(Index members, const std::vector<LayerView>& layers, const double* slope,
               const double* intercept, const double* scale, const double* offset);

  struct Workspace {
    Scratch activations, slopes, adjoint, next;
  };

  Index members() const { return members_; }
  Index lanes() const { return lanes_; }  // members, padded
  Index inputs() const { return layers_.front().inputs; }

  // Energies (lanes) and dE/dG (inputs, lanes) of all members at the unscaled features G.
  void evaluate(const double* features, double* energy, double* gradient, Workspace& work) const;

 private:
  template <int Width>
  void evaluate_block(const double* features, Index first, double* energy, double* gradient,
                      Workspace& work) const;

  struct Layer {
    Index inputs, outputs;
    Activation activation;
    Eigen::ArrayXd weights;  // (out, in, lanes)
    Eigen::ArrayXd bias;     // (out, lanes)
  };
  Index members_, lanes_;
  std::vector<Layer> layers_;  // scaling folded into the first
  Eigen::ArrayXd slope_, intercept_;
};

}  // namespace nearsight
