// Functions with windows of their own, as other programs have them: the plan of one central species
// and the plain loops over neighbours that evaluate it, one function after the other.
//
//   rho(r) = exp(-eta (r - R_s)^2) window(r)
//   radial:  G_i = sum_j w_j rho(R_ij)
//   angular: G_i = sum_{j<k} w_jk A(theta) rho(R_ij) rho(R_ik) [rho(R_jk) where it is closed]
//            A = 2^(1-zeta) (1 + gamma cos)^zeta where that is positive, or a window of the angle
#pragma once

#include <vector>

#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// Throws std::invalid_argument for a parameter out of its domain.
void check_general(const SymmetryFunction& function, int n_species, double reach);

class GeneralPlan {
 public:
  void add(const SymmetryFunction& function, Index column, int n_species);
  bool empty() const { return columns_.empty(); }

  // Adds the features to those in the workspace, whose bonds must be grouped by species; with
  // Derivatives, dG/dr of every bond, (bonds, functions, 3), stay there.
  template <bool Derivatives>
  void evaluate(SymmetryFunctions::Workspace& work) const;
  // As SymmetryFunctions::contract and add_forces, added to what is there.
  void contract(SymmetryFunctions::Workspace& work, const double* gradient, Index lanes,
                double* out) const;
  void add_forces(SymmetryFunctions::Workspace& work, const double* gradient, Index lanes,
                  const int* rows, Index self, double* forces) const;

 private:
  struct Radial {
    double eta, r_s;
    Window window;
  };
  struct RadialSum {
    Index radial, place;
    std::vector<double> weights;  // by species
  };
  struct AngularSum {
    Index radial, place;
    bool is_closed;
    bool by_angle;
    double zeta, gamma;
    int exponent;  // zeta where it is a whole number, else -1
    Window angles;
    std::vector<double> weights;  // by species of j * n_species + species of k
  };
  struct ValueAndSlope {
    double value, slope;
  };
  Index find_radial(const SymmetryFunction& function);
  static ValueAndSlope radial(const Radial& form, double r);
  static ValueAndSlope angular(const AngularSum& sum, double cosine);
  template <bool Derivatives>
  void add_pairs(Index j, int species_j, const std::vector<int>& species,
                 SymmetryFunctions::Workspace& work, double* between) const;

  int n_species_ = 0;
  bool has_closed_ = false;
  std::vector<Index> columns_;  // of the features, by place
  std::vector<Radial> radials_;
  std::vector<RadialSum> radial_sums_;
  std::vector<AngularSum> angular_sums_;
};

}  // namespace nearsight
