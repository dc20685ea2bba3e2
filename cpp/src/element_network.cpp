#include "element_network.hpp"

#include <algorithm>
#include <utility>

#include "small_gemm.hpp"

namespace nearsight {

ElementNetwork::ElementNetwork(const std::vector<Layer>& layers, Matrix features,
                               Eigen::RowVectorXd scale)
    : layers_(layers),
      features_(std::move(features)),
      scale_(std::move(scale)),
      scratch_(layers.size()) {
  const Index centers = features_.rows();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    weights_.push_back(Matrix::Zero(layers_[l].outputs, inputs(l)));
    transposed_.push_back(Matrix::Zero(layers_[l].inputs, outputs(l)));
    for (auto* list : {&value_, &slope_, &delta_, &dE_da_, &curvature_term_})
      list->emplace_back(centers, outputs(l));
  }
  gradient_.resize(centers, inputs(0));
}

void ElementNetwork::run(const double* weights) {
  const Index centers = features_.rows();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const Eigen::Map<const Matrix> given(weights + layer.weights, layer.outputs, layer.inputs);
    weights_[l].leftCols(layer.inputs) = given;
    transposed_[l].leftCols(layer.outputs) = given.transpose();
    const Matrix& x = input(l);
    Matrix& z = dE_da_[l];
    z.setZero();
    z.leftCols(layer.outputs).rowwise() +=
        Eigen::Map<const Eigen::RowVectorXd>(weights + layer.bias, layer.outputs);
    small_gemm<true>(centers, z.cols(), layer.inputs, {x.data(), 1, x.cols()},
                     transposed_[l].data(), z.cols(), z.data(), z.cols());
    activate(layer.activation, z.data(), z.size(), value_[l].data(), slope_[l].data(),
             curvature_term_[l].data());
  }
  scaled_ = scale_.transpose().asDiagonal() * transposed_.front();
  dE_da_.back().setOnes();
  for (std::size_t l = layers_.size(); l-- > 0;) {
    delta_[l] = slope_[l].cwiseProduct(dE_da_[l]);
    curvature_term_[l].array() *= dE_da_[l].array();
    Matrix& next = l > 0 ? dE_da_[l - 1] : gradient_;
    small_gemm<false>(centers, next.cols(), layers_[l].outputs,
                      {delta_[l].data(), 1, delta_[l].cols()}, weights_[l].data(), next.cols(),
                      next.data(), next.cols());
  }
  gradient_.array().rowwise() *= scale_.array();
}

double ElementNetwork::energy(Index first, Index n) const {
  return value_.back().col(0).segment(first, n).sum();
}

void ElementNetwork::energy_row(Index first, Index n, double factor, double* row) {
  const double one = 1.0;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Index in = inputs(l), out = outputs(l);
    const double* delta = delta_[l].row(first).data();
    double* w = weight_gradient_.require(layers_[l].outputs * in + out);
    double* b = w + layers_[l].outputs * in;
    small_gemm<false>(layers_[l].outputs, in, n, {delta, out, 1}, input(l).row(first).data(), in, w,
                      in);
    small_gemm<false>(1, out, n, {&one, 0, 0}, delta, out, b, out);
    put_gradient(layers_[l], factor, w, b, row);
  }
}

// Sets the part of a layer in a row, from padded dE/dW and dE/db.
void ElementNetwork::put_gradient(const Layer& layer, double factor, const double* w,
                                  const double* b, double* row) {
  const Index in = padded(layer.inputs, kPairLanes);
  for (Index o = 0; o < layer.outputs; ++o) {
    for (Index i = 0; i < layer.inputs; ++i)
      row[layer.weights + o * layer.inputs + i] = factor * w[o * in + i];
    row[layer.bias + o] = factor * b[o];
  }
}

// Rows of the centres of the blocks, copied unless these follow each other, as they mostly do.
const double* ElementNetwork::rows_of(const Matrix& all, const BlockView& blocks,
                                      Scratch& copy) const {
  if (consecutive_) return all.row(blocks.centers[0]).data();
  const Index width = all.cols();
  double* const rows = copy.require(blocks.n * width);
  double* out = rows;
  for (Index b = 0; b < blocks.n; ++b) {
    const double* row = all.row(blocks.centers[b]).data();
    for (Index i = 0; i < width; i += kPairLanes, out += kPairLanes) store(out, load(row + i));
  }
  return rows;
}

