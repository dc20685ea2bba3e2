#include "nearsight/structure.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

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

StructureView::StructureView(Eigen::Map<const Positions> positions, const int* species,
                             int n_species, const Eigen::Matrix3d& cell,
                             std::array<bool, 3> periodic)
    : positions(positions), species(species), cell(cell), periodic(periodic) {
  if (size() == 0) throw std::invalid_argument("the structure has no atoms");
  for (Index i = 0; i < size(); ++i) {
    if (!positions.row(i).allFinite())
      throw std::invalid_argument("the position of atom " + std::to_string(i) + " is not finite");
    if (species[i] < 0 || species[i] >= n_species)
      throw std::invalid_argument("atom " + std::to_string(i) + " has species index " +
                                  std::to_string(species[i]) + ", expected 0 to " +
                                  std::to_string(n_species - 1));
  }
  for (int a = 0; a < 3; ++a)
    if (periodic[a] && !(cell.row(a).norm() > 0.0 && cell.row(a).allFinite()))
      throw std::invalid_argument(std::string("the structure is periodic in ") + "xyz"[a] +
                                  " but has no cell vector there");
  if (!(periodic_volume(cell, periodic) > 1e-6))
    throw std::invalid_argument("the periodic cell vectors are linearly dependent");
}

}  // namespace nearsight
