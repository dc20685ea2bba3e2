// Symmetry functions: a parameter set, compiled once into a plan; plan + neighbours of one atom ->
// its features and their derivatives.
//
//   G2_i = sum_j exp(-eta (R_ij - R_s)^2 / Rc^2) fc(R_ij)
//   G4_i = 2^(1-zeta) sum_{j<k} (1 + gamma cos)^zeta exp(-eta (R_ij^2 + R_ik^2 + R_jk^2) / Rc^2)
//          fc(R_ij) fc(R_ik) fc(R_jk)
//   G5_i = G4_i without the two factors in R_jk
#pragma once

#include <vector>

#include "nearsight/cutoff.hpp"
#include "nearsight/neighbor_list.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

enum class FunctionKind { kG2, kG4, kG5 };

struct SymmetryFunction {
  FunctionKind kind;
  int center;  // species of the central atom
  int first;   // species of the neighbour (G2) or of one of the two (G4, G5)
  int second;  // G4, G5: species of the other; the order does not matter
  double eta;
  double r_s;    // G2 only, Å
  double zeta;   // G4, G5 only, >= 1
  double gamma;  // G4, G5 only
};

class SymmetryFunctions {
 public:
  // Throws std::invalid_argument for a species out of range or a parameter out of its domain.
  SymmetryFunctions(int n_species, const Cutoff& cutoff,
                    const std::vector<SymmetryFunction>& functions);

  const Cutoff& cutoff() const { return cutoff_; }
  int n_species() const { return static_cast<int>(centers_.size()); }
  // Features of a central atom of this species, in the order in which they were given.
  Index size(int species) const { return centers_[species].size; }
  Index max_size() const { return max_size_; }

  // What one thread needs; takes the bonds of an atom and holds the result of `evaluate`.
  struct Workspace {
    std::vector<Bond> bonds;  // (n) the neighbours, grouped by species by `evaluate`
    Vector features;          // (size)
    Matrix derivatives;       // (3 n, size): row 3 b + a is dG/dr_b,a; with Derivatives only

    std::vector<Index> species_begin, fill;  // where the neighbours of every species begin
    std::vector<Bond> unsorted;
    std::vector<int> members;  // positions of the k of one pair list
    Scratch neighbors, pairs, radial;
  };

  // Features of an atom of species `center` with the bonds in `work`, and with Derivatives their
  // derivatives with respect to the bond vectors.
  template <bool Derivatives>
  void evaluate(int center, const int* species, Workspace& work) const;

 private:
  struct Radial {  // all G2 of one central and one neighbour species
    Index size = 0;
    Eigen::ArrayXd eta, r_s;  // padded; eta divided by Rc^2
    std::vector<Index> columns;
  };
  struct Power {
    double zeta, gamma;
    int exponent;  // zeta - 1 where zeta is a whole number, else -1
  };
  struct Term {
    int eta;    // index into etas_
    int power;  // index into the powers of the group
    Index column;
  };
  struct Angular {  // all G4, or all G5, of one central species and one ordered pair of species
    std::vector<Power> powers;
    std::vector<Term> terms;  // sorted by eta
  };
  struct Center {
    Index size = 0;
    std::vector<Radial> radial;   // by species of the neighbour
    std::vector<Angular> g4, g5;  // by species of j * n_species + species of k
    bool angular = false;
  };
  struct Neighbors;  // the neighbours of one atom as columns

  void add_radial(const Radial& radial, const Neighbors& near, Index first, Index last,
                  bool derivatives, Workspace& work) const;
  template <bool Derivatives, FunctionKind Kind>
  void add_angular(const Angular& group, const Neighbors& near, Index j, Index first, Index last,
                   Workspace& work) const;
  Neighbors tabulate(Workspace& work) const;

  Cutoff cutoff_;
  std::vector<Center> centers_;
  Index max_size_ = 0;
  // Tables in x = (r/Rc)^2, polynomials in t = 2 x - 1, lowest power first: all these functions
  // are entire in x, so the triplet loop needs no exp, cos or sqrt.
  std::vector<double> etas_;                      // distinct eta of the angular functions
  std::vector<std::vector<double>> exponential_;  // exp(-eta x / 2^squarings)
  std::vector<int> squarings_;
  std::vector<double> fc_, dfc_;  // cosine cutoff and its derivative in x
};

}  // namespace nearsight
