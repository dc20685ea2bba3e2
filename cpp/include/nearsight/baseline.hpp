// Pair terms known beforehand: repulsion of atoms that come too close, and point charges. Networks
// are trained on what the parent says beyond them, and the force call adds them again.
#pragma once

#include <vector>

#include "nearsight/neighbor_list.hpp"

namespace nearsight {

// Of all species a and b; zeros leave a term out.
struct PairTerms {
  // Universal screened repulsion of two nuclei (Ziegler, Biersack and Littmark 1985),
  //   k Z_a Z_b / r phi(r / d), d = 0.46850 Å / (Z_a^0.23 + Z_b^0.23), k = 14.399645 eV Å,
  // whole up to half of outer_ab and switched off by a polynomial of degree five from there to
  // outer_ab.
  std::vector<double> numbers;  // (S) Z
  Matrix outer;                 // (S, S) symmetric, Å
  // Damped and force-shifted Coulomb sum (Fennell and Gezelter 2006, eq. 19), without its constant
  // of every atom: k q_a q_b (v(r) - v(R) - v'(R) (r - R)), v(r) = erfc(damping r) / r, r < R.
  std::vector<double> charges;  // (S) e
  double damping = 0.0;         // 1/Å
  double cutoff = 0.0;          // R, Å
};

struct PairEvaluation {
  Vector energies;         // (N) eV, half that of all pairs of an atom
  Positions forces;        // (N, 3) eV/Å
  Eigen::Matrix3d virial;  // sum r_ij (x) dE/dr_ij, eV
};

class Baseline {
 public:
  // Throws std::invalid_argument for terms out of their domain, or none at all.
  explicit Baseline(PairTerms terms);

  int n_species() const { return static_cast<int>(terms_.numbers.size()); }
  double cutoff() const { return cutoff_; }  // of the neighbours it needs, Å

  // `list` must have at least this cutoff and be valid for this structure. No bit of the result
  // depends on `threads`.
  PairEvaluation evaluate(const Structure& structure, const NeighborList& list,
                          int threads = 0) const;

  // With a list made for this call.
  PairEvaluation evaluate(const Structure& structure, int threads = 0) const;

 private:
  struct Value {
    double energy, slope;  // eV, eV/Å
  };
  Value pair(int a, int b, double r) const;
  Value screened(double r) const;  // v and v'

  PairTerms terms_;
  double cutoff_ = 0.0;
  Value edge_{0.0, 0.0};  // v(R) and v'(R)
};

}  // namespace nearsight
