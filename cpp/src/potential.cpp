#include "nearsight/potential.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "parallel.hpp"

namespace nearsight {

namespace {

// Forces are added up in blocks of atoms, and the blocks in their order: neither depends on the
// number of threads, so every bit of a result is the same with any. 24 can be dealt evenly to 2, 3,
// 4, 6, 8 and 12 threads. Of large blocks fewer atoms lie in several.
constexpr Index kBlocks = 24;
constexpr Index kAtomsPerBlock = 1024;  // at most
constexpr Index kBlocksAtOnce = 48;     // whose sums are in memory

Index atoms_per_block(Index n) { return std::min((n + kBlocks - 1) / kBlocks, kAtomsPerBlock); }

}  // namespace

// What is asked for, by one call.
struct Potential::Call {
  const Structure& structure;
  const NeighborList& list;
  bool gradients, virial;
  Index lanes;  // columns of the contraction: every member, or their mean alone
  int threads;
};

// Memory of one thread.
struct Potential::Memory {
  SymmetryFunctions::Workspace functions;
  NetworkBatch::Workspace networks;
  Vector energy;
  Matrix gradient;
  Vector mean_gradient, grade;
  Scratch bond_gradient;
  std::vector<int> rows;  // of every atom in the sums of the present block, or -1
};

// Sums over one block of atoms: a row for every atom that it exerts forces on.
struct Potential::BlockSums {
  std::vector<int> atoms;  // of the rows
  Vector forces;           // (rows, 3, lanes)
  Matrix virial;           // (9, lanes)

