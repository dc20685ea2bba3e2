// Atoms, cell and periodicity: checked once, when made.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "nearsight/types.hpp"

namespace nearsight {

class Structure {
 public:
  // positions: (N, 3) Å; species: (N) indices into the element list; cell: rows are cell vectors,
  // Å, those of directions that are not periodic never used. `name` is what messages call it.
  // Throws std::invalid_argument for an empty structure, positions, species or a cell out of their
  // domain, or a periodic direction without an independent cell vector.
  Structure(Positions positions, std::vector<int> species, const Eigen::Matrix3d& cell,
            std::array<bool, 3> periodic, std::string name = "structure");

  // The same atoms at other positions; only these are checked.
  Structure moved(Positions positions) const;

  Index size() const { return positions_.rows(); }
  const Positions& positions() const { return positions_; }
  const std::vector<int>& species() const { return species_; }
  const Eigen::Matrix3d& cell() const { return cell_; }
  const std::array<bool, 3>& periodic() const { return periodic_; }
  int n_species() const { return n_species_; }  // one more than the largest index
  double volume() const;                        // Å³; 0 if nothing is periodic

 private:
  void check_positions() const;
  void check_species();
  void check_cell() const;

  Positions positions_;
  std::vector<int> species_;
  Eigen::Matrix3d cell_;
  std::array<bool, 3> periodic_;
  std::string name_;
  int n_species_ = 0;
};

}  // namespace nearsight
