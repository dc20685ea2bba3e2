// Symmetry functions: a parameter set, compiled once into a plan; plan + neighbours of one atom ->
// its features and their derivatives.
//
//   G2_i = sum_j exp(-eta (R_ij - R_s)^2 / Rc^2) fc(R_ij)
//   G4_i = 2^(1-zeta) sum_{j<k} (1 + gamma cos)^zeta fc(R_ij) fc(R_ik) fc(R_jk)
//          exp(-eta ((R_ij - R_s)^2 + (R_ik - R_s)^2 + (R_jk - R_s)^2) / Rc^2)
//   G5_i = G4_i without the two factors in R_jk
//
// Rc of G4 and G5 may be smaller than that of G2.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
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

// Of other programs (n2p2's): plain loops evaluate those, not the fast ones of G2, G4 and G5.
//
//   rho(r) = exp(-eta (r - R_s)^2) window(r), eta in 1/Å^2
//   radial:  G_i = sum_j w_j rho(R_ij)
//   angular: G_i = sum_{j<k} w_jk A(theta) rho(R_ij) rho(R_ik) [rho(R_jk) where it is closed]
//            A = 2^(1-zeta) (1 + gamma cos)^zeta where that is positive, or a window of the angle
//
// w is 1 for the species of the function, or the product of given weights.
enum class WindowShape {
  kHard,
  kCosine,
  kTanh3,        // tanh^3(1 - r / end)
  kScaledTanh3,  // the same over tanh^3(1)
  kExponential,  // exp(1 - 1 / (1 - x^2))
  kPolynomial1,  // of degree 3, 5, 7 and 9: with 1, 2, 3, 4 derivatives of zero at both ends
  kPolynomial2,
  kPolynomial3,
  kPolynomial4
};

// Throws std::invalid_argument for an unknown name ("hard", "cosine", "tanh3", ...).
WindowShape window_shape(const std::string& name);

// 1 up to `start` and falling to 0 at `end`; a bump is 1 in the middle, and 0 at both. An
// asymmetric one takes (2 - x) x for x, which goes from 0 to 1 on the way down.
struct Window {
  WindowShape shape = WindowShape::kCosine;
  double start = 0.0, end = 1.0;  // Å, or degrees
  bool is_bump = false, is_asymmetric = false;
};

struct GeneralForm {
  Window window;
  bool is_closed = false;  // angular only, as the next two
  bool by_angle = false;   // whether `angles` stands for zeta and gamma
  Window angles;
  std::vector<double> weights;  // of all species; empty for functions of some
};

enum class FunctionKind { kG2, kG4, kG5, kRadial, kAngular };

inline constexpr double kMaxZeta = 1e4;  // above, an angular function is zero nearly everywhere

struct SymmetryFunction {
  FunctionKind kind;
  int center;  // species of the central atom
  int first;   // species of the neighbour (G2) or of one of the two (G4, G5)
  int second;  // G4, G5: species of the other; the order does not matter
  double eta;
  double r_s;             // Å
  double zeta;            // angular ones only, >= 1 in G4, G5
  double gamma;           // angular ones only
  GeneralForm form = {};  // radial and angular ones of other programs only
};

struct SymmetryPlan;

class SymmetryFunctions {
 public:
  // `angular`: the cutoff of G4 and G5, where it is another one. Throws std::invalid_argument for a
  // species out of range or a parameter out of its domain. The radius of `cutoff` is how far any
  // function reaches.
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
    Scratch general, general_radial;  // of functions of other programs
    std::vector<int> general_species;
  };

  // Features of an atom of species `center` with the bonds in `work`; with Derivatives, `contract`
  // may follow.
  template <bool Derivatives>
  void evaluate(int center, const std::vector<int>& species, Workspace& work) const;

  // sum_G dE/dG dG/dr for every bond of the last `evaluate`, out (n, 3, lanes) in the order of
  // work.bonds, from dE/dG (size, lanes): as many E side by side as there are lanes, 1 or a
  // multiple of the lanes of the level (simd.hpp).
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
