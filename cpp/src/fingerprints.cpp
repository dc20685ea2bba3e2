#include "nearsight/fingerprints.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "parallel.hpp"

namespace nearsight {

namespace {
constexpr Index kCentersPerTask = 8;
}

Matrix features(const SymmetryFunctions& functions, const Structure& structure, int threads) {
  functions.check(structure);
  const int team = thread_count(threads);
  const NeighborList list(structure, functions.cutoff().radius, 0.0, team);
  Matrix result = Matrix::Zero(structure.size(), functions.max_size());
  std::vector<SymmetryFunctions::Workspace> work(team);
  parallel_blocks(structure.size(), kCentersPerTask, team,
                  [&](Index first, Index last, int thread) {
                    SymmetryFunctions::Workspace& own = work[thread];
                    for (Index i = first; i < last; ++i) {
                      look_for_interrupt(thread);
                      list.bonds(structure, i, own.bonds);
                      functions.evaluate<false>(structure.species()[i], structure.species(), own);
                      result.row(i).head(own.features.size()) = own.features;
                    }
                  });
  return result;
}

Fingerprints::Fingerprints(const SymmetryFunctions& functions, const Structure& structure,
                           const std::vector<Index>& force_atoms, bool all_centers, int threads) {
  functions.check(structure);
  const int team = thread_count(threads);
  const NeighborList list(structure, functions.cutoff().radius, 0.0, team);
  find_centers(list, structure, force_atoms, all_centers);
  compress(evaluate_centers(functions, list, structure, force_atoms, team), structure,
           static_cast<Index>(force_atoms.size()));
}

void Fingerprints::find_centers(const NeighborList& list, const Structure& structure,
                                const std::vector<Index>& force_atoms, bool all_centers) {
  const Index n = structure.size();
  std::vector<char> wanted(n, all_centers);
  std::vector<Bond> bonds;
  for (const Index i : force_atoms) {
    if (i < 0 || i >= n)
      throw std::invalid_argument("a force is asked for on an atom that does not exist");
    wanted[i] = 1;
    list.bonds(structure, i, bonds);
    for (const Bond& bond : bonds) wanted[bond.atom] = 1;
  }
  for (Index i = 0; i < n; ++i)
    if (wanted[i]) centers.push_back(static_cast<int>(i));
}

Fingerprints::BlocksByCenter Fingerprints::evaluate_centers(const SymmetryFunctions& functions,
                                                            const NeighborList& list,
                                                            const Structure& structure,
                                                            const std::vector<Index>& force_atoms,
                                                            int threads) {
  const Index n_centers = static_cast<Index>(centers.size()), width = functions.max_size();
  std::vector<int> force_index(structure.size(), -1);
  for (std::size_t f = 0; f < force_atoms.size(); ++f)
    force_index[force_atoms[f]] = static_cast<int>(f);
  features = Matrix::Zero(n_centers, width);
  nearest = Vector::Zero(n_centers);
  BlocksByCenter result(n_centers);
  // dE/dG of as many E as there are features, each a feature itself: contracted, it gives dG/dr.
  const Index lanes = padded(width);
  const Matrix unit = Matrix::Identity(width, lanes);
  std::vector<SymmetryFunctions::Workspace> work(threads);
  parallel_blocks(n_centers, kCentersPerTask, threads, [&](Index first, Index last, int thread) {
    SymmetryFunctions::Workspace& own = work[thread];
    for (Index c = first; c < last; ++c) {
      look_for_interrupt(thread);
      const Index i = centers[c];
      list.bonds(structure, i, own.bonds);
      functions.evaluate<true>(structure.species()[i], structure.species(), own);
      const Index size = own.features.size();
      features.row(c).head(size) = own.features;
      nearest[c] = nearest_distance(own.bonds, 0.0);
      std::vector<DerivativeBlock>& blocks = result[c];
      const Index n_bonds = static_cast<Index>(own.bonds.size());
      Matrix d(3 * n_bonds, lanes);
      functions.contract(structure.species()[i], own, unit.data(), lanes, d.data());
      const auto add = [&](Index atom, const auto& d, double sign) {
        if (force_index[atom] < 0) return;
        auto block = std::find_if(blocks.begin(), blocks.end(), [&](const DerivativeBlock& b) {
          return b.force_atom == force_index[atom];
        });
        if (block == blocks.end()) {
          blocks.push_back({force_index[atom], std::vector<double>(3 * width, 0.0)});
          block = blocks.end() - 1;
        }
        for (int a = 0; a < 3; ++a)
          for (Index s = 0; s < size; ++s) block->values[a * width + s] += sign * d(a, s);
      };
      Matrix self = Matrix::Zero(3, lanes);
      for (Index b = 0; b < n_bonds; ++b) {
        add(own.bonds[b].atom, d.middleRows(3 * b, 3), 1.0);
        self += d.middleRows(3 * b, 3);
      }
      add(i, self, -1.0);
    }
  });
  return result;
}

void Fingerprints::compress(const BlocksByCenter& blocks, const Structure& structure,
                            Index n_force_atoms) {
  block_offsets.assign(n_force_atoms + 1, 0);
  for (const auto& of_center : blocks)
    for (const DerivativeBlock& block : of_center) ++block_offsets[block.force_atom + 1];
  for (Index f = 0; f < n_force_atoms; ++f) block_offsets[f + 1] += block_offsets[f];
  const Index width = features.cols(), stride = padded(width, kFeatureLanes);
  block_center.resize(block_offsets.back());
  derivatives.resize(3 * block_offsets.back() * stride, 0.0);
  std::vector<std::size_t> order(centers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto element = [&](std::size_t c) { return structure.species()[centers[c]]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return element(a) < element(b); });
  std::vector<Index> fill(block_offsets.begin(), block_offsets.end() - 1);
  for (const std::size_t c : order)
    for (const DerivativeBlock& block : blocks[c]) {
      const Index place = fill[block.force_atom]++;
      block_center[place] = static_cast<int>(c);
      for (int a = 0; a < 3; ++a)
        std::copy_n(block.values.begin() + a * width, width,
                    derivatives.begin() + (3 * place + a) * stride);
    }
}

}  // namespace nearsight