  void add_row(int atom, Index width, std::vector<int>& rows) {
    if (rows[atom] >= 0) return;
    const Index row = rows[atom] = static_cast<int>(atoms.size());
    atoms.push_back(atom);
    if ((row + 1) * width > forces.size()) forces.conservativeResize(2 * (row + 1) * width);
    forces.segment(row * width, width).setZero();
  }
};

Potential::Potential(SymmetryFunctions functions, std::vector<NetworkBatch> networks,
                     std::vector<Domain> domains, std::optional<Baseline> baseline)
    : functions_(std::move(functions)),
      networks_(std::move(networks)),
      domains_(std::move(domains)),
      baseline_(std::move(baseline)) {
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
  if (baseline_ && baseline_->n_species() != functions_.n_species())
    throw std::invalid_argument("the baseline must be one of the same elements");
  if (!domains_.empty() && domains_.size() != networks_.size())
    throw std::invalid_argument("a potential needs a domain for every element, or none");
  for (std::size_t s = 0; s < domains_.size(); ++s) {
    const Index n = functions_.size(static_cast<int>(s));
    const Domain& domain = domains_[s];
    const auto fits = [n](const Vector& v) { return v.size() == n; };
    if (domain.factor.rows() != n || domain.factor.cols() != n || !fits(domain.shift) ||
        !fits(domain.slope) || !fits(domain.above) || !fits(domain.below))
      throw std::invalid_argument("the domain of element " + std::to_string(s) +
                                  " does not fit its symmetry functions");
  }
}

// Energies of one atom, and its part of the forces and the virial.
void Potential::add_atom(const Call& call, Index position, Memory& memory, BlockSums& sums,
                         Evaluation& result) const {
  const int i = call.list.order()[position];
  const Index lanes = call.lanes;
  const std::vector<int>& species = call.structure.species();
  const int s = species[i];
  const std::vector<Bond>& bonds = memory.functions.bonds;
  call.list.bonds(call.structure, i, memory.functions.bonds);
  if (bonds.empty()) result.isolated[i] = true;
  if (call.gradients)
    functions_.evaluate<true>(s, species, memory.functions);
  else
    functions_.evaluate<false>(s, species, memory.functions);
  if (result.extrapolation.size() > 0) {
    const Domain& domain = domains_[s];
    const Vector& features = memory.functions.features;
    memory.grade = domain.shift;
    memory.grade.noalias() += domain.factor.triangularView<Eigen::Lower>() * features;
    const auto along = domain.slope.cwiseProduct(features);
    const double beyond = (along + domain.above).cwiseMax(domain.below - along).maxCoeff();
    result.extrapolation[i] = std::max(memory.grade.norm(), beyond);
  }
  memory.gradient.resize(functions_.size(s), networks_.front().lanes());
  networks_[s].evaluate(memory.functions.features.data(), memory.energy.data(),
                        memory.gradient.data(), memory.networks);
  result.energies.col(i) = memory.energy.head(members());
  if (!call.gradients) return;
  sums.add_row(i, 3 * lanes, memory.rows);
  for (const Bond& bond : bonds) sums.add_row(bond.atom, 3 * lanes, memory.rows);
  if (lanes == 1) memory.mean_gradient = memory.gradient.leftCols(members()).rowwise().mean();
  const double* const gradient = lanes == 1 ? memory.mean_gradient.data() : memory.gradient.data();
  if (!call.virial)
    return functions_.add_forces(s, memory.functions, gradient, lanes, memory.rows.data(),
                                 memory.rows[i], sums.forces.data());
  // what every bond pulls with is needed itself
  const double* pull = memory.bond_gradient.require(3 * lanes * static_cast<Index>(bonds.size()));
  functions_.contract(s, memory.functions, gradient, lanes, memory.bond_gradient.data());
  const Index width = 3 * lanes;
  for (const Bond& bond : bonds) {
    const Eigen::Map<const Vector> all(pull, width);
    sums.forces.segment(width * memory.rows[bond.atom], width) -= all;
    sums.forces.segment(width * memory.rows[i], width) += all;
    const double along[] = {bond.x, bond.y, bond.z};
    for (Index a = 0; a < 3; ++a)
      for (Index b = 0; b < 3; ++b)
        sums.virial.row(3 * a + b) += along[a] * all.segment(b * lanes, lanes).transpose();
    pull += width;
  }
}

void Potential::add_block(const Call& call, Index first, Index last, Memory& memory,
                          BlockSums& sums, Evaluation& result, int thread) const {
  const Index n = call.structure.size();
  sums.atoms.clear();
  if (call.virial) sums.virial.setZero(9, call.lanes);
  if (call.gradients) {
    memory.rows.resize(n, -1);
    const Index likely = std::min(n, 5 * (last - first) + 256);
    if (sums.forces.size() < 3 * call.lanes * likely) sums.forces.resize(3 * call.lanes * likely);
  }
  memory.energy.resize(networks_.front().lanes());
  for (Index q = first; q < last; ++q) {
    look_for_interrupt(thread);
    add_atom(call, q, memory, sums, result);
  }
  for (const int atom : sums.atoms) memory.rows[atom] = -1;
}

// Adds the sums of blocks to the forces on atoms, in the order of the blocks.
void Potential::add_up(const Call& call, const std::vector<BlockSums>& sums, Index blocks,
                       Vector& forces) const {
  const Index n = call.structure.size(), width = 3 * call.lanes;
  const Index share = (n + call.threads - 1) / call.threads;
  const std::vector<int>& position = call.list.position_in_order();
  parallel_blocks(n, share, call.threads, [&](Index first, Index last, int) {
    for (Index b = 0; b < blocks; ++b) {
      const double* row = sums[b].forces.data();
      for (const int atom : sums[b].atoms) {
        if (position[atom] >= first && position[atom] < last)
          forces.segment(width * position[atom], width) += Eigen::Map<const Vector>(row, width);
        row += width;
      }
    }
  });
}

// Results from the forces of every lane, atoms in the order of the list.
void Potential::finish(const Call& call, const Vector& forces, Evaluation& result) const {
  const Index n = call.structure.size(), m_count = members(), lanes = call.lanes;
  result.mean_forces.resize(n, 3);
  result.deviation.resize(n);
  if (lanes > 1) result.forces.resize(m_count * n * 3);
  const Index share = (n + call.threads - 1) / call.threads;
  parallel_blocks(n, share, call.threads, [&](Index first, Index last, int) {
    for (Index i = first; i < last; ++i) {
      const auto sum = forces.segment(3 * lanes * call.list.position_in_order()[i], 3 * lanes);
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

// Adds the pair terms, which are the same for all members, to their results.
void Potential::add_baseline(const Call& call, Evaluation& result) const {
  const Structure& structure = call.structure;
  const PairEvaluation terms = call.list.cutoff() >= baseline_->cutoff()
                                   ? baseline_->evaluate(structure, call.list, call.threads)
                                   : baseline_->evaluate(structure, call.threads);
  result.energies.rowwise() += terms.energies.transpose();
  result.mean_energies += terms.energies;
  if (!call.gradients) return;
  result.mean_forces += terms.forces;
  const Index width = terms.forces.size();
  for (Index begin = 0; begin < result.forces.size(); begin += width)
    result.forces.segment(begin, width) += Eigen::Map<const Vector>(terms.forces.data(), width);
  if (!call.virial) return;
  using Row = Eigen::Matrix<double, 1, 9>;
  const Eigen::Matrix<double, 3, 3, Eigen::RowMajor> virial = terms.virial;
  result.virials.rowwise() += Eigen::Map<const Row>(virial.data());
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
  Matrix virials = Matrix::Zero(9, lanes);
  result.isolated.assign(n, 0);
  if (!domains_.empty() && forces == Forces::kMembers) result.extrapolation.resize(n);
  const Index size = atoms_per_block(n), blocks = n == 0 ? 0 : (n + size - 1) / size;
  std::vector<Memory> memory(call.threads);
  // kept from call to call: new pages would cost more than all that is done with them
  thread_local std::vector<BlockSums> kept;
  std::vector<BlockSums>& sums = kept;  // that of this thread, in all others
  sums.resize(std::max<std::size_t>(sums.size(), std::min(blocks, kBlocksAtOnce)));
  Vector total;
  if (call.gradients) total.setZero(n * 3 * lanes);
  for (Index begin = 0; begin < blocks; begin += kBlocksAtOnce) {
    const Index count = std::min(kBlocksAtOnce, blocks - begin);
    parallel_blocks(count, 1, call.threads, [&](Index b, Index, int thread) {
      const Index first = (begin + b) * size;
      add_block(call, first, std::min(first + size, n), memory[thread], sums[b], result, thread);
    });
    if (!call.gradients) continue;
    for (Index b = 0; b < count && virial; ++b) virials += sums[b].virial;
    add_up(call, sums, count, total);
  }
  result.mean_energies = result.energies.colwise().mean();
  if (call.gradients) finish(call, total, result);
  result.virials = virials.leftCols(lanes == 1 ? 1 : members()).transpose();
  if (baseline_) add_baseline(call, result);
  return result;
}

}  // namespace nearsight
