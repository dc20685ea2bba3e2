#include "nearsight/fingerprints.hpp"

#include <algorithm>
#include <stdexcept>

#include "nearsight/parallel.hpp"

namespace nearsight {

namespace {
constexpr Index kGrain = 8;
}

Matrix features(const SymmetryFunctions& functions, const StructureView& structure, int threads) {
  const int team = thread_count(threads);
  const NeighborList list(structure, functions.cutoff().radius, 0.0, team);
  Matrix result = Matrix::Zero(structure.size(), functions.max_size());
  std::vector<SymmetryFunctions::Workspace> work(team);
  parallel_blocks(structure.size(), kGrain, team, [&](Index first, Index last, int thread) {
    SymmetryFunctions::Workspace& own = work[thread];
    for (Index i = first; i < last; ++i) {
      list.bonds(structure, i, own.bonds);
      functions.evaluate<false>(structure.species[i], structure.species, own);
      result.row(i).head(own.features.size()) = own.features;
    }
  });
  return result;
}

Fingerprints::Fingerprints(const SymmetryFunctions& functions, const StructureView& structure,
                           const std::vector<Index>& rows, bool all_centers, int threads) {
  const Index n = structure.size(), width = functions.max_size();
  const int team = thread_count(threads);
  const NeighborList list(structure, functions.cutoff().radius, 0.0, team);

  std::vector<int> row_of(n, -1);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r] < 0 || rows[r] >= n)
      throw std::invalid_argument("a force is asked for on an atom that does not exist");
    row_of[rows[r]] = static_cast<int>(r);
  }
  std::vector<char> wanted(n, all_centers);
  std::vector<Bond> bonds;
  for (const Index i : rows) {
    wanted[i] = 1;
    list.bonds(structure, i, bonds);
    for (const Bond& bond : bonds) wanted[bond.atom] = 1;
  }
  for (Index i = 0; i < n; ++i)
    if (wanted[i]) centers.push_back(static_cast<int>(i));
  const Index n_centers = static_cast<Index>(centers.size());
  features = Matrix::Zero(n_centers, width);

  struct Block {
    int row;
    std::vector<double> values;  // (3, width)
  };
  std::vector<std::vector<Block>> found(n_centers);
  // dE/dG of the features themselves.
  const Index lanes = padded(width);
  Matrix unit = Matrix::Identity(width, lanes);
  std::vector<SymmetryFunctions::Workspace> work(team);
  parallel_blocks(n_centers, kGrain, team, [&](Index first, Index last, int thread) {
    SymmetryFunctions::Workspace& own = work[thread];
    for (Index c = first; c < last; ++c) {
      const Index i = centers[c];
      list.bonds(structure, i, own.bonds);
      functions.evaluate<true>(structure.species[i], structure.species, own);
      const Index size = own.features.size();
      features.row(c).head(size) = own.features;
      std::vector<Block>& blocks = found[c];
      const Index n_bonds = static_cast<Index>(own.bonds.size());
      Matrix d(3 * n_bonds, lanes);
      functions.contract(structure.species[i], own, unit.data(), lanes, d.data());
      const auto add = [&](Index atom, const auto& d, double sign) {
        if (row_of[atom] < 0) return;
        auto block = std::find_if(blocks.begin(), blocks.end(),
                                  [&](const Block& b) { return b.row == row_of[atom]; });
        if (block == blocks.end()) {
          blocks.push_back({row_of[atom], std::vector<double>(3 * width, 0.0)});
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

  row_offsets.assign(rows.size() + 1, 0);
  for (const auto& blocks : found)
    for (const Block& block : blocks) ++row_offsets[block.row + 1];
  for (std::size_t r = 0; r < rows.size(); ++r) row_offsets[r + 1] += row_offsets[r];
  block_center.resize(row_offsets.back());
  derivatives.resize(static_cast<std::size_t>(row_offsets.back()) * 3 * width);
  std::vector<Index> fill(row_offsets.begin(), row_offsets.end() - 1);
  for (Index c = 0; c < n_centers; ++c)
    for (const Block& block : found[c]) {
      const Index place = fill[block.row]++;
      block_center[place] = static_cast<int>(c);
      std::copy(block.values.begin(), block.values.end(), derivatives.begin() + place * 3 * width);
    }
}

}  // namespace nearsight
