// The force on an atom is linear in dE/dG: F = -sum_c dG_c/dr . dE_c/dG_c. For every block
// V = dG_c/dr the network of centre c is carried along V (forward tangents z', a'), and the
// tangent of the energy is differentiated backwards with respect to the weights:
//   z'_1 = W_1 V, a'_l = f'(z_l) z'_l, z'_(l+1) = W_(l+1) a'_l,  E' = a'_L
//   adjoint of z'_l:  d_l = dE/dz_l, the same for all blocks of a centre
//   adjoint of z_l:   y_l = f'(z_l) W_(l+1)^T y_(l+1) + f''(z_l) z'_l dE/da_l
//   dE'/dW_l = d_l (x) a'_(l-1) + y_l (x) a_(l-1),  dE'/db_l = y_l
// which costs a tenth of forming d2E/dG dw.
#include "nearsight/residuals.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace nearsight {

namespace {

using MatrixMap = Eigen::Map<Matrix>;
using ConstMatrixMap = Eigen::Map<const Matrix>;
using Strided = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;
using Layer = NetworkShape::Layer;

// All centres of one element in one image, carried through its network.
struct CenterPass {
  std::vector<Matrix> value, slope, curvature;  // a_l, f', f'' by layer, (centres, outputs)
  std::vector<Matrix> delta, dvalue;            // dE/dz_l, dE/da_l
  Matrix input;                                 // features
  Matrix gradient;                              // dE/dG

  void run(const std::vector<Layer>& layers, const double* weights, bool with_curvature) {
    const std::size_t depth = layers.size();
    for (auto* list : {&value, &slope, &curvature, &delta, &dvalue}) list->resize(depth);
    const Matrix* x = &input;
    for (std::size_t l = 0; l < depth; ++l) {
      const Layer& layer = layers[l];
      const ConstMatrixMap w(weights + layer.weights, layer.outputs, layer.inputs);
      const Eigen::Map<const Eigen::RowVectorXd> b(weights + layer.bias, layer.outputs);
      Matrix& z = dvalue[l];
      z.noalias() = *x * w.transpose();
      z.rowwise() += b;
      value[l].resize(z.rows(), z.cols());
      slope[l].resize(z.rows(), z.cols());
      if (with_curvature) curvature[l].resize(z.rows(), z.cols());
      activate(layer.activation, z.data(), z.size(), value[l].data(), slope[l].data(),
               with_curvature ? curvature[l].data() : nullptr);
      x = &value[l];
    }
    dvalue[depth - 1].setOnes();
    for (std::size_t l = depth; l-- > 0;) {
      const ConstMatrixMap w(weights + layers[l].weights, layers[l].outputs, layers[l].inputs);
      delta[l] = slope[l].cwiseProduct(dvalue[l]);
      if (l > 0)
        dvalue[l - 1].noalias() = delta[l] * w;
      else
        gradient.noalias() = delta[l] * w;
    }
  }
};

// The blocks of one element in one image, row after row, and their tangents.
struct BlockPass {
  std::vector<Index> row_begin;         // (rows + 1)
  std::vector<Index> center;            // row of the CenterPass
  Matrix input;                         // V, (3 blocks, features)
  std::vector<Matrix> dz, da, adjoint;  // z'_l, a'_l, y_l

  void run(const std::vector<Layer>& layers, const double* weights, const CenterPass& centers) {
    const std::size_t depth = layers.size();
    const Index blocks = static_cast<Index>(center.size());
    dz.resize(depth);
    da.resize(depth);
    adjoint.resize(depth);
    const Matrix* x = &input;
    for (std::size_t l = 0; l < depth; ++l) {
      const ConstMatrixMap w(weights + layers[l].weights, layers[l].outputs, layers[l].inputs);
      dz[l].noalias() = *x * w.transpose();
      da[l].resize(dz[l].rows(), dz[l].cols());
      for (Index b = 0; b < blocks; ++b)
        for (int a = 0; a < 3; ++a)
          da[l].row(3 * b + a) = centers.slope[l].row(center[b]).cwiseProduct(dz[l].row(3 * b + a));
      x = &da[l];
    }
    for (std::size_t l = depth; l-- > 0;) {
      adjoint[l].resize(dz[l].rows(), dz[l].cols());
      if (l + 1 < depth) {
        const ConstMatrixMap w(weights + layers[l + 1].weights, layers[l + 1].outputs,
                               layers[l + 1].inputs);
        adjoint[l].noalias() = adjoint[l + 1] * w;
      } else {
        adjoint[l].setZero();
      }
      for (Index b = 0; b < blocks; ++b) {
        const Index c = center[b];
        for (int a = 0; a < 3; ++a) {
          auto y = adjoint[l].row(3 * b + a).array();
          y = y * centers.slope[l].row(c).array() + centers.curvature[l].row(c).array() *
                                                        centers.dvalue[l].row(c).array() *
                                                        dz[l].row(3 * b + a).array();
        }
      }
    }
  }
};

// Works through the images of a set one by one.
class ImagePass {
 public:
  ImagePass(const NetworkShape& shape, const double* weights, const TrainingSet& set)
      : shape_(shape),
        weights_(weights),
        set_(set),
        centers_(shape.elements.size()),
        blocks_(shape.elements.size()) {}

