// Symmetry functions: a parameter set, compiled once into a plan; plan + neighbours of one atom ->
// its features and their derivatives.
//
//   G2_i = sum_j exp(-eta (R_ij - R_s)^2 / Rc^2) fc(R_ij)
//   G4_i = 2^(1-zeta) sum_{j<k} (1 + gamma cos)^zeta exp(-eta (R_ij^2 + R_ik^2 + R_jk^2) / Rc^2)
//          fc(R_ij) fc(R_ik) fc(R_jk)
//   G5_i = G4_i without the two factors in R_jk
#pragma once

#include <cstdint>
#include <vector>

#include "nearsight/cutoff.hpp"
#include "nearsight/damping.hpp"
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
    Vector features;          // (size), in the order given

    std::vector<Index> count, slot;  // by species: bonds, and the slot of the first
    std::vector<Bond> unsorted;
    std::vector<Index> fill;
    std::vector<std::uint16_t> list;
    Scratch neighbors, pairs, slopes, angular, shares;
  };

  // Features of an atom of species `center` with the bonds in `work`; with Derivatives, `contract`
  // may follow.
  template <bool Derivatives>
  void evaluate(int center, const int* species, Workspace& work) const;

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
  struct Radial {                  // all G2 of one central and one neighbour species
    std::vector<double> eta, r_s;  // eta divided by Rc^2
    std::vector<Index> columns;
  };
  // Every j has a row of sums over k.
  struct Term {  // one function: its shares in two of the sums
    double zeta, gamma;
    Index eta;     // index into the factors of damping_
    Index column;  // of the feature
    Index sum[2];
    double share[2];
  };
  // One loop over k: the sums of the power zeta of p = scale c + offset with one eta or two, or,
  // for zeta = 1, of 1 and of the cosine c with one eta.
  struct Pass {
    double zeta, gamma;
    int exponent;  // zeta where it is a whole number, else 0
    bool unrolled;
    double scale, offset;
    int sums;  // 1 or 2
    Index eta[2], sum[2];
  };
  struct Angular {  // all G4, or all G5, of one central species and one ordered pair of species
    std::vector<Term> terms;
    std::vector<Pass> passes;
    Index first = 0;  // of the sums of j's species among those of all species
  };
  struct Center {
    Index size = 0, most_radial = 0, most_sums = 0, all_sums = 0;
    std::vector<Radial> radial;   // by species of the neighbour
    std::vector<Angular> g4, g5;  // by species of j * n_species + species of k
    std::vector<Index> sums;      // by species of j: how many
  };
  struct Slots {
    Index first, last;
  };
  struct Neighbors;  // the neighbours of one atom, in blocks

  static void plan_passes(Angular& group, Index& sums);
  void plan_angular(Center& center) const;
  Neighbors tabulate(Workspace& work) const;
  template <bool Derivatives>
  void add_radial(const Radial& radial, const Neighbors& near, Index first, Index last,
                  Workspace& work) const;
  template <bool Derivatives, bool Full, int Etas>
  void tabulate_pairs(const Neighbors& near, Index j, const std::uint16_t* list, Index size,
                      double* pairs) const;
  template <bool Derivatives, FunctionKind Kind, int Etas>
  void add_angular(const Center& center, const Angular& group, const Neighbors& near,
                   const Slots& of_j, const Slots& of_k, Workspace& work) const;
  template <bool Derivatives>
  void add_angular(const Center& center, const Neighbors& near, Workspace& work) const;
  void add_features(const Center& center, Workspace& work) const;
  const double* share_gradient(const Center& plan, Workspace& work, const double* gradient,
                               Index lanes) const;
  template <class Put>
  void contract_all(int center, Workspace& work, const double* gradient, Index lanes,
                    const Put& put) const;
  template <class Value, int Width, class Put>
  void contract_block(const Center& center, Workspace& work, const double* gradient, Index lanes,
                      const Put& put) const;

  Cutoff cutoff_;
  std::vector<Center> centers_;
  Index max_size_ = 0;
  std::vector<double> etas_;  // distinct eta of the angular functions
  Damping damping_;
};

}  // namespace nearsight
