#include "nearsight/potential.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>

#include "parallel.hpp"

namespace nearsight {

namespace {

constexpr Index kAtomsPerTask = 8;  // few, so that threads have the same work in small structures
constexpr Index kAtomsPerReduction = 128;

[[noreturn]] void refuse_lonely(Index atom, double cutoff) {
  std::ostringstream text;
  text << "atom " << atom << " has no neighbour within the cutoff of " << cutoff << " Å";
  throw std::invalid_argument(text.str());
}

}  // namespace

// What is asked for, by one call.
struct Potential::Call {
  const Structure& structure;
  const NeighborList& list;
  bool gradients, virial;
  Index lanes;  // columns of the contraction: every member, or their mean alone
  int threads;
};

// Sums of one thread, and its memory.
struct Potential::ThreadSums {
  Vector forces;  // (N, 3, lanes), atoms in the order of the list
  Eigen::Matrix3d virial = Eigen::Matrix3d::Zero();
  SymmetryFunctions::Workspace functions;
  NetworkBatch::Workspace networks;
  Vector energy;
  Matrix gradient;
  Vector mean_gradient;
  Scratch bond_gradient;
};

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

// Energies of one atom, and its part of the forces and the virial.
void Potential::add_atom(const Call& call, Index position, ThreadSums& sums,
                         Evaluation& result) const {
  const Index i = call.list.order()[position], lanes = call.lanes;
  const std::vector<int>& species = call.structure.species();
  const int s = species[i];
  call.list.bonds(call.structure, i, sums.functions.bonds);
  if (sums.functions.bonds.empty()) refuse_lonely(i, call.list.cutoff());
  if (call.gradients)
    functions_.evaluate<true>(s, species, sums.functions);
  else
    functions_.evaluate<false>(s, species, sums.functions);
  sums.gradient.resize(functions_.size(s), networks_.front().lanes());
  networks_[s].evaluate(sums.functions.features.data(), sums.energy.data(), sums.gradient.data(),
                        sums.networks);
  result.energies.col(i) = sums.energy.head(members());
  if (!call.gradients) return;
  if (lanes == 1 || call.virial)
    sums.mean_gradient = sums.gradient.leftCols(members()).rowwise().mean();
  functions_.add_forces(s, sums.functions,
                        lanes == 1 ? sums.mean_gradient.data() : sums.gradient.data(), lanes,
                        call.list.position_in_order().data(), position, sums.forces.data());
  if (!call.virial) return;
  const std::vector<Bond>& bonds = sums.functions.bonds;
  const double* pull = sums.bond_gradient.require(3 * static_cast<Index>(bonds.size()));
  functions_.contract(s, sums.functions, sums.mean_gradient.data(), 1, sums.bond_gradient.data());
  for (const Bond& bond : bonds) {
    sums.virial +=
        Eigen::Vector3d(bond.x, bond.y, bond.z) * Eigen::Map<const Eigen::RowVector3d>(pull);
    pull += 3;
  }
}

// Results from the sums of all threads.
void Potential::reduce(const Call& call, const std::vector<ThreadSums>& sums,
                       Evaluation& result) const {
  const Index n = call.structure.size(), m_count = members(), lanes = call.lanes;
  std::vector<const double*> parts;  // of the threads that had work
  for (const ThreadSums& own : sums) {
    result.virial += own.virial;
    if (own.forces.size() > 0) parts.push_back(own.forces.data());
  }
  result.mean_forces.resize(n, 3);
  result.deviation.resize(n);
  if (lanes > 1) result.forces.resize(m_count * n * 3);
  parallel_blocks(n, kAtomsPerReduction, call.threads, [&](Index first, Index last, int) {
    Vector sum(3 * lanes);
    for (Index i = first; i < last; ++i) {
      sum.setZero();
      for (const double* part : parts)
        sum += Eigen::Map<const Vector>(part + 3 * lanes * call.list.position_in_order()[i],
                                        3 * lanes);
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
}

Evaluation Potential::evaluate(const Structure& structure, const NeighborList& list, Forces forces,
                               bool virial, int threads) const {
  functions_.check(structure);
  const Index n = structure.size();
  if (list.atoms() != n || list.cutoff() != functions_.cutoff().radius)
    throw std::invalid_argument("the neighbour list belongs to another structure or cutoff");
  const Index lanes = forces == Forces::kMembers ? networks_.front().lanes() : 1;
  const Call call{structure, list,  forces != Forces::kNone || virial,
                  virial,    lanes, thread_count(threads)};
  Evaluation result;
  result.energies.setZero(members(), n);
  result.virial.setZero();
  std::vector<ThreadSums> sums(call.threads);
  parallel_blocks(n, kAtomsPerTask, call.threads, [&](Index first, Index last, int thread) {
    ThreadSums& own = sums[thread];
    if (call.gradients && own.forces.size() == 0) own.forces.setZero(n * 3 * lanes);
    own.energy.resize(networks_.front().lanes());
    for (Index q = first; q < last; ++q) add_atom(call, q, own, result);
  });
  result.mean_energies = result.energies.colwise().mean();
  if (call.gradients) reduce(call, sums, result);
  return result;
}

}  // namespace nearsight
