#include "nearsight/structure.hpp"

#include <Eigen/Geometry>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "reduced_cell.hpp"

namespace nearsight {

namespace {

// Volume of the box spanned by the unit vectors along the periodic cell vectors and, elsewhere,
// along directions orthogonal to them.
double periodic_volume(const Eigen::Matrix3d& cell, const std::array<bool, 3>& periodic) {
  std::vector<Eigen::Vector3d> vectors;
  for (int a = 0; a < 3; ++a)
    if (periodic[a]) vectors.push_back(cell.row(a).normalized());
  if (vectors.size() == 3) return std::abs(vectors[0].cross(vectors[1]).dot(vectors[2]));
  if (vectors.size() == 2) return vectors[0].cross(vectors[1]).norm();
  return 1.0;
}

}  // namespace

Structure::Structure(Positions positions, std::vector<int> species, const Eigen::Matrix3d& cell,
                     std::array<bool, 3> periodic, std::string name)
    : positions_(std::move(positions)),
      species_(std::move(species)),
      cell_(cell),
      periodic_(periodic),
      name_(std::move(name)) {
  if (size() == 0) throw std::invalid_argument(name_ + " has no atoms");
  check_positions();
  check_cell();
  check_species();
}

Structure Structure::moved(Positions positions) const {
  if (positions.rows() != size())
    throw std::invalid_argument(name_ + ": " + std::to_string(positions.rows()) +
                                " positions for " + std::to_string(size()) + " atoms");
  Structure result = *this;
  result.positions_ = std::move(positions);
  result.check_positions();
  return result;
}

double Structure::volume() const {
  const bool any = periodic_[0] || periodic_[1] || periodic_[2];
  return any ? std::abs(cell_.determinant()) : 0.0;
}

void Structure::check_positions() const {
  if (positions_.allFinite()) return;
  Index atom = 0;
  while (positions_.row(atom).allFinite()) ++atom;
  throw std::invalid_argument(name_ + ": the position of atom " + std::to_string(atom) +
                              " is not finite");
}

void Structure::check_species() {
  if (static_cast<Index>(species_.size()) != size())
    throw std::invalid_argument(name_ + ": " + std::to_string(species_.size()) + " species for " +
                                std::to_string(size()) + " atoms");
  for (Index i = 0; i < size(); ++i) {
    if (species_[i] < 0)
      throw std::invalid_argument(name_ + ": atom " + std::to_string(i) + " has species index " +
                                  std::to_string(species_[i]) + ", expected 0 or more");
    n_species_ = std::max(n_species_, species_[i] + 1);
  }
}

void Structure::check_cell() const {
  if (!cell_.allFinite()) throw std::invalid_argument(name_ + ": the cell is not finite");
  std::string missing;
  for (int a = 0; a < 3; ++a)
    if (periodic_[a] && !(cell_.row(a).norm() > 0.0)) missing += "xyz"[a];
  if (!missing.empty())
    throw std::invalid_argument(name_ + " is periodic in " + missing +
                                " but has no cell vector there");
  // a strongly skewed cell is one of shorter vectors; what is left of dependent ones is rounding
  const Eigen::Matrix3d shortest = reduced_cell(cell_, periodic_).vectors;
  double longest = 0.0;
  for (int a = 0; a < 3; ++a)
    if (periodic_[a]) longest = std::max(longest, cell_.row(a).norm());
  bool independent = periodic_volume(shortest, periodic_) > 1e-6;
  for (int a = 0; a < 3; ++a)
    independent = independent && (!periodic_[a] || shortest.row(a).norm() > 1e-9 * longest);
  if (!independent)
    throw std::invalid_argument(name_ + ": the periodic cell vectors are linearly dependent");
}

}  // namespace nearsight
