// The force call: structure -> energies, forces and virial of every member. Nothing is stored per
// atom beyond the results.
#pragma once

#include <optional>
#include <vector>

#include "nearsight/baseline.hpp"
#include "nearsight/network.hpp"
#include "nearsight/scaling.hpp"
#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

struct Evaluation {
  double energy;               // mean of the members, eV
  Vector member_energies;      // (M) eV
  double energy_deviation;     // of a member, eV; 0 if M = 1
  Matrix energies;             // (M, N) per-atom energies, eV
  Vector mean_energies;        // (N) eV
  Vector forces;               // (M, N, 3) eV/Å; empty unless all members were asked for
  Matrix mean_forces;          // (N, 3) eV/Å
  Vector deviation;            // (N) sqrt(sum_m |f_m - mean|^2 / (M - 1)), eV/Å; 0 if M = 1
  std::vector<char> isolated;  // (N) whether an atom has no neighbour within the cutoff
  Vector extrapolation;        // (N) grade; empty without a domain or without all members
  Eigen::Matrix3d virial;      // sum r_ij (x) dE/dr_ij, eV; zero unless asked for
  Matrix virials;              // (M, 9) the same of all members, where their forces were asked for
  Vector virial_deviation;     // (6) of a member, symmetric part: xx, yy, zz, yz, xz, xy; likewise
};

// The environments of an element that labels are known of: an ellipsoid of the scaled features x,
// |factor (x - center)| = 1, cut by a box, in which their ranges lie, and by a least sum.
struct Environments {
  Vector center;            // (features)
  Matrix factor;            // (features, features), of which the lower triangle counts
  Vector minimum, maximum;  // (features)
  double least = 0.0;       // sum of the features, each in units of its scale; 0: not known
  double spacing = 0.0;     // largest distance to the nearest neighbour, Å; 0: not known
};

// The same of features G: the extrapolation grade of an atom, above 1 outside, is the largest of
// |factor G + shift|, of all features slope G + above and below - slope G, and 2 - weights G: with
// several elements, few neighbours of every one are seen in the sum alone. And the distance to the
// nearest neighbour in spacings: features hardly tell stretched crystals from surfaces.
struct Domain {
  static constexpr double kSpread = 0.1;  // least width of a range, in scaled features
  static constexpr double kBox = 1.05;    // width of the box, in ranges; and of the spacing

  // Throws std::invalid_argument if they do not fit together.
  Domain(const Environments& environments, const Scaling& scaling);

  Eigen::MatrixXd factor;
  Vector shift, slope, above, below;  // (features)
  Vector weights;                     // (features); empty without a least sum
  double spacing;                     // Å; infinite where not known
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

  // Memory of one thread: takes the bonds of an atom and holds the result of `evaluate_atom`.
  struct Workspace {
    SymmetryFunctions::Workspace functions;  // with the bonds
    Vector energies;                         // (lanes) of the members
    Matrix gradient;                         // (features, lanes) dE/dG of the members
    Vector mean_gradient;                    // (features)

    NetworkBatch::Workspace networks;
    Vector grade;
    Scratch bond_gradient;
  };
  // Columns of the sums of forces: of every member, padded, or of their mean alone.
  Index lanes(bool all_members) const { return all_members ? networks_.front().lanes() : 1; }

  // The force call one atom at a time, for programs with neighbour lists of their own. Energies
  // and, if asked for, gradients of an atom of species `center` with the bonds in
  // work.functions.bonds; `species` of the atoms that these name.
  void evaluate_atom(int center, const std::vector<int>& species, bool gradients,
                     Workspace& work) const;
  // Its part of the forces, added to those on itself (row `self`) and on the atoms of its bonds
  // (rows[atom]), forces (rows, 3, lanes).
  void add_forces(int center, bool all_members, const int* rows, Index self, Workspace& work,
                  double* forces) const;
  // dE/dr for every bond, (n, 3, lanes) in the order of work.functions.bonds.
  const double* bond_gradients(int center, bool all_members, Workspace& work) const;
  bool has_domain() const { return !domains_.empty(); }
  // Its grade; the potential must have a domain.
  double extrapolation(int center, Workspace& work) const;

  // `list` must have this cutoff and be valid for this structure. An atom without neighbours has
  // features of zero, the energy the networks give to these, and no force but that of the
  // baseline, which may reach farther.
  // No bit of the result depends on `threads`. Throws std::invalid_argument if a result is not
  // finite, or too large for anything to be computed of it.
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
  void finish_virial(const Matrix& sums, Evaluation& result) const;
  // dE/dG of all members (features, lanes), or of their mean alone.
  const double* gradient(bool all_members, Workspace& work) const;
  static void check_finite(const Call& call, const Evaluation& result);

  SymmetryFunctions functions_;
  std::vector<NetworkBatch> networks_;
  std::vector<Domain> domains_;
  std::optional<Baseline> baseline_;
};

}  // namespace nearsight
