#include "nearsight/network.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "simd.hpp"

namespace nearsight {

namespace {

using ArrayMap = Eigen::Map<Eigen::ArrayXd>;

// By Eigen, which computes it for whole vectors, at one place: every expression of Eigen takes time
// to be compiled.
void exp_of(double* x, Index n) {
  ArrayMap all(x, n);
  all = all.exp();
}

}  // namespace

Activation activation_from_name(const std::string& name) {
  if (name == "linear") return Activation::kLinear;
  if (name == "tanh") return Activation::kTanh;
  if (name == "sigmoid") return Activation::kSigmoid;
  if (name == "softplus") return Activation::kSoftplus;
  if (name == "relu") return Activation::kRelu;
  if (name == "gaussian") return Activation::kGaussian;
  if (name == "cosine") return Activation::kCosine;
  if (name == "reversed_sigmoid") return Activation::kReversedSigmoid;
  if (name == "exponential") return Activation::kExponential;
  if (name == "square") return Activation::kSquare;
  throw std::invalid_argument("unknown activation '" + name.substr(0, 40) +
                              "', expected linear, tanh, sigmoid, softplus, relu, gaussian, "
                              "cosine, reversed_sigmoid, exponential or square");
}

void activate(Activation f, const double* z, Index n, double* a, double* slope, double* curvature) {
  // Where it is wanted, f'' of the value or of f'.
  const auto curve = [&](auto&& of) {
    for (Index i = 0; curvature && i < n; ++i) curvature[i] = of(i);
  };
  switch (f) {
    case Activation::kLinear:
      std::copy_n(z, n, a);
      std::fill_n(slope, n, 1.0);
      return curve([](Index) { return 0.0; });
    case Activation::kTanh:
      // Beyond 20 tanh is 1 to the last bit; the clamp keeps exp finite.
      for (Index i = 0; i < n; ++i) a[i] = -2.0 * std::clamp(z[i], -20.0, 20.0);
      exp_of(a, n);
      for (Index i = 0; i < n; ++i) {
        a[i] = (1.0 - a[i]) / (1.0 + a[i]);
        slope[i] = 1.0 - a[i] * a[i];
      }
      return curve([&](Index i) { return -2.0 * a[i] * slope[i]; });
    case Activation::kSigmoid:
      for (Index i = 0; i < n; ++i) a[i] = -std::clamp(z[i], -40.0, 40.0);
      exp_of(a, n);
      for (Index i = 0; i < n; ++i) {
        a[i] = 1.0 / (1.0 + a[i]);
        slope[i] = a[i] * (1.0 - a[i]);
      }
      return curve([&](Index i) { return slope[i] * (1.0 - 2.0 * a[i]); });
    case Activation::kSoftplus:
      for (Index i = 0; i < n; ++i) {
        slope[i] = 1.0 / (1.0 + std::exp(-z[i]));
        a[i] = std::max(z[i], 0.0) + std::log1p(std::exp(-std::abs(z[i])));
      }
      return curve([&](Index i) { return slope[i] * (1.0 - slope[i]); });
    case Activation::kRelu:
      for (Index i = 0; i < n; ++i) {
        a[i] = std::max(z[i], 0.0);
        slope[i] = z[i] > 0.0 ? 1.0 : 0.0;
      }
      return curve([](Index) { return 0.0; });
    case Activation::kGaussian:
      for (Index i = 0; i < n; ++i) a[i] = -0.5 * z[i] * z[i];
      exp_of(a, n);
      for (Index i = 0; i < n; ++i) slope[i] = -z[i] * a[i];
      return curve([&](Index i) { return (z[i] * z[i] - 1.0) * a[i]; });
    case Activation::kCosine:
      for (Index i = 0; i < n; ++i) {
        a[i] = std::cos(z[i]);
        slope[i] = -std::sin(z[i]);
      }
      return curve([&](Index i) { return -a[i]; });
    case Activation::kReversedSigmoid:
      for (Index i = 0; i < n; ++i) a[i] = std::clamp(z[i], -40.0, 40.0);
      exp_of(a, n);
      for (Index i = 0; i < n; ++i) {
        a[i] = 1.0 / (1.0 + a[i]);
        slope[i] = a[i] * (a[i] - 1.0);
      }
      return curve([&](Index i) { return slope[i] * (2.0 * a[i] - 1.0); });
    case Activation::kExponential:
      for (Index i = 0; i < n; ++i) a[i] = -z[i];
      exp_of(a, n);
      for (Index i = 0; i < n; ++i) slope[i] = -a[i];
      return curve([&](Index i) { return a[i]; });
    case Activation::kSquare:
      for (Index i = 0; i < n; ++i) {
        a[i] = z[i] * z[i];
        slope[i] = 2.0 * z[i];
      }
      return curve([](Index) { return 2.0; });
  }
}

NetworkBatch::NetworkBatch(Index members, const std::vector<LayerView>& layers, const double* slope,
                           const double* intercept, const double* scale, const double* offset)
    : members_(members), lanes_(padded(members, kPairLanes)) {
  if (members < 1) throw std::invalid_argument("a network needs at least one member");
  if (layers.empty()) throw std::invalid_argument("a network needs at least one layer");
  if (layers.back().outputs != 1)
    throw std::invalid_argument("the last layer of a network must have one output");
  slope_ = Eigen::ArrayXd::Zero(lanes_);
  intercept_ = Eigen::ArrayXd::Zero(lanes_);
  for (Index m = 0; m < members; ++m) {
    slope_[m] = slope[m];
    intercept_[m] = intercept[m];
  }
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerView& view = layers[l];
    if (l > 0 && view.inputs != layers[l - 1].outputs)
      throw std::invalid_argument("layer " + std::to_string(l) + " of a network takes " +
                                  std::to_string(view.inputs) + " values, the layer before gives " +
                                  std::to_string(layers[l - 1].outputs));
    Layer layer{view.inputs, view.outputs, view.activation, {}, {}};
    layer.weights.setZero(view.outputs * view.inputs * lanes_);
    layer.bias.setZero(view.outputs * lanes_);
    for (Index m = 0; m < members; ++m)
      for (Index o = 0; o < view.outputs; ++o) {
        const double* row = view.weights + (m * view.outputs + o) * view.inputs;
        double bias = view.bias[m * view.outputs + o];
        for (Index i = 0; i < view.inputs; ++i) {
          layer.weights[(o * view.inputs + i) * lanes_ + m] = l == 0 ? row[i] * scale[i] : row[i];
          if (l == 0) bias += row[i] * offset[i];
        }
        layer.bias[o * lanes_ + m] = bias;
      }
    layers_.push_back(std::move(layer));
  }
}