  // Sets energy per atom and forces of image g.
  void predict(Index g, bool with_curvature) {
    const Index c0 = set_.image_centers[g], c1 = set_.image_centers[g + 1];
    place_.resize(c1 - c0);
    std::vector<Index> count(centers_.size(), 0);
    for (Index c = c0; c < c1; ++c) place_[c - c0] = count[set_.center_element[c]]++;
    for (std::size_t e = 0; e < centers_.size(); ++e)
      centers_[e].input.resize(count[e], shape_.elements[e].front().inputs);
    for (Index c = c0; c < c1; ++c) {
      Matrix& input = centers_[set_.center_element[c]].input;
      input.row(place_[c - c0]) =
          Eigen::Map<const Eigen::RowVectorXd>(set_.features + c * set_.n_features, input.cols());
    }
    double sum = 0.0;
    for (std::size_t e = 0; e < centers_.size(); ++e) {
      if (count[e] == 0) continue;
      centers_[e].run(shape_.elements[e], weights_, with_curvature);
      sum += centers_[e].value.back().sum();
    }
    energy = sum / static_cast<double>(c1 - c0);

    const Index r0 = set_.image_rows[g], r1 = set_.image_rows[g + 1];
    forces.setZero(r1 - r0, 3);
    for (Index r = r0; r < r1; ++r)
      for (Index b = set_.row_offsets[r]; b < set_.row_offsets[r + 1]; ++b) {
        const Index c = set_.block_center[b];
        const auto gradient = centers_[set_.center_element[c]].gradient.row(place_[c - c0]);
        const Strided v(set_.derivatives + 3 * b * set_.n_features, 3, gradient.cols(),
                        Eigen::OuterStride<>(set_.n_features));
        forces.row(r - r0).noalias() -= (v * gradient.transpose()).transpose();
      }
  }

  // Adds d(energy per atom)/dw to `row` after predict(g, true).
  void energy_jacobian(Index g, double factor, double* row) const {
    factor /= static_cast<double>(set_.image_centers[g + 1] - set_.image_centers[g]);
    for (std::size_t e = 0; e < centers_.size(); ++e) {
      const CenterPass& pass = centers_[e];
      if (pass.input.rows() == 0) continue;
      const std::vector<Layer>& layers = shape_.elements[e];
      for (std::size_t l = 0; l < layers.size(); ++l) {
        const Matrix& x = l == 0 ? pass.input : pass.value[l - 1];
        MatrixMap w(row + layers[l].weights, layers[l].outputs, layers[l].inputs);
        w.noalias() += factor * pass.delta[l].transpose() * x;
        Eigen::Map<Eigen::RowVectorXd> b(row + layers[l].bias, layers[l].outputs);
        b += factor * pass.delta[l].colwise().sum();
      }
    }
  }

  // Adds dF/dw of all rows of image g, three lines each, after predict(g, true).
  void force_jacobian(Index g, const double* factors, double* rows) {
    const Index r0 = set_.image_rows[g], r1 = set_.image_rows[g + 1];
    gather_blocks(g);
    for (std::size_t e = 0; e < blocks_.size(); ++e) {
      BlockPass& pass = blocks_[e];
      if (pass.center.empty()) continue;
      const CenterPass& centers = centers_[e];
      const std::vector<Layer>& layers = shape_.elements[e];
      pass.run(layers, weights_, centers);
      for (Index r = 0; r < r1 - r0; ++r) {
        const Index b0 = pass.row_begin[r], n = pass.row_begin[r + 1] - b0;
        if (n == 0) continue;
        const double factor = -factors[r0 + r];
        for (std::size_t l = 0; l < layers.size(); ++l) {
          const Index in = layers[l].inputs, out = layers[l].outputs;
          const Matrix& x = l == 0 ? centers.input : centers.value[l - 1];
          const Matrix& dx = l == 0 ? pass.input : pass.da[l - 1];
          delta_.resize(n, out);
          x_.resize(n, in);
          for (Index b = 0; b < n; ++b) {
            delta_.row(b) = factor * centers.delta[l].row(pass.center[b0 + b]);
            x_.row(b) = factor * x.row(pass.center[b0 + b]);
          }
          for (int a = 0; a < 3; ++a) {
            double* row = rows + (3 * r + a) * shape_.n_weights;
            const Strided tangent(dx.data() + (3 * b0 + a) * in, n, in,
                                  Eigen::OuterStride<>(3 * in));
            const Strided adjoint(pass.adjoint[l].data() + (3 * b0 + a) * out, n, out,
                                  Eigen::OuterStride<>(3 * out));
            MatrixMap w(row + layers[l].weights, out, in);
            w.noalias() += delta_.transpose() * tangent;
            w.noalias() += adjoint.transpose() * x_;
            Eigen::Map<Eigen::RowVectorXd> b(row + layers[l].bias, out);
            b += factor * adjoint.colwise().sum();
          }
        }
      }
    }
  }

