#include "nearsight/element_pass.hpp"

#include <algorithm>
#include <utility>

#include "small_product.hpp"

namespace nearsight {

ElementPass::ElementPass(const std::vector<Layer>& layers, Matrix features)
    : layers_(layers), features_(std::move(features)), row_(layers.size()) {
  const Index centers = features_.rows();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    weights_.push_back(Matrix::Zero(layers_[l].outputs, inputs(l)));
    transposed_.push_back(Matrix::Zero(layers_[l].inputs, outputs(l)));
    for (auto* list : {&value_, &slope_, &delta_, &above_, &bend_})
      list->emplace_back(centers, outputs(l));
  }
  gradient_.resize(centers, inputs(0));
}

void ElementPass::run(const double* weights) {
  const Index centers = features_.rows();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const Eigen::Map<const Matrix> given(weights + layer.weights, layer.outputs, layer.inputs);
    weights_[l].leftCols(layer.inputs) = given;
    transposed_[l].leftCols(layer.outputs) = given.transpose();
    const Matrix& x = below(l);
    Matrix& z = above_[l];
    z.setZero();
    z.leftCols(layer.outputs).rowwise() +=
        Eigen::Map<const Eigen::RowVectorXd>(weights + layer.bias, layer.outputs);
    product<true>(centers, z.cols(), layer.inputs, {x.data(), 1, x.cols()}, transposed_[l].data(),
                  z.cols(), z.data(), z.cols());
    activate(layer.activation, z.data(), z.size(), value_[l].data(), slope_[l].data(),
             bend_[l].data());
  }
  above_.back().setOnes();
  for (std::size_t l = layers_.size(); l-- > 0;) {
    delta_[l] = slope_[l].cwiseProduct(above_[l]);
    bend_[l].array() *= above_[l].array();
    Matrix& next = l > 0 ? above_[l - 1] : gradient_;
    product<false>(centers, next.cols(), layers_[l].outputs,
                   {delta_[l].data(), 1, delta_[l].cols()}, weights_[l].data(), next.cols(),
                   next.data(), next.cols());
  }
}

double ElementPass::energy(Index first, Index n) const {
  return value_.back().col(0).segment(first, n).sum();
}

void ElementPass::energy_line(Index first, Index n, double factor, double* line) const {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const auto delta = delta_[l].block(first, 0, n, layer.outputs);
    const auto x = below(l).block(first, 0, n, layer.inputs);
    Eigen::Map<Matrix> w(line + layer.weights, layer.outputs, layer.inputs);
    w.noalias() = factor * delta.transpose() * x;
    Eigen::Map<Eigen::RowVectorXd>(line + layer.bias, layer.outputs) =
        factor * delta.colwise().sum();
  }
}

void ElementPass::force_lines(const Blocks& blocks, double factor, double* lines, Index stride) {
  const Index n = blocks.n;
  // Mostly the centres follow each other, and so do their lines.
  bool consecutive = true;
  for (Index b = 1; b < n; ++b)
    consecutive = consecutive && blocks.centers[b] == blocks.centers[0] + b;
  const auto lines_of = [&](const Matrix& all, Scratch& scratch) -> const double* {
    if (consecutive) return all.row(blocks.centers[0]).data();
    double* copy = scratch.require(n * all.cols());
    for (Index b = 0; b < n; ++b)
      std::copy_n(all.row(blocks.centers[b]).data(), all.cols(), copy + b * all.cols());
    return copy;
  };

  const double* tangent = blocks.derivatives;
  Index tangent_stride = blocks.stride;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Index out = outputs(l);
    double* z = row_[l].tangent_z.require(3 * n * out);
    double* a = row_[l].tangent_a.require(3 * n * out);
    product<false>(3 * n, out, layers_[l].inputs, {tangent, 1, tangent_stride},
                   transposed_[l].data(), out, z, out);
    const double* slope = lines_of(slope_[l], row_[l].slope);
    for (int d = 0; d < 3; ++d)
      for (Index k = 0; k < n * out; ++k) a[d * n * out + k] = slope[k] * z[d * n * out + k];
    tangent = a;
    tangent_stride = out;
  }
  for (std::size_t l = layers_.size(); l-- > 0;) {
    const Layer& layer = layers_[l];
    const Index in = inputs(l), out = outputs(l), size = n * out;
    double* adjoint = row_[l].adjoint.require(3 * size);
    if (bends(l)) {
      const double* slope = consecutive ? lines_of(slope_[l], row_[l].slope) : row_[l].slope.data();
      const double* bend = lines_of(bend_[l], row_[l].bend);
      const double* z = row_[l].tangent_z.data();
      if (l + 1 < layers_.size() && bends(l + 1)) {
        product<false>(3 * n, out, layers_[l + 1].outputs,
                       {row_[l + 1].adjoint.data(), 1, outputs(l + 1)}, weights_[l + 1].data(), out,
                       adjoint, out);
        for (int d = 0; d < 3; ++d)
          for (Index k = 0; k < size; ++k)
            adjoint[d * size + k] = slope[k] * adjoint[d * size + k] + bend[k] * z[d * size + k];
      } else {
        for (int d = 0; d < 3; ++d)
          for (Index k = 0; k < size; ++k) adjoint[d * size + k] = bend[k] * z[d * size + k];
      }
    }
    tangent = l == 0 ? blocks.derivatives : row_[l - 1].tangent_a.data();
    tangent_stride = l == 0 ? blocks.stride : in;
    const double* delta = lines_of(delta_[l], row_[l].delta);
    const double* x = lines_of(below(l), row_[l].below);
    double* w = product_.require(layer.outputs * in + out);
    double* b = w + layer.outputs * in;
    const double one = 1.0;
    for (int d = 0; d < 3; ++d) {
      product<false>(layer.outputs, in, n, {delta, out, 1}, tangent + d * n * tangent_stride,
                     tangent_stride, w, in);
      std::fill_n(b, out, 0.0);
      if (bends(l)) {
        product<true>(layer.outputs, in, n, {adjoint + d * size, out, 1}, x, in, w, in);
        product<false>(1, out, n, {&one, 0, 0}, adjoint + d * size, out, b, out);
      }
      double* line = lines + d * stride;
      for (Index o = 0; o < layer.outputs; ++o) {
        for (Index i = 0; i < layer.inputs; ++i)
          line[layer.weights + o * layer.inputs + i] = factor * w[o * in + i];
        line[layer.bias + o] = factor * b[o];
      }
    }
  }
}

}  // namespace nearsight