// Width vectors of members from `first` on, side by side in registers.
template <int Width>
void NetworkBatch::evaluate_block(const double* features, Index first, double* energy,
                                  double* gradient, Workspace& work) const {
  constexpr Index n = Width * kPairLanes;
  struct Members {
    Vec of[Width];
    explicit Members(const double* p) {
      for (int w = 0; w < Width; ++w) of[w] = load(p + w * kPairLanes);
    }
    void put(double* p) const {
      for (int w = 0; w < Width; ++w) store(p + w * kPairLanes, of[w]);
    }
  };
  Index outputs = 0, widest = 0;
  for (const Layer& layer : layers_) {
    outputs += layer.outputs;
    widest = std::max({widest, layer.outputs, layer.inputs});
  }
  double* value = work.activations.require(outputs * n);
  double* slope = work.slopes.require(outputs * n);
  double* z = work.next.require(widest * n);

  const double* input = nullptr;
  for (const Layer& layer : layers_) {
    for (Index o = 0; o < layer.outputs; ++o) {
      Members sum(layer.bias.data() + o * lanes_ + first);
      const double* w = layer.weights.data() + o * layer.inputs * lanes_ + first;
      for (Index i = 0; i < layer.inputs; ++i, w += lanes_)
        for (int v = 0; v < Width; ++v)
          sum.of[v] +=
              load(w + v * kPairLanes) *
              (input == nullptr ? broadcast(features[i]) : load(input + i * n + v * kPairLanes));
      sum.put(z + o * n);
    }
    activate(layer.activation, z, layer.outputs * n, value, slope);
    input = value;
    value += layer.outputs * n;
    slope += layer.outputs * n;
  }
  for (Index m = 0; m < n; ++m)
    energy[first + m] = intercept_[first + m] + slope_[first + m] * input[m];

  double* adjoint = work.adjoint.require(widest * n);
  Members(slope_.data() + first).put(adjoint);
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    const Index inputs = layer->inputs;
    slope -= layer->outputs * n;
    for (Index k = 0; k < layer->outputs * n; ++k) adjoint[k] *= slope[k];
    const bool last = layer + 1 == layers_.rend();
    for (Index i = 0; i < inputs; ++i) {
      const double* w = layer->weights.data() + i * lanes_ + first;
      Vec sum[Width] = {};
      for (Index o = 0; o < layer->outputs; ++o, w += inputs * lanes_)
        for (int v = 0; v < Width; ++v)
          sum[v] += load(w + v * kPairLanes) * load(adjoint + o * n + v * kPairLanes);
      double* const out = last ? gradient + i * lanes_ + first : z + i * n;
      for (int v = 0; v < Width; ++v) store(out + v * kPairLanes, sum[v]);
    }
    std::swap(adjoint, z);
  }
}

void NetworkBatch::evaluate(const double* features, double* energy, double* gradient,
                            Workspace& work) const {
  Index first = 0;
  for (; first + 3 * kPairLanes <= lanes_; first += 3 * kPairLanes)
    evaluate_block<3>(features, first, energy, gradient, work);
  for (; first < lanes_; first += kPairLanes)
    evaluate_block<1>(features, first, energy, gradient, work);
}

}  // namespace nearsight