  double energy = 0.0;
  Matrix forces;

 private:
  void gather_blocks(Index g) {
    const Index c0 = set_.image_centers[g];
    const Index r0 = set_.image_rows[g], r1 = set_.image_rows[g + 1];
    for (BlockPass& pass : blocks_) {
      pass.center.clear();
      pass.row_begin.assign(1, 0);
    }
    std::vector<std::vector<Index>> source(blocks_.size());
    for (Index r = r0; r < r1; ++r) {
      for (Index b = set_.row_offsets[r]; b < set_.row_offsets[r + 1]; ++b) {
        const Index c = set_.block_center[b];
        const int e = set_.center_element[c];
        blocks_[e].center.push_back(place_[c - c0]);
        source[e].push_back(b);
      }
      for (BlockPass& pass : blocks_)
        pass.row_begin.push_back(static_cast<Index>(pass.center.size()));
    }
    for (std::size_t e = 0; e < blocks_.size(); ++e) {
      const Index width = shape_.elements[e].front().inputs;
      Matrix& input = blocks_[e].input;
      input.resize(3 * static_cast<Index>(source[e].size()), width);
      for (std::size_t b = 0; b < source[e].size(); ++b)
        input.middleRows(3 * static_cast<Index>(b), 3) =
            Strided(set_.derivatives + 3 * source[e][b] * set_.n_features, 3, width,
                    Eigen::OuterStride<>(set_.n_features));
    }
  }

  const NetworkShape& shape_;
  const double* weights_;
  const TrainingSet& set_;
  std::vector<CenterPass> centers_;
  std::vector<BlockPass> blocks_;
  std::vector<Index> place_;  // centre of the image -> row of its element's CenterPass
  Matrix delta_, x_;
};

bool any_force(const TrainingSet& set, const ResidualWeights& w, Index g) {
  return std::any_of(w.forces + set.image_rows[g], w.forces + set.image_rows[g + 1],
                     [](double value) { return value != 0.0; });
}

// Residuals of image g from `predict`, appended; returns how many.
Index image_residuals(const TrainingSet& set, const ResidualWeights& w, Index g,
                      const ImagePass& pass, double* out) {
  Index n = 0;
  if (w.energies[g] != 0.0) out[n++] = std::sqrt(w.energies[g]) * (pass.energy - set.energies[g]);
  if (any_force(set, w, g))
    for (Index r = set.image_rows[g]; r < set.image_rows[g + 1]; ++r)
      for (int a = 0; a < 3; ++a)
        out[n++] = std::sqrt(w.forces[r]) *
                   (pass.forces(r - set.image_rows[g], a) - set.forces[3 * r + a]);
  return n;
}

Index most_residuals(const TrainingSet& set, Index g) {
  return 1 + 3 * (set.image_rows[g + 1] - set.image_rows[g]);
}

// Jacobian of image g; lines must be zero on entry. Order as in image_residuals.
void image_jacobian(const NetworkShape& shape, const TrainingSet& set, const ResidualWeights& w,
                    Index g, ImagePass& pass, std::vector<double>& roots, double* lines) {
  if (w.energies[g] != 0.0) {
    pass.energy_jacobian(g, std::sqrt(w.energies[g]), lines);
    lines += shape.n_weights;
  }
  if (any_force(set, w, g)) {
    for (Index r = set.image_rows[g]; r < set.image_rows[g + 1]; ++r)
      roots[r] = std::sqrt(w.forces[r]);
    pass.force_jacobian(g, roots.data(), lines);
  }
}

}  // namespace

NetworkShape::NetworkShape(const std::vector<std::vector<Index>>& sizes,
                           const std::vector<Activation>& activations) {
  for (const std::vector<Index>& element : sizes) {
    if (element.size() != activations.size() + 1)
      throw std::invalid_argument("a network needs one activation per layer");
    if (element.back() != 1)
      throw std::invalid_argument("the last layer of a network must have one output");
    std::vector<Layer> layers;
    for (std::size_t l = 0; l + 1 < element.size(); ++l) {
      if (element[l] < 1) throw std::invalid_argument("layers must have at least one node");
      layers.push_back({element[l], element[l + 1], activations[l], n_weights,
                        n_weights + element[l] * element[l + 1]});
      n_weights += (element[l] + 1) * element[l + 1];
    }
    elements.push_back(std::move(layers));
  }
}

