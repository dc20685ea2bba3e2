#include "nearsight/residuals.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "element_network.hpp"
#include "simd.hpp"
#include "small_gemm.hpp"

namespace nearsight {

namespace {

// Rows of the Jacobian that are made together, so that they stay in a cache, or one image's.
constexpr Index kSomeRows = 384;

// Rows of J^T J that are made together.
constexpr Index kProductRows = 12;

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
    Eigen::RowVectorXd scale = Eigen::RowVectorXd::Zero(features.cols());
    scale.head(width) = set_.scale.row(e).head(width);
    directions_.emplace_back(centers[e].size(), set_.n_features);
    networks_.emplace_back(set_.shape.elements[e], std::move(features), std::move(scale));
  }
  for (Index b = 0; b < set_.n_blocks(); ++b) block_center_.push_back(place[set_.block_center[b]]);
}

double Residuals::energy(const Rows& rows) const {
  double sum = 0.0;
  for (std::size_t e = 0; e < networks_.size(); ++e)
    sum += networks_[e].energy(rows.begin[e], rows.n_centers[e]);
  return sum / static_cast<double>(n_atoms(rows.image));
}

template <class Function>
void Residuals::for_groups(Index force_atom, Function&& function) const {
  const Index begin = set_.block_offsets[force_atom], last = set_.block_offsets[force_atom + 1];
  for (Index b = begin, end; b < last; b = end) {
    end = set_.group_end(b, last);
    function(Group{set_.center_element[set_.block_center[b]], b, end - b,
                   set_.derivatives[force_atom] + 3 * (b - begin) * set_.n_features});
  }
}

Eigen::Vector3d Residuals::force(Index force_atom) const {
  struct Sum {
    Vec x, y, z;
  } even{}, odd{};  // of every other block: one sum would wait for itself
  const Index stride = set_.n_features;
  for_groups(force_atom, [&](const Group& group) {
    const Index width = set_.shape.elements[group.element].front().inputs;
    const auto add = [&](Index n, Sum& sum) {
      const double* v = group.derivatives + 3 * n * stride;
      const double* g = networks_[group.element].gradient(block_center_[group.first + n]);
      for (Index i = 0; i < width; i += kPairLanes) {  // the gradient is padded with zeros
        const Vec slope = load(g + i);
        sum.x += load(v + i) * slope;
        sum.y += load(v + stride + i) * slope;
        sum.z += load(v + 2 * stride + i) * slope;
      }
    };
    Index n = 0;
    for (; n + 1 < group.n; n += 2) {
      add(n, even);
      add(n + 1, odd);
    }
    if (n < group.n) add(n, even);
  });
  return {-reduce_add(even.x + odd.x), -reduce_add(even.y + odd.y), -reduce_add(even.z + odd.z)};
}

void Residuals::move_to(const Vector& weights) {
  for (ElementNetwork& network : networks_) network.run(weights.data());
}

double Residuals::energy_residual(const Rows& rows) const {
  return energy_roots_[rows.image] * (energy(rows) - labels_.energies[rows.image]);
}

Eigen::Vector3d Residuals::force_residual(Index f) const {
  Eigen::Vector3d result = force(f);
  for (int a = 0; a < 3; ++a) result[a] = force_roots_[f] * (result[a] - labels_.forces[3 * f + a]);
  return result;
}

const Vector& Residuals::evaluate(const Vector& weights) {
  move_to(weights);
  for (const Rows& rows : rows_) {
    double* out = residual_.data() + rows.first;
    if (rows.has_energy) *out++ = energy_residual(rows);
    for (Index f = set_.image_force_atoms[rows.image]; f < set_.image_force_atoms[rows.image + 1];
         ++f) {
      if (force_roots_[f] == 0.0) continue;
      const Eigen::Vector3d found = force_residual(f);
      out = std::copy_n(found.data(), 3, out);
    }
  }
  return residual_;
}

// Rows of an image where there were zeros.
void Residuals::write_rows(const Rows& rows, double* row, Index stride) {
  const Index g = rows.image;
  if (rows.has_energy) {
    const double factor = energy_roots_[g] / static_cast<double>(n_atoms(g));
    for (std::size_t e = 0; e < networks_.size(); ++e)
      if (rows.elements[e]) networks_[e].energy_row(rows.begin[e], rows.n_centers[e], factor, row);
    row += stride;
  }
  for (Index f = set_.image_force_atoms[g]; f < set_.image_force_atoms[g + 1]; ++f) {
    if (force_roots_[f] == 0.0) continue;
    for_groups(f, [&](const Group& group) {
      networks_[group.element].force_rows(
          {block_center_.data() + group.first, group.n, 3, group.derivatives, set_.n_features},
          -force_roots_[f], row, stride);
    });
    row += 3 * stride;
  }
}

Matrix Residuals::jacobian() {
  Matrix result = Matrix::Zero(size(), set_.shape.n_weights);
  for (const Rows& rows : rows_) write_rows(rows, result.row(rows.first).data(), result.cols());
  return result;
}

