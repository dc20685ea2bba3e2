// The plan of a set of symmetry functions: its functions by species, and the sums over neighbours
// that they share. Made once, read by the kernels.
#pragma once

#include <vector>

#include "general_functions.hpp"
#include "nearsight/symmetry_functions.hpp"
#include "radial_factors.hpp"

namespace nearsight {

// All G2 of one central and one neighbour species.
struct RadialPlan {
  std::vector<double> eta, r_s;  // eta divided by Rc^2
  std::vector<Index> columns;    // of the features
};

// One angular function: its coefficients of two of the sums over k that every j has.
struct AngularTerm {
  double zeta, gamma;
  Index form;  // of the radial factor
  bool is_shifted;
  bool by_moments;
  Index column;  // of the feature
  Index sum[2];
  double coefficient[2];
};

// One loop over k: the sums of the power zeta of p = scale c + offset with one form or two, or,
// for zeta = 1, of 1 and of the cosine c with one form.
struct AngularPass {
  double zeta, gamma;
  int exponent;  // zeta where it is a whole number, else 0
  bool unrolled;
  double scale, offset;
  int sums;  // 1 or 2
  Index form[2], sum[2];
};

// Moments of the neighbours of one species, from rank 0 on.
inline constexpr int kMaxRank = 4;
struct MomentSet {
  int species;
  Index form;
  int rank;  // the highest
};

// One sum from moments: those of rank l by a coefficient, less `self` times the sum of A^2.
struct MomentSum {
  Index sum;
  int power;  // zeta
  double gamma;
  double coefficient[kMaxRank + 1], slope[kMaxRank + 1];  // slope: times the rank
  double self;
};

// All sums with one form from two sets of moments, those of j's and of k's species.
struct MomentPass {
  Index form, own, other;
  bool is_shifted;
  int rank;  // the highest
  std::vector<MomentSum> sums;
};

// All G4, or all G5, of one central species and one ordered pair of species, and how they are
// computed: by a loop over k, or from moments.
struct AngularPlan {
  std::vector<AngularTerm> terms;
  std::vector<AngularPass> passes;
  std::vector<MomentPass> moments;
  Index first = 0;  // of the sums of j's species among those of all species
};

// All functions of one central species.
struct CenterPlan {
  Index size = 0, max_radial = 0, max_sums = 0, all_sums = 0;
  std::vector<RadialPlan> radial;   // by species of the neighbour
  std::vector<AngularPlan> g4, g5;  // by species of j * n_species + species of k
  std::vector<MomentSet> moments;
  std::vector<Index> sums;  // by species of j: how many
  GeneralPlan general;
};

struct SymmetryPlan {
  SymmetryPlan(int n_species, const Cutoff& cutoff, const Cutoff& angular,
               const std::vector<SymmetryFunction>& functions);

  int n_species() const { return static_cast<int>(centers.size()); }

  Cutoff cutoff, angular;  // of G2, of the others
  bool apart;              // whether these are two
  std::vector<CenterPlan> centers;
  Index max_size = 0;
  std::vector<RadialForm> forms;  // distinct ones of the angular functions
  Index pair_forms;               // the first of them, those of loops over pairs
  RadialFactors radial;           // of the angular functions
  RadialFactors of_cutoff;        // of G2, where apart
};

}  // namespace nearsight