void TrainingSet::check(const NetworkShape& shape) const {
  const auto offsets = [](const Index* values, Index n, Index last) {
    if (values[0] != 0 || values[n] != last) return false;
    return std::is_sorted(values, values + n + 1);
  };
  if (!offsets(image_centers, n_images, n_centers) || !offsets(image_rows, n_images, n_rows) ||
      !offsets(row_offsets, n_rows, n_blocks))
    throw std::invalid_argument("offsets of the training set do not fit its arrays");
  for (Index c = 0; c < n_centers; ++c) {
    const int e = center_element[c];
    if (e < 0 || e >= static_cast<int>(shape.elements.size()))
      throw std::invalid_argument("a centre of the training set has an unknown element");
    if (shape.elements[e].front().inputs > n_features)
      throw std::invalid_argument("a network takes more features than the training set has");
  }
  for (Index g = 0; g < n_images; ++g) {
    if (image_centers[g] == image_centers[g + 1])
      throw std::invalid_argument("an image of the training set has no atoms");
    for (Index r = image_rows[g]; r < image_rows[g + 1]; ++r)
      for (Index b = row_offsets[r]; b < row_offsets[r + 1]; ++b)
        if (block_center[b] < image_centers[g] || block_center[b] >= image_centers[g + 1])
          throw std::invalid_argument("a block of the training set belongs to another image");
  }
}

Predictions predict(const NetworkShape& shape, const double* weights, const TrainingSet& set,
                    const ResidualWeights* only) {
  Predictions result{Vector::Zero(set.n_images), Matrix::Zero(set.n_rows, 3)};
  ImagePass pass(shape, weights, set);
  for (Index g = 0; g < set.n_images; ++g) {
    if (only && only->energies[g] == 0.0 && !any_force(set, *only, g)) continue;
    pass.predict(g, false);
    result.energies[g] = pass.energy;
    result.forces.middleRows(set.image_rows[g], pass.forces.rows()) = pass.forces;
  }
  return result;
}

void residuals(const NetworkShape& shape, const double* weights, const TrainingSet& set,
               const ResidualWeights& w, Vector& residual, Matrix* jacobian) {
  Index most = 0;
  for (Index g = 0; g < set.n_images; ++g) most += most_residuals(set, g);
  residual.setZero(most);
  if (jacobian) jacobian->setZero(most, shape.n_weights);
  std::vector<double> roots(set.n_rows);
  ImagePass pass(shape, weights, set);
  Index n = 0;
  for (Index g = 0; g < set.n_images; ++g) {
    if (w.energies[g] == 0.0 && !any_force(set, w, g)) continue;
    pass.predict(g, jacobian != nullptr);
    if (jacobian) image_jacobian(shape, set, w, g, pass, roots, jacobian->row(n).data());
    n += image_residuals(set, w, g, pass, residual.data() + n);
  }
  residual.conservativeResize(n);
  if (jacobian) jacobian->conservativeResize(n, shape.n_weights);
}

double normal_equations(const NetworkShape& shape, const double* weights, const TrainingSet& set,
                        const ResidualWeights& w, Vector& gradient, Matrix& curvature) {
  // Lines are collected to a block worth a matrix product before they are added.
  constexpr Index kLines = 384;
  Index room = 0;
  for (Index g = 0; g < set.n_images; ++g) room = std::max(room, most_residuals(set, g));
  room += kLines;
  Matrix lines = Matrix::Zero(room, shape.n_weights);
  Vector residual = Vector::Zero(room);
  gradient.setZero(shape.n_weights);
  curvature.setZero(shape.n_weights, shape.n_weights);
  double loss = 0.0;
  Index n = 0;
  const auto flush = [&] {
    const auto used = lines.topRows(n);
    curvature.selfadjointView<Eigen::Lower>().rankUpdate(used.transpose());
    gradient.noalias() += used.transpose() * residual.head(n);
    loss += 0.5 * residual.head(n).squaredNorm();
    lines.topRows(n).setZero();
    n = 0;
  };
  std::vector<double> roots(set.n_rows);
  ImagePass pass(shape, weights, set);
  for (Index g = 0; g < set.n_images; ++g) {
    if (w.energies[g] == 0.0 && !any_force(set, w, g)) continue;
    pass.predict(g, true);
    image_jacobian(shape, set, w, g, pass, roots, lines.row(n).data());
    n += image_residuals(set, w, g, pass, residual.data() + n);
    if (n >= kLines) flush();
  }
  if (n > 0) flush();
  curvature.triangularView<Eigen::StrictlyUpper>() =
      curvature.transpose().triangularView<Eigen::StrictlyUpper>();
  return loss;
}

}  // namespace nearsight
