#include "nearsight/residuals.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "element_pass.hpp"

namespace nearsight {

// The centres of all images in `lines_`, element by element.
struct Residuals::Networks {
  std::vector<ElementPass> passes;
  std::vector<std::vector<Index>> begin;  // by image, then element: its first centre
  std::vector<std::vector<Index>> count;
  std::vector<Index> block_place;  // row of a block's centre in the pass of its element
};

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

Residuals::~Residuals() = default;

Residuals::Residuals(const NetworkShape& shape, const TrainingSet& set,
                     const ResidualWeights& weights)
    : shape_(shape),
      set_(set),
      energy_roots_(set.n_images),
      force_roots_(set.n_rows),
      networks_(std::make_unique<Networks>()) {
  const std::size_t n_elements = shape.elements.size();
  for (Index r = 0; r < set.n_rows; ++r) force_roots_[r] = std::sqrt(weights.forces[r]);
  for (Index g = 0; g < set.n_images; ++g) {
    energy_roots_[g] = std::sqrt(weights.energies[g]);
    const Index r0 = set.image_rows[g], r1 = set.image_rows[g + 1];
    const bool forces = std::any_of(weights.forces + r0, weights.forces + r1,
                                    [](double weight) { return weight != 0.0; });
    Lines lines{g, 0, 0, weights.energies[g] != 0.0, std::vector<bool>(n_elements, false)};
    lines.count = (lines.has_energy ? 1 : 0) + (forces ? 3 * (r1 - r0) : 0);
    for (Index c = set.image_centers[g]; c < set.image_centers[g + 1]; ++c)
      lines.elements[set.center_element[c]] = true;
    if (lines.count > 0) lines_.push_back(lines);
  }
  std::stable_sort(lines_.begin(), lines_.end(),
                   [](const Lines& a, const Lines& b) { return a.elements < b.elements; });

  Index n = 0;
  std::vector<std::vector<Index>> members(n_elements);  // centres of every element
  std::vector<Index> place(set.n_centers);
  for (Lines& lines : lines_) {
    lines.first = n;
    n += lines.count;
    std::vector<Index> begin, count;
    for (const auto& each : members) begin.push_back(static_cast<Index>(each.size()));
    for (Index c = set.image_centers[lines.image]; c < set.image_centers[lines.image + 1]; ++c) {
      auto& each = members[set.center_element[c]];
      place[c] = static_cast<Index>(each.size());
      each.push_back(c);
    }
    for (std::size_t e = 0; e < n_elements; ++e)
      count.push_back(static_cast<Index>(members[e].size()) - begin[e]);
    networks_->begin.push_back(std::move(begin));
    networks_->count.push_back(std::move(count));
  }
  residual_.resize(n);
  for (std::size_t e = 0; e < n_elements; ++e) {
    const Index width = shape.elements[e].front().inputs;
    Matrix features = Matrix::Zero(members[e].size(), padded(width, kPairLanes));
    for (Index k = 0; k < features.rows(); ++k)
      features.row(k).head(width) = Eigen::Map<const Eigen::RowVectorXd>(
          set.features + members[e][k] * set.n_features, width);
    networks_->passes.emplace_back(shape.elements[e], std::move(features));
  }
  for (Index b = 0; b < set.n_blocks; ++b)
    networks_->block_place.push_back(place[set.block_center[b]]);
}

const Vector& Residuals::evaluate(const Vector& weights) {
  weights_ = weights;
  for (ElementPass& pass : networks_->passes) pass.run(weights_.data());
  for (std::size_t k = 0; k < lines_.size(); ++k) {
    const Lines& lines = lines_[k];
    const Index g = lines.image;
    double* out = residual_.data() + lines.first;
    if (lines.has_energy) {
      double energy = 0.0;
      for (std::size_t e = 0; e < networks_->passes.size(); ++e)
        energy += networks_->passes[e].energy(networks_->begin[k][e], networks_->count[k][e]);
      energy /= static_cast<double>(set_.image_centers[g + 1] - set_.image_centers[g]);
      *out++ = energy_roots_[g] * (energy - set_.energies[g]);
    }
    if (lines.count < 3) continue;
    for (Index r = set_.image_rows[g]; r < set_.image_rows[g + 1]; ++r) {
      const Index last = set_.row_offsets[r + 1];
      double force[3] = {0.0, 0.0, 0.0};
      for (Index b = set_.row_offsets[r], end; b < last; b = end) {
        end = set_.group_end(b, last);
        const int e = set_.center_element[set_.block_center[b]];
        const Index width = shape_.elements[e].front().inputs;
        for (int a = 0; a < 3; ++a)
          for (Index k = b; k < end; ++k) {
            using Row = Eigen::Map<const Eigen::RowVectorXd>;
            const Row v(set_.derivatives + (3 * b + a * (end - b) + k - b) * set_.n_features,
                        width);
            force[a] -= v.dot(Row(networks_->passes[e].gradient(networks_->block_place[k]), width));
          }
      }
      for (int a = 0; a < 3; ++a) *out++ = force_roots_[r] * (force[a] - set_.forces[3 * r + a]);
    }
  }
  return residual_;
}

const Matrix& Residuals::differentiate() {
  if (jacobian_.size() == 0) jacobian_.setZero(size(), shape_.n_weights);
  for (std::size_t k = 0; k < lines_.size(); ++k) {
    const Lines& lines = lines_[k];
    const Index g = lines.image;
    double* line = jacobian_.data() + lines.first * shape_.n_weights;
    if (lines.has_energy) {
      const double factor =
          energy_roots_[g] / static_cast<double>(set_.image_centers[g + 1] - set_.image_centers[g]);
      for (std::size_t e = 0; e < networks_->passes.size(); ++e)
        if (networks_->count[k][e] > 0)
          networks_->passes[e].energy_line(networks_->begin[k][e], networks_->count[k][e], factor,
                                           line);
      line += shape_.n_weights;
    }
    if (lines.count < 3) continue;
    for (Index r = set_.image_rows[g]; r < set_.image_rows[g + 1]; ++r) {
      const Index last = set_.row_offsets[r + 1];
      for (Index b = set_.row_offsets[r], end; b < last; b = end) {
        end = set_.group_end(b, last);
        const ElementPass::Blocks blocks{networks_->block_place.data() + b, end - b,
                                         set_.derivatives + 3 * b * set_.n_features,
                                         set_.n_features};
        networks_->passes[set_.center_element[set_.block_center[b]]].force_lines(
            blocks, -force_roots_[r], line, shape_.n_weights);
      }
      line += 3 * shape_.n_weights;
    }
  }
  return jacobian_;
}

void Residuals::curvature(Eigen::MatrixXd& product) const {
  product.setZero(shape_.n_weights, shape_.n_weights);
  for (std::size_t k = 0, next; k < lines_.size(); k = next) {
    next = k;
    while (next < lines_.size() && lines_[next].elements == lines_[k].elements) ++next;
    const Index first = lines_[k].first;
    const Index count = lines_[next - 1].first + lines_[next - 1].count - first;
    const auto lines = jacobian_.middleRows(first, count);
    const auto columns = columns_of(shape_, lines_[k].elements);
    for (auto below = columns.begin(); below != columns.end(); ++below) {
      const Index n = below->second - below->first;
      const auto left = lines.middleCols(below->first, n).transpose();
      for (auto left_of = columns.begin(); left_of != below; ++left_of) {
        const Index m = left_of->second - left_of->first;
        product.block(below->first, left_of->first, n, m).noalias() +=
            left * lines.middleCols(left_of->first, m);
      }
      product.block(below->first, below->first, n, n)
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
