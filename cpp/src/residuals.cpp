#include "nearsight/residuals.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "element_network.hpp"
#include "simd.hpp"

namespace nearsight {

namespace {

// Columns of the weights of the marked elements, in as few ranges as possible.
std::vector<std::pair<Index, Index>> weight_ranges(const NetworkShape& shape,
                                                   const std::vector<bool>& elements) {
  std::vector<std::pair<Index, Index>> ranges;
  for (std::size_t e = 0; e < elements.size(); ++e) {
    if (!elements[e]) continue;
    if (!ranges.empty() && ranges.back().second == shape.begin[e])
      ranges.back().second = shape.begin[e + 1];
    else
      ranges.emplace_back(shape.begin[e], shape.begin[e + 1]);
  }
  return ranges;
}

}  // namespace

Residuals::Residuals(const TrainingSet& set, const ResidualWeights& weights)
    : Residuals(set, weights, {set.energies.data(), set.forces.data()}) {}

Residuals::Residuals(const TrainingSet& set, const ResidualWeights& weights, const Labels& labels)
    : set_(set), labels_(labels) {
  for (Index f = 0; f < set.n_force_atoms(); ++f)
    force_roots_.push_back(std::sqrt(weights.forces[f]));
  for (Index g = 0; g < set.n_images(); ++g) {
    energy_roots_.push_back(std::sqrt(weights.energies[g]));
    const Index f0 = set.image_force_atoms[g], f1 = set.image_force_atoms[g + 1];
    const bool has_energy = weights.energies[g] != 0.0;
    const Index n_forces = std::count_if(weights.forces + f0, weights.forces + f1,
                                         [](double weight) { return weight != 0.0; });
    if (!has_energy && n_forces == 0) continue;
    const Index count = (has_energy ? 1 : 0) + 3 * n_forces;
    std::vector<bool> elements(set.shape.elements.size(), false);
    for (Index c = set.image_centers[g]; c < set.image_centers[g + 1]; ++c)
      elements[set.center_element[c]] = true;
    rows_.push_back({g, 0, count, has_energy, std::move(elements), {}, {}});
  }
  std::stable_sort(rows_.begin(), rows_.end(),
                   [](const Rows& a, const Rows& b) { return a.elements < b.elements; });
  Index n = 0;
  for (Rows& rows : rows_) {
    rows.first = n;
    n += rows.count;
  }
  residual_.resize(n);
  place_centers();
}

Residuals::~Residuals() = default;

void Residuals::place_centers() {
  const std::size_t n_elements = set_.shape.elements.size();
  std::vector<std::vector<Index>> centers(n_elements);
  std::vector<Index> place(set_.n_centers());
  for (Rows& rows : rows_) {
    for (const auto& list : centers) rows.begin.push_back(static_cast<Index>(list.size()));
    for (Index c = set_.image_centers[rows.image]; c < set_.image_centers[rows.image + 1]; ++c) {
      auto& list = centers[set_.center_element[c]];
      place[c] = static_cast<Index>(list.size());
      list.push_back(c);
    }
    for (std::size_t e = 0; e < n_elements; ++e)
      rows.n_centers.push_back(static_cast<Index>(centers[e].size()) - rows.begin[e]);
  }
  for (std::size_t e = 0; e < n_elements; ++e) {
    const Index width = set_.shape.elements[e].front().inputs;
    Matrix features = Matrix::Zero(centers[e].size(), padded(width, kPairLanes));
    for (Index k = 0; k < features.rows(); ++k)
      std::copy_n(set_.features.data() + centers[e][k] * set_.n_features, width,
                  features.row(k).data());
    networks_.emplace_back(set_.shape.elements[e], std::move(features));
  }
  for (Index b = 0; b < set_.n_blocks(); ++b) block_center_.push_back(place[set_.block_center[b]]);
}

double Residuals::energy(const Rows& rows) const {
  double sum = 0.0;
  for (std::size_t e = 0; e < networks_.size(); ++e)
    sum += networks_[e].energy(rows.begin[e], rows.n_centers[e]);
  return sum / static_cast<double>(n_atoms(rows.image));
}

Eigen::Vector3d Residuals::force(Index force_atom) const {
  Vec x{}, y{}, z{};
  const Index last = set_.block_offsets[force_atom + 1], stride = set_.n_features;
  for (Index b = set_.block_offsets[force_atom], end; b < last; b = end) {
    end = set_.group_end(b, last);
    const int e = set_.center_element[set_.block_center[b]];
    const Index width = set_.shape.elements[e].front().inputs, along = (end - b) * stride;
    const double* v = set_.derivatives.data() + 3 * b * stride;
    for (Index k = b; k < end; ++k, v += stride) {
      const double* gradient = networks_[e].gradient(block_center_[k]);  // padded with zeros
      for (Index i = 0; i < width; i += kPairLanes) {
        const Vec g = load(gradient + i);
        x += load(v + i) * g;
        y += load(v + along + i) * g;
        z += load(v + 2 * along + i) * g;
      }
    }
  }
  return {-reduce_add(x), -reduce_add(y), -reduce_add(z)};
}

const Vector& Residuals::evaluate(const Vector& weights) {
  for (ElementNetwork& network : networks_) network.run(weights.data());
  for (const Rows& rows : rows_) {
    const Index g = rows.image;
    double* out = residual_.data() + rows.first;
    if (rows.has_energy) *out++ = energy_roots_[g] * (energy(rows) - labels_.energies[g]);
    for (Index f = set_.image_force_atoms[g]; f < set_.image_force_atoms[g + 1]; ++f) {
      if (force_roots_[f] == 0.0) continue;
      const Eigen::Vector3d predicted = force(f);
      for (int a = 0; a < 3; ++a)
        *out++ = force_roots_[f] * (predicted[a] - labels_.forces[3 * f + a]);
    }
  }
  return residual_;
}

const Matrix& Residuals::differentiate() {
  const Index stride = set_.shape.n_weights;
  // What is zero once is so at all weights, and is never written to.
  if (jacobian_.size() == 0) jacobian_.setZero(size(), stride);
  for (const Rows& rows : rows_) {
    const Index g = rows.image;
    double* row = jacobian_.data() + rows.first * stride;
    if (rows.has_energy) {
      const double factor = energy_roots_[g] / static_cast<double>(n_atoms(g));
      for (std::size_t e = 0; e < networks_.size(); ++e)
        if (rows.elements[e])
          networks_[e].energy_row(rows.begin[e], rows.n_centers[e], factor, row);
      row += stride;
    }
    for (Index f = set_.image_force_atoms[g]; f < set_.image_force_atoms[g + 1]; ++f) {
      if (force_roots_[f] == 0.0) continue;
      const Index last = set_.block_offsets[f + 1];
      for (Index b = set_.block_offsets[f], end; b < last; b = end) {
        end = set_.group_end(b, last);
        const ElementNetwork::BlockView blocks{block_center_.data() + b, end - b,
                                               set_.derivatives.data() + 3 * b * set_.n_features,
                                               set_.n_features};
        networks_[set_.center_element[set_.block_center[b]]].force_rows(blocks, -force_roots_[f],
                                                                        row, stride);
      }
      row += 3 * stride;
    }
  }
  return jacobian_;
}

void Residuals::curvature(Eigen::MatrixXd& result) const {
  result.setZero(set_.shape.n_weights, set_.shape.n_weights);
  for (std::size_t k = 0, next; k < rows_.size(); k = next) {
    Index count = 0;
    for (next = k; next < rows_.size() && rows_[next].elements == rows_[k].elements; ++next)
      count += rows_[next].count;
    const auto rows = jacobian_.middleRows(rows_[k].first, count);
    const auto columns = weight_ranges(set_.shape, rows_[k].elements);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto [first, end] = columns[i];
      const auto left = rows.middleCols(first, end - first).transpose();
      for (std::size_t j = 0; j < i; ++j) {
        const auto [other, other_end] = columns[j];
        result.block(first, other, end - first, other_end - other).noalias() +=
            left * rows.middleCols(other, other_end - other);
      }
      result.block(first, first, end - first, end - first)
          .selfadjointView<Eigen::Lower>()
          .rankUpdate(left);
    }
  }
}

Predictions predict(const TrainingSet& set, const Vector& weights) {
  // Residuals of weight one against labels of zero.
  const Index n = std::max(set.n_images(), 3 * set.n_force_atoms());
  const Vector ones = Vector::Ones(n), zeros = Vector::Zero(n);
  Residuals residuals(set, {ones.data(), ones.data()}, {zeros.data(), zeros.data()});
  const Vector& values = residuals.evaluate(weights);
  Predictions result{Vector(set.n_images()), Matrix(set.n_force_atoms(), 3)};
  for (const Residuals::Rows& rows : residuals.rows()) {
    result.energies[rows.image] = values[rows.first];
    const Index atoms = (rows.count - 1) / 3;
    result.forces.middleRows(set.image_force_atoms[rows.image], atoms) =
        Eigen::Map<const Matrix>(values.data() + rows.first + 1, atoms, 3);
  }
  return result;
}

}  // namespace nearsight
