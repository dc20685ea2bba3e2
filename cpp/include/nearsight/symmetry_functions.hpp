// Symmetry functions: a parameter set, compiled once into a plan; plan + neighbours of one atom ->
// its features and their derivatives.
//
//   G2_i = sum_j exp(-eta (R_ij - R_s)^2 / Rc^2) fc(R_ij)
//   G4_i = 2^(1-zeta) sum_{j<k} (1 + gamma cos)^zeta exp(-eta (R_ij^2 + R_ik^2 + R_jk^2) / Rc^2)
//          fc(R_ij) fc(R_ik) fc(R_jk)
//   G5_i = G4_i without the two factors in R_jk
//
// Rc of G4 and G5 may be smaller than that of G2.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "nearsight/neighbor_list.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

enum class CutoffKind { kCosine, kPolynomial };

// cosine:      fc(r) = (1 + cos(pi r / Rc)) / 2
// polynomial:  fc(r) = 1 + gamma (r/Rc)^(gamma+1) - (gamma+1) (r/Rc)^gamma     (Amp's)
// and zero from Rc on.
struct Cutoff {
  // Throws std::invalid_argument unless radius > 0 and, for the polynomial, gamma >= 2.
  Cutoff(CutoffKind kind, double radius, double gamma = 4.0);

  CutoffKind kind;
  double radius;  // Å
  double gamma;   // polynomial only
};

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

struct SymmetryPlan;

class SymmetryFunctions {
 public:
  // `angular`: the cutoff of G4 and G5, where it is another one. Throws std::invalid_argument for a
  // species out of range or a parameter out of its domain.
  SymmetryFunctions(int n_species, const Cutoff& cutoff,
                    const std::vector<SymmetryFunction>& functions,
                    const std::optional<Cutoff>& angular = {});

  const Cutoff& cutoff() const;  // of G2, beyond which nothing counts
  int n_species() const;
  // Number of features of a central atom of this species, in the order in which they were given.
  Index size(int species) const;
  Index max_size() const;

  // Throws std::invalid_argument for a structure with a species without symmetry functions.
  void check(const Structure& structure) const;

  // Memory of one thread: takes the bonds of an atom and holds the result of `evaluate`.
  struct Workspace {
    std::vector<Bond> bonds;  // (n) the neighbours, grouped by species by `evaluate`
    Vector features;          // (size), in the order given

    std::vector<Index> count, slot;  // by species: bonds, and the slot of the first
    std::vector<Index> inner;        // by species: bonds within the angular cutoff, the first ones
    std::vector<Bond> unsorted;
    std::vector<Index> fill;
    std::vector<std::uint16_t> list;
    Scratch neighbors, pairs, moments, slopes, angular, per_sum;
  };

  // Features of an atom of species `center` with the bonds in `work`; with Derivatives, `contract`
  // may follow.
  template <bool Derivatives>
  void evaluate(int center, const std::vector<int>& species, Workspace& work) const;

  // sum_G dE/dG dG/dr for every bond of the last `evaluate`, out (n, 3, lanes) in the order of
  // work.bonds, from dE/dG (size, lanes): as many E side by side as there are lanes, 1 or a
  // multiple of kPairLanes.
  void contract(int center, Workspace& work, const double* gradient, Index lanes,
                double* out) const;
  // The same, added to the force on the central atom (row `self`) and taken from that on the atom
  // of every bond (row rows[atom]), forces (rows, 3, lanes).
  void add_forces(int center, Workspace& work, const double* gradient, Index lanes, const int* rows,
                  Index self, double* forces) const;

 private:
  std::shared_ptr<const SymmetryPlan> plan_;
};

}  // namespace nearsight
