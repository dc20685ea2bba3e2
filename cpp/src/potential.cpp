#include "nearsight/potential.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "parallel.hpp"

namespace nearsight {

namespace {

// Forces are added up in blocks of atoms, and the blocks in their order: neither depends on the
// number of threads, so every bit of a result is the same with any. 24 can be dealt evenly to 2, 3,
// 4, 6, 8 and 12 threads. Of large blocks fewer atoms lie in several; in a small structure all
// atoms lie in all of them, and adding up many would take as long as the forces.
constexpr Index kBlocks = 24;
constexpr Index kMinAtoms = 8, kMaxAtoms = 1024;  // of a block
constexpr Index kBlocksAtOnce = 48;               // whose sums are in memory
constexpr double kLargest = 1e100;                // eV, eV/A; products of it are finite

constexpr Index kVoigt[6][2] = {{0, 0}, {4, 4}, {8, 8}, {5, 7}, {2, 6}, {1, 3}};  // of 3 x 3

// Of the members, as a sample.
double deviation(const Vector& of_members) {
  const double square = (of_members.array() - of_members.mean()).square().sum();
  return std::sqrt(square / static_cast<double>(std::max<Index>(of_members.size() - 1, 1)));
}

using Virial = Eigen::Matrix<double, 3, 3, Eigen::RowMajor>;

// y += L x, of the lower triangle.
void add_lower_product(const Eigen::MatrixXd& lower, const Vector& x, Vector& y) {
  for (Index j = 0; j < lower.cols(); ++j) {
    const double* column = lower.col(j).data();
    for (Index i = j; i < lower.rows(); ++i) y[i] += column[i] * x[j];
  }
}

Index atoms_per_block(Index n) {
  return std::clamp((n + kBlocks - 1) / kBlocks, kMinAtoms, kMaxAtoms);
}

}  // namespace

// What is asked for, by one call.
struct Potential::Call {
  const Structure& structure;
  const NeighborList& list;
  bool gradients, virial, all_members;
  Index lanes;
  int threads;
};

// Memory of one thread.
struct Potential::Memory {
  Workspace work;
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

Domain::Domain(const Environments& environments, const Scaling& scaling) {
  const Vector& low = environments.minimum;
  const Vector& high = environments.maximum;
  const Index n = environments.center.size();
  for (const Index size : {environments.factor.rows(), environments.factor.cols(), low.size(),
                           high.size(), scaling.scale.size(), scaling.offset.size()})
    if (size != n) throw std::invalid_argument("the domain has another number of features");
  const Vector width = (high - low).cwiseMax(kSpread);
  factor = environments.factor;
  shift.setZero(n);
  add_lower_product(factor, scaling.offset - environments.center, shift);
  factor *= scaling.scale.asDiagonal();
  slope = scaling.scale.cwiseQuotient(width) / kBox;
  above = ((scaling.offset - high).cwiseQuotient(width).array() + 1.0) / kBox;
  below = ((low - scaling.offset).cwiseQuotient(width).array() + 1.0) / kBox;
  if (!(environments.least >= 0.0 && std::isfinite(environments.least)))
    throw std::invalid_argument("the least sum of a domain must be 0 or more");
  if (environments.least > 0.0) weights = scaling.scale / environments.least;
  if (!(environments.spacing >= 0.0 && std::isfinite(environments.spacing)))
    throw std::invalid_argument("the spacing of a domain must be 0 or more");
  spacing = environments.spacing > 0.0 ? kBox * environments.spacing
                                       : std::numeric_limits<double>::infinity();
}

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
    if (domains_[s].shift.size() != n)
      throw std::invalid_argument("the domain of element " + std::to_string(s) +
                                  " does not fit its symmetry functions");
  }
}

void Potential::evaluate_atom(int center, const std::vector<int>& species, bool gradients,
                              Workspace& work) const {
  if (gradients)
    functions_.evaluate<true>(center, species, work.functions);
  else
    functions_.evaluate<false>(center, species, work.functions);
  work.energies.resize(lanes(true));
  work.gradient.resize(functions_.size(center), lanes(true));
  networks_[center].evaluate(work.functions.features.data(), work.energies.data(),
                             work.gradient.data(), work.networks);
}

const double* Potential::gradient(bool all_members, Workspace& work) const {
  if (all_members) return work.gradient.data();
  work.mean_gradient = work.gradient.leftCols(members()).rowwise().mean();
  return work.mean_gradient.data();
}

void Potential::add_forces(int center, bool all_members, const int* rows, Index self,
                           Workspace& work, double* forces) const {
  functions_.add_forces(center, work.functions, gradient(all_members, work), lanes(all_members),
                        rows, self, forces);
}

const double* Potential::bond_gradients(int center, bool all_members, Workspace& work) const {
  const Index lanes = this->lanes(all_members), bonds = work.functions.bonds.size();
  double* found = work.bond_gradient.require(3 * lanes * bonds);
  functions_.contract(center, work.functions, gradient(all_members, work), lanes, found);
  return found;
}

