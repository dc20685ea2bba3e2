#include "nearsight/potential.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "nearsight/parallel.hpp"

namespace nearsight {

namespace {

constexpr Index kGrain = 8;  // few, so that threads have the same work in small structures
constexpr Index kGrainOfSums = 128;

// What one thread adds up; forces as (N, 3, lanes), atoms in the order of the list.
struct Partial {
  Vector forces;
  Eigen::Matrix3d virial = Eigen::Matrix3d::Zero();
  SymmetryFunctions::Workspace functions;
  NetworkBatch::Workspace networks;
  Vector energy;
  Matrix gradient;
  Vector mean_gradient;
  Scratch bond_gradient;
};

}  // namespace

Potential::Potential(SymmetryFunctions functions, std::vector<NetworkBatch> networks)
    : functions_(std::move(functions)), networks_(std::move(networks)) {
  if (static_cast<int>(networks_.size()) != functions_.n_species())
    throw std::invalid_argument("a potential needs one network per element");
  for (int s = 0; s < functions_.n_species(); ++s) {
    if (networks_[s].members() != members())
      throw std::invalid_argument("the networks of all elements must have the same members");
    if (networks_[s].inputs() != functions_.size(s))
      throw std::invalid_argument("the network of element " + std::to_string(s) + " takes " +
                                  std::to_string(networks_[s].inputs()) + " features, it has " +
                                  std::to_string(functions_.size(s)) + " symmetry functions");
  }
}

Evaluation Potential::evaluate(const StructureView& structure, const NeighborList& list,
                               Forces mode, bool virial, int threads) const {
  const Index n = structure.size(), m_count = members();
  const Index net_lanes = networks_.front().lanes();
  const bool mean_only = mode == Forces::kMean;
  const bool gradients = mode != Forces::kNone || virial;
  // Columns of the contraction: every member, or their mean alone.
  const Index lanes = mean_only || mode == Forces::kNone ? 1 : net_lanes;
  const int team = thread_count(threads);
  if (list.atoms() != n || list.cutoff() != functions_.cutoff().radius)
    throw std::invalid_argument("the neighbour list belongs to another structure or cutoff");

  Evaluation result;
  result.energies.setZero(m_count, n);
  std::vector<Partial> partial(team);
  parallel_blocks(n, kGrain, team, [&](Index first, Index last, int thread) {
    Partial& own = partial[thread];
    if (gradients && own.forces.size() == 0) own.forces.setZero(n * 3 * lanes);
    own.energy.resize(net_lanes);
    for (Index q = first; q < last; ++q) {
      const Index i = list.order()[q];
      const int s = structure.species[i];
      list.bonds(structure, i, own.functions.bonds);
      if (own.functions.bonds.empty())
        throw std::invalid_argument("atom " + std::to_string(i) +
                                    " has no neighbour within the cutoff of " +
                                    std::to_string(list.cutoff()).substr(0, 5) + " Å");
      if (gradients)
        functions_.evaluate<true>(s, structure.species, own.functions);
      else
        functions_.evaluate<false>(s, structure.species, own.functions);
      const Index width = functions_.size(s);
      own.gradient.resize(width, net_lanes);
      networks_[s].evaluate(own.functions.features.data(), own.energy.data(), own.gradient.data(),
                            own.networks);
      result.energies.col(i) = own.energy.head(m_count);
      if (!gradients) continue;
      if (lanes == 1 || virial) own.mean_gradient = own.gradient.leftCols(m_count).rowwise().mean();
      functions_.add_forces(s, own.functions,
                            lanes == 1 ? own.mean_gradient.data() : own.gradient.data(), lanes,
                            list.rank().data(), q, own.forces.data());
      if (!virial) continue;
      const std::vector<Bond>& bonds = own.functions.bonds;
      const double* pull = own.bond_gradient.require(3 * static_cast<Index>(bonds.size()));
      functions_.contract(s, own.functions, own.mean_gradient.data(), 1, own.bond_gradient.data());
      for (const Bond& bond : bonds) {
        own.virial +=
            Eigen::Vector3d(bond.x, bond.y, bond.z) * Eigen::Map<const Eigen::RowVector3d>(pull);
        pull += 3;
      }
    }
  });
  result.virial.setZero();
  if (!gradients) return result;

  std::vector<const double*> parts;  // of the threads that had work
  for (const Partial& part : partial) {
    result.virial += part.virial;
    if (part.forces.size() > 0) parts.push_back(part.forces.data());
  }

  result.mean_forces.resize(n, 3);
  result.deviation.resize(n);
  if (lanes > 1) result.forces.resize(m_count * n * 3);
  parallel_blocks(n, kGrainOfSums, team, [&](Index first, Index last, int) {
    Vector sum(3 * lanes);
    for (Index i = first; i < last; ++i) {
      sum.setZero();
      for (const double* part : parts)
        sum += Eigen::Map<const Vector>(part + 3 * lanes * list.rank()[i], 3 * lanes);
      if (lanes == 1) {
        result.mean_forces.row(i) = sum;
        result.deviation[i] = 0.0;
        continue;
      }
      double square = 0.0;
      for (Index a = 0; a < 3; ++a) {
        const auto f = sum.segment(a * lanes, m_count);
        const double mean = f.mean();
        result.mean_forces(i, a) = mean;
        square += (f.array() - mean).square().sum();
        for (Index m = 0; m < m_count; ++m) result.forces[(m * n + i) * 3 + a] = f[m];
      }
      result.deviation[i] =
          std::sqrt(square / static_cast<double>(std::max<Index>(m_count - 1, 1)));
    }
  });
  return result;
}

}  // namespace nearsight
