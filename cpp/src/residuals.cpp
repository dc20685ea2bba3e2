#include "nearsight/residuals.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lanes.hpp"

namespace nearsight {

namespace {

// Columns of the weights of the elements marked, as few ranges as possible.
std::vector<std::pair<Index, Index>> columns_of(const NetworkShape& shape,
                                                const std::vector<bool>& elements) {
  std::vector<std::pair<Index, Index>> found;
  for (std::size_t e = 0; e < elements.size(); ++e) {
    if (!elements[e]) continue;
    if (!found.empty() && found.back().second == shape.begin[e])
      found.back().second = shape.begin[e + 1];
    else
      found.emplace_back(shape.begin[e], shape.begin[e + 1]);
  }
  return found;
}

}  // namespace

Residuals::Residuals(const NetworkShape& shape, const TrainingSet& set,
                     const ResidualWeights& weights)
    : shape_(shape), set_(set) {
  for (Index r = 0; r < set.n_rows; ++r) force_roots_.push_back(std::sqrt(weights.forces[r]));
  for (Index g = 0; g < set.n_images; ++g) {
    energy_roots_.push_back(std::sqrt(weights.energies[g]));
    const Index r0 = set.image_rows[g], r1 = set.image_rows[g + 1];
    const bool has_energy = weights.energies[g] != 0.0;
    const bool has_forces = std::any_of(weights.forces + r0, weights.forces + r1,
                                        [](double weight) { return weight != 0.0; });
    if (!has_energy && !has_forces) continue;
    const Index count = (has_energy ? 1 : 0) + (has_forces ? 3 * (r1 - r0) : 0);
    std::vector<bool> elements(shape.elements.size(), false);
    for (Index c = set.image_centers[g]; c < set.image_centers[g + 1]; ++c)
      elements[set.center_element[c]] = true;
    lines_.push_back({g, 0, count, has_energy, has_forces, std::move(elements), {}, {}});
  }
  std::stable_sort(lines_.begin(), lines_.end(),
                   [](const Lines& a, const Lines& b) { return a.elements < b.elements; });
  Index n = 0;
  for (Lines& lines : lines_) {
    lines.first = n;
    n += lines.count;
  }
  residual_.resize(n);
  place_centers();
}

void Residuals::place_centers() {
  const std::size_t n_elements = shape_.elements.size();
  std::vector<std::vector<Index>> centers(n_elements);
  std::vector<Index> place(set_.n_centers);
  for (Lines& lines : lines_) {
    for (const auto& each : centers) lines.begin.push_back(static_cast<Index>(each.size()));
    for (Index c = set_.image_centers[lines.image]; c < set_.image_centers[lines.image + 1]; ++c) {
      auto& each = centers[set_.center_element[c]];
      place[c] = static_cast<Index>(each.size());
      each.push_back(c);
    }
    for (std::size_t e = 0; e < n_elements; ++e)
      lines.n_centers.push_back(static_cast<Index>(centers[e].size()) - lines.begin[e]);
  }
  for (std::size_t e = 0; e < n_elements; ++e) {
    const Index width = shape_.elements[e].front().inputs;
    Matrix features = Matrix::Zero(centers[e].size(), padded(width, kPairLanes));
    for (Index k = 0; k < features.rows(); ++k)
      std::copy_n(set_.features + centers[e][k] * set_.n_features, width, features.row(k).data());
    passes_.emplace_back(shape_.elements[e], std::move(features));
  }
  for (Index b = 0; b < set_.n_blocks; ++b) block_place_.push_back(place[set_.block_center[b]]);
}

double Residuals::energy(const Lines& lines) const {
  double sum = 0.0;
  for (std::size_t e = 0; e < passes_.size(); ++e)
    sum += passes_[e].energy(lines.begin[e], lines.n_centers[e]);
  return sum / static_cast<double>(n_atoms(lines.image));
}

Eigen::Vector3d Residuals::force(Index row) const {
  Lanes x{}, y{}, z{};
  const Index last = set_.row_offsets[row + 1], stride = set_.n_features;
  for (Index b = set_.row_offsets[row], end; b < last; b = end) {
    end = set_.group_end(b, last);
    const int e = set_.center_element[set_.block_center[b]];
    const Index width = shape_.elements[e].front().inputs, along = (end - b) * stride;
    const double* v = set_.derivatives + 3 * b * stride;
    for (Index k = b; k < end; ++k, v += stride) {
      const double* gradient = passes_[e].gradient(block_place_[k]);  // padded with zeros
      for (Index i = 0; i < width; i += kPairLanes) {
        const Lanes g = load(gradient + i);
        x += load(v + i) * g;
        y += load(v + along + i) * g;
        z += load(v + 2 * along + i) * g;
      }
    }
  }
  return {-sum(x), -sum(y), -sum(z)};
}

const Vector& Residuals::evaluate(const Vector& weights) {
  for (ElementPass& pass : passes_) pass.run(weights.data());
  for (const Lines& lines : lines_) {
    const Index g = lines.image;
    double* out = residual_.data() + lines.first;
    if (lines.has_energy) *out++ = energy_roots_[g] * (energy(lines) - set_.energies[g]);
    if (!lines.has_forces) continue;
    for (Index r = set_.image_rows[g]; r < set_.image_rows[g + 1]; ++r) {
      const Eigen::Vector3d found = force(r);
      for (int a = 0; a < 3; ++a) *out++ = force_roots_[r] * (found[a] - set_.forces[3 * r + a]);
    }
  }
  return residual_;
}

const Matrix& Residuals::differentiate() {
  const Index stride = shape_.n_weights;
  // What is zero once is so at all weights, and is never written to.
  if (jacobian_.size() == 0) jacobian_.setZero(size(), stride);
  for (const Lines& lines : lines_) {
    const Index g = lines.image;
    double* line = jacobian_.data() + lines.first * stride;
    if (lines.has_energy) {
      const double factor = energy_roots_[g] / static_cast<double>(n_atoms(g));
      for (std::size_t e = 0; e < passes_.size(); ++e)
        if (lines.elements[e])
          passes_[e].energy_line(lines.begin[e], lines.n_centers[e], factor, line);
      line += stride;
    }
    if (!lines.has_forces) continue;
    for (Index r = set_.image_rows[g]; r < set_.image_rows[g + 1]; ++r, line += 3 * stride) {
      const Index last = set_.row_offsets[r + 1];
      for (Index b = set_.row_offsets[r], end; b < last; b = end) {
        end = set_.group_end(b, last);
        const ElementPass::Blocks blocks{block_place_.data() + b, end - b,
                                         set_.derivatives + 3 * b * set_.n_features,
                                         set_.n_features};
        passes_[set_.center_element[set_.block_center[b]]].force_lines(blocks, -force_roots_[r],
                                                                       line, stride);
      }
    }
  }
  return jacobian_;
}

void Residuals::curvature(Eigen::MatrixXd& product) const {
  product.setZero(shape_.n_weights, shape_.n_weights);
  for (std::size_t k = 0, next; k < lines_.size(); k = next) {
    Index count = 0;
    for (next = k; next < lines_.size() && lines_[next].elements == lines_[k].elements; ++next)
      count += lines_[next].count;
    const auto lines = jacobian_.middleRows(lines_[k].first, count);
    const auto columns = columns_of(shape_, lines_[k].elements);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto [first, end] = columns[i];
      const auto left = lines.middleCols(first, end - first).transpose();
      for (std::size_t j = 0; j < i; ++j) {
        const auto [other, other_end] = columns[j];
        product.block(first, other, end - first, other_end - other).noalias() +=
            left * lines.middleCols(other, other_end - other);
      }
      product.block(first, first, end - first, end - first)
          .selfadjointView<Eigen::Lower>()
          .rankUpdate(left);
    }
  }
}

Predictions predict(const NetworkShape& shape, const Vector& weights, const TrainingSet& set) {
  // Residuals of weight one against labels of zero.
  const Vector ones = Vector::Ones(std::max(set.n_images, set.n_rows));
  const Vector zeros = Vector::Zero(std::max(set.n_images, 3 * set.n_rows));
  TrainingSet unlabelled = set;
  unlabelled.energies = unlabelled.forces = zeros.data();
  Residuals all(shape, unlabelled, {ones.data(), ones.data()});
  const Vector& found = all.evaluate(weights);
  Predictions result{Vector(set.n_images), Matrix(set.n_rows, 3)};
  for (const Residuals::Lines& lines : all.lines()) {
    result.energies[lines.image] = found[lines.first];
    const Index row = set.image_rows[lines.image], rows = (lines.count - 1) / 3;
    result.forces.middleRows(row, rows) =
        Eigen::Map<const Matrix>(found.data() + lines.first + 1, rows, 3);
  }
  return result;
}

}  // namespace nearsight