void Residuals::curvature(const Vector& v, Matrix& product, Vector& pulled_back) {
  // Ranges of columns are padded, into columns of elements that these rows do not have.
  const Index n = set_.shape.n_weights, stride = padded(n + kPairLanes - 1, kPairLanes);
  product.setZero(n, stride);
  pulled_back.setZero(stride);
  for (std::size_t k = 0, next; k < rows_.size(); k = next) {
    Index count = rows_[k].count;
    for (next = k + 1; next < rows_.size() && rows_[next].elements == rows_[k].elements &&
                       count + rows_[next].count <= kSomeRows;
         ++next)
      count += rows_[next].count;
    double* const some = some_rows_.require(count * stride);
    std::fill_n(some, count * stride, 0.0);
    for (std::size_t m = k; m < next; ++m)
      write_rows(rows_[m], some + (rows_[m].first - rows_[k].first) * stride, stride);
    small_gemm<true>(1, stride, count, {v.data() + rows_[k].first, 1, 0}, some, stride,
                     pulled_back.data(), stride);
    const auto columns = weight_ranges(set_.shape, rows_[k].elements);
    for (auto left = columns.begin(); left != columns.end(); ++left)
      for (Index i = left->first; i < left->second; i += kProductRows)
        for (auto right = left; right != columns.end(); ++right) {
          const Index j = std::max(i, right->first);
          small_gemm<true>(std::min(kProductRows, left->second - i),
                           padded(right->second - j, kPairLanes), count, {some + i, stride, 1},
                           some + j, stride, product.row(i).data() + j, stride);
        }
  }
  pulled_back.conservativeResize(n);
}

// Adds v . residuals of the force on an atom, by the features of the centres it comes from.
void Residuals::add_direction(Index force_atom, const double* v) {
  const Index stride = set_.n_features;
  const double root = -force_roots_[force_atom];
  const Vec x = broadcast(root * v[0]), y = broadcast(root * v[1]), z = broadcast(root * v[2]);
  for_groups(force_atom, [&](const Group& group) {
    const double* d = group.derivatives;
    for (Index k = group.first; k < group.first + group.n; ++k, d += 3 * stride) {
      double* sum = directions_[group.element].row(block_center_[k]).data();
      for (Index i = 0; i < stride; i += kPairLanes)
        store(sum + i, load(sum + i) + x * load(d + i) + y * load(d + stride + i) +
                           z * load(d + 2 * stride + i));
    }
  });
}

// The gradient of v . residual: one direction for every centre, summed over the forces it is in.
Vector Residuals::pull_back(const Vector& v) {
  for (Matrix& directions : directions_) directions.setZero();
  for (const Rows& rows : rows_) {
    const double* in = v.data() + rows.first + (rows.has_energy ? 1 : 0);
    for (Index f = set_.image_force_atoms[rows.image]; f < set_.image_force_atoms[rows.image + 1];
         ++f) {
      if (force_roots_[f] == 0.0) continue;
      add_direction(f, in);
      in += 3;
    }
  }
  return pull_back_directions(v);
}

// Every derivative is read once for both: they are more than the caches hold.
Vector Residuals::pull_back_change(const Vector& from, const Vector& residual, const Vector& to) {
  move_to(to);
  Vector change(size());
  for (Matrix& directions : directions_) directions.setZero();
  for (const Rows& rows : rows_) {
    Index n = rows.first;
    if (rows.has_energy) {
      change[n] = energy_residual(rows) - residual[n];
      ++n;
    }
    for (Index f = set_.image_force_atoms[rows.image]; f < set_.image_force_atoms[rows.image + 1];
         ++f) {
      if (force_roots_[f] == 0.0) continue;
      const Eigen::Vector3d found = force_residual(f);
      for (int a = 0; a < 3; ++a) change[n + a] = found[a] - residual[n + a];
      add_direction(f, change.data() + n);
      n += 3;
    }
  }
  move_to(from);
  return pull_back_directions(change);
}

// The gradient from the directions, and from v for energies.
Vector Residuals::pull_back_directions(const Vector& v) {
  Vector result = Vector::Zero(set_.shape.n_weights), row = result;
  for (const Rows& rows : rows_) {
    if (!rows.has_energy) continue;
    const double factor =
        v[rows.first] * energy_roots_[rows.image] / static_cast<double>(n_atoms(rows.image));
    row.setZero();
    for (std::size_t e = 0; e < networks_.size(); ++e)
      if (rows.elements[e])
        networks_[e].energy_row(rows.begin[e], rows.n_centers[e], factor, row.data());
    result += row;
  }
  row.setZero();
  for (std::size_t e = 0; e < networks_.size(); ++e) {
    const Index n = networks_[e].n_centers();
    if (n == 0) continue;
    std::vector<Index> all(n);
    std::iota(all.begin(), all.end(), Index{0});
    networks_[e].force_rows({all.data(), n, 1, directions_[e].data(), set_.n_features}, 1.0,
                            row.data(), row.size());
  }
  return result + row;
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