double Potential::extrapolation(int center, Workspace& work) const {
  const Domain& domain = domains_[center];
  const Vector& features = work.functions.features;
  work.grade = domain.shift;
  add_lower_product(domain.factor, features, work.grade);
  const auto along = domain.slope.cwiseProduct(features);
  const double beyond = (along + domain.above).cwiseMax(domain.below - along).maxCoeff();
  const double few = domain.weights.size() == 0 ? 0.0 : 2.0 - domain.weights.dot(features);
  // without a neighbour, as if there were one as far as may be seen
  const double nearest = nearest_distance(work.functions.bonds, functions_.cutoff().radius);
  return std::max({work.grade.norm(), beyond, few, nearest / domain.spacing});
}

// Energies of one atom, and its part of the forces and the virial.
void Potential::add_atom(const Call& call, Index position, Memory& memory, BlockSums& sums,
                         Evaluation& result) const {
  const int i = call.list.order()[position];
  const std::vector<int>& species = call.structure.species();
  const int s = species[i];
  Workspace& work = memory.work;
  const std::vector<Bond>& bonds = work.functions.bonds;
  call.list.bonds(call.structure, i, work.functions.bonds);
  if (bonds.empty()) result.isolated[i] = true;
  evaluate_atom(s, species, call.gradients, work);
  if (result.extrapolation.size() > 0) result.extrapolation[i] = extrapolation(s, work);
  result.energies.col(i) = work.energies.head(members());
  if (!call.gradients) return;
  sums.add_row(i, 3 * call.lanes, memory.rows);
  for (const Bond& bond : bonds) sums.add_row(bond.atom, 3 * call.lanes, memory.rows);
  if (!call.virial)
    return add_forces(s, call.all_members, memory.rows.data(), memory.rows[i], work,
                      sums.forces.data());
  // what every bond pulls with is needed itself
  const double* pull = bond_gradients(s, call.all_members, work);
  const Index width = 3 * call.lanes;
  Eigen::Map<Matrix> virial(sums.virial.data(), 3, width);
  for (const Bond& bond : bonds) {
    const Eigen::Map<const Vector> all(pull, width);
    sums.forces.segment(width * memory.rows[bond.atom], width) -= all;
    sums.forces.segment(width * memory.rows[i], width) += all;
    virial.row(0) += bond.x * all.transpose();
    virial.row(1) += bond.y * all.transpose();
    virial.row(2) += bond.z * all.transpose();
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

// Virials of the members, and of their mean, from the sums (9, lanes).
void Potential::finish_virial(const Matrix& sums, Evaluation& result) const {
  const Index count = sums.cols() == 1 ? 1 : members();
  const Virial mean =
      Eigen::Map<const Virial>(Vector(sums.leftCols(count).rowwise().mean()).data());
  result.virial = mean;
  if (sums.cols() == 1) return;
  result.virials = sums.leftCols(count).transpose();
  result.virial_deviation.resize(6);
  for (Index k = 0; k < 6; ++k)
    result.virial_deviation[k] =
        deviation(0.5 * (result.virials.col(kVoigt[k][0]) + result.virials.col(kVoigt[k][1])));
}

void Potential::check_finite(const Call& call, const Evaluation& result) {
  double sum = result.energy + result.energy_deviation + result.virial.sum();
  sum += result.virial_deviation.sum() + result.extrapolation.sum();
  if (call.gradients) sum += result.mean_forces.sum() + result.deviation.sum();
  if (!(std::abs(sum) < kLargest))
    throw std::invalid_argument(
        "the potential gives no finite energy and forces of this structure");
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
  result.virial += terms.virial;
  if (!call.all_members) return;
  const Virial virial = terms.virial;
  result.virials.rowwise() += Eigen::Map<const Eigen::Matrix<double, 1, 9>>(virial.data());
}

Evaluation Potential::evaluate(const Structure& structure, const NeighborList& list, Forces forces,
                               bool virial, int threads) const {
  functions_.check(structure);
  const Index n = structure.size();
  if (list.atoms() != n || list.cutoff() != functions_.cutoff().radius)
    throw std::invalid_argument("the neighbour list belongs to another structure or cutoff");
  const bool all_members = forces == Forces::kMembers;
  const Index lanes = this->lanes(all_members);
  const Call call{structure,
                  list,
                  forces != Forces::kNone || virial,
                  virial,
                  all_members,
                  lanes,
                  thread_count(threads)};
  Evaluation result;
  result.energies.setZero(members(), n);
  result.virial.setZero();
  Matrix virials;
  if (virial) virials.setZero(9, lanes);
  result.isolated.assign(n, 0);
  if (has_domain() && all_members) result.extrapolation.resize(n);
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
  if (virial) finish_virial(virials, result);
  if (baseline_) add_baseline(call, result);
  result.member_energies = result.energies.rowwise().sum();
  result.energy = result.member_energies.mean();
  result.energy_deviation = deviation(result.member_energies);
  check_finite(call, result);
  return result;
}

}  // namespace nearsight