// z'_l and a'_l of all layers; of every centre, its axes one after the other.
void ElementNetwork::forward_tangents(const BlockView& blocks) {
  const Index n = blocks.n, axes = blocks.axes;
  const double* tangent = blocks.derivatives;
  Index tangent_stride = blocks.stride;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Index out = outputs(l);
    double* z = scratch_[l].tangent_z.require(axes * n * out);
    double* a = scratch_[l].tangent_a.require(axes * n * out);
    small_gemm<false>(axes * n, out, layers_[l].inputs, {tangent, 1, tangent_stride},
                      l == 0 ? scaled_.data() : transposed_[l].data(), out, z, out);
    const double* slope = rows_of(slope_[l], blocks, scratch_[l].slope);
    for (Index b = 0; b < n; ++b, slope += out)
      for (Index d = 0; d < axes; ++d, z += out, a += out)
        for (Index k = 0; k < out; ++k) a[k] = slope[k] * z[k];
    tangent = scratch_[l].tangent_a.data();
    tangent_stride = out;
  }
}

// y_l, from y_(l+1).
void ElementNetwork::backward_adjoint(const BlockView& blocks, std::size_t l) {
  const Index n = blocks.n, axes = blocks.axes, out = outputs(l);
  double* adjoint = scratch_[l].adjoint.require(axes * n * out);
  const double* slope = consecutive_ ? slope_[l].row(blocks.centers[0]).data()
                                     : scratch_[l].slope.data();  // copied on the way forward
  const double* curvature = rows_of(curvature_term_[l], blocks, scratch_[l].curvature_term);
  const double* z = scratch_[l].tangent_z.data();
  const bool adds = l + 1 < layers_.size() && has_curvature(l + 1);
  if (adds)
    small_gemm<false>(axes * n, out, layers_[l + 1].outputs,
                      {scratch_[l + 1].adjoint.data(), 1, outputs(l + 1)}, weights_[l + 1].data(),
                      out, adjoint, out);
  for (Index b = 0; b < n; ++b, slope += out, curvature += out)
    for (Index d = 0; d < axes; ++d, adjoint += out, z += out)
      for (Index k = 0; k < out; ++k)
        adjoint[k] = (adds ? slope[k] * adjoint[k] : 0.0) + curvature[k] * z[k];
}

// dE'/dW_l and dE'/db_l, times the factor, in the rows of the Jacobian.
void ElementNetwork::write_rows(const BlockView& blocks, std::size_t l, double factor, double* rows,
                                Index stride) {
  const Layer& layer = layers_[l];
  const Index n = blocks.n, axes = blocks.axes, in = inputs(l), out = outputs(l);
  const double* tangent = l == 0 ? blocks.derivatives : scratch_[l - 1].tangent_a.data();
  const Index tangent_stride = l == 0 ? blocks.stride : in;
  const double* adjoint = scratch_[l].adjoint.data();
  const double* delta = rows_of(delta_[l], blocks, scratch_[l].delta);
  const double* x = rows_of(input(l), blocks, scratch_[l].input);
  double* w = weight_gradient_.require(layer.outputs * in + out);
  double* b = w + layer.outputs * in;
  const double one = 1.0;
  for (Index d = 0; d < axes; ++d) {
    small_gemm<false>(layer.outputs, in, n, {delta, out, 1}, tangent + d * tangent_stride,
                      axes * tangent_stride, w, in);
    if (l == 0)
      for (Index o = 0; o < layer.outputs; ++o)
        for (Index i = 0; i < in; ++i) w[o * in + i] *= scale_[i];
    std::fill_n(b, out, 0.0);
    if (has_curvature(l)) {
      const GemmOperand y{adjoint + d * out, axes * out, 1};
      small_gemm<true>(layer.outputs, in, n, y, x, in, w, in);
      small_gemm<false>(1, out, n, {&one, 0, 0}, adjoint + d * out, axes * out, b, out);
    }
    put_gradient(layer, factor, w, b, rows + d * stride);
  }
}

void ElementNetwork::force_rows(const BlockView& blocks, double factor, double* rows,
                                Index stride) {
  consecutive_ = true;
  for (Index b = 1; b < blocks.n; ++b)
    consecutive_ = consecutive_ && blocks.centers[b] == blocks.centers[0] + b;
  forward_tangents(blocks);
  for (std::size_t l = layers_.size(); l-- > 0;) {
    if (has_curvature(l)) backward_adjoint(blocks, l);
    write_rows(blocks, l, factor, rows, stride);
  }
}

}  // namespace nearsight
