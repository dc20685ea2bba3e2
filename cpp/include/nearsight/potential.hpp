// The force call: structure -> energies, forces and virial of every member. Nothing is stored per
// atom beyond the results.
#pragma once

#include <optional>
#include <vector>

#include "nearsight/baseline.hpp"
#include "nearsight/network.hpp"
#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

struct Evaluation {
  Matrix energies;             // (M, N) per-atom energies, eV
  Vector mean_energies;        // (N) eV
  Vector forces;               // (M, N, 3) eV/Å; empty unless all members were asked for
  Matrix mean_forces;          // (N, 3) eV/Å
  Vector deviation;            // (N) sqrt(sum_m |f_m - mean|^2 / (M - 1)), eV/Å; 0 if M = 1
  std::vector<char> isolated;  // (N) whether an atom has no neighbour within the cutoff
  Vector extrapolation;        // (N) grade; empty without a domain or without all members
  Matrix virials;              // (M, 9) sum r_ij (x) dE/dr_ij, eV; of the mean alone, (1, 9), where
                               // the forces of members were not asked for; zero unless asked for
};

// The environments of an element that labels are known of: an ellipsoid of features G, cut by a
// box. The extrapolation grade of an atom, above 1 outside, is the largest of |factor G + shift|
// and, of all features, slope G + above and below - slope G.
struct Domain {
  Matrix factor;                      // (features, features), of which the lower triangle counts
  Vector shift, slope, above, below;  // (features)
};

enum class Forces { kNone, kMean, kMembers };

class Potential {
 public:
  // `networks`: one batch per species, all with the same number of members; `domains`: one per
  // species, or none at all; `baseline`: added to what the networks of every member give.
  Potential(SymmetryFunctions functions, std::vector<NetworkBatch> networks,
            std::vector<Domain> domains = {}, std::optional<Baseline> baseline = {});

  const SymmetryFunctions& functions() const { return functions_; }
  Index members() const { return networks_.front().members(); }

  // `list` must have this cutoff and be valid for this structure. An atom without neighbours has
  // features of zero, the energy the networks give to these, and no force but that of the
  // baseline, which may reach farther.
  // No bit of the result depends on `threads`.
  Evaluation evaluate(const Structure& structure, const NeighborList& list, Forces forces,
                      bool virial, int threads = 0) const;

 private:
  struct Call;
  struct Memory;
  struct BlockSums;
  void add_atom(const Call& call, Index position, Memory& memory, BlockSums& sums,
                Evaluation& result) const;
  void add_block(const Call& call, Index first, Index last, Memory& memory, BlockSums& sums,
                 Evaluation& result, int thread) const;
  void add_up(const Call& call, const std::vector<BlockSums>& sums, Index blocks,
              Vector& forces) const;
  void finish(const Call& call, const Vector& forces, Evaluation& result) const;
  void add_baseline(const Call& call, Evaluation& result) const;

  SymmetryFunctions functions_;
  std::vector<NetworkBatch> networks_;
  std::vector<Domain> domains_;
  std::optional<Baseline> baseline_;
};

}  // namespace nearsight
