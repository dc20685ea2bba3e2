// The force call over many shapes of its loops: what the sanitizers need to see.
#include "nearsight/potential.hpp"

#include <gtest/gtest.h>

#include "structures.hpp"

namespace nearsight {
namespace {

std::vector<SymmetryFunction> functions_of(int center) {
  std::vector<SymmetryFunction> made;
  for (const int s : {0, 1}) made.push_back({FunctionKind::kG2, center, s, 0, 0.5, 1.0, 1.0, 0.0});
  for (const FunctionKind kind : {FunctionKind::kG4, FunctionKind::kG5})
    for (const double eta : {0.005, 1.0, 40.0})
      for (const double zeta : {1.0, 2.5, 16.0})
        made.push_back({kind, center, 0, 1, eta, 0.0, zeta, center == 0 ? 1.0 : -1.0});
  return made;
}

Potential potential_of(const Cutoff& cutoff, Index members) {
  std::vector<SymmetryFunction> functions = functions_of(0);
  for (const SymmetryFunction& f : functions_of(1)) functions.push_back(f);
  const SymmetryFunctions plan(2, cutoff, functions);
  const Index inputs = plan.size(0);
  const auto wave = [](Index n) {
    std::vector<double> values(n);
    for (Index i = 0; i < n; ++i) values[i] = 0.2 * std::sin(1.0 + 3.0 * static_cast<double>(i));
    return values;
  };
  const std::vector<double> w1 = wave(members * 5 * inputs), b1 = wave(members * 5);
  const std::vector<double> w2 = wave(members * 5), b2 = wave(members);
  const std::vector<double> one(members, 1.0), scale(inputs, 0.1), offset(inputs, 0.0);
  const std::vector<LayerView> layers = {{inputs, 5, w1.data(), b1.data(), Activation::kTanh},
                                         {5, 1, w2.data(), b2.data(), Activation::kLinear}};
  const NetworkBatch batch(members, layers, one.data(), one.data(), scale.data(), offset.data());
  return {plan, {batch, batch}};
}

// Neighbours from one to a hundred, of two species in any proportion.
std::vector<StructureData> structures() {
  std::vector<StructureData> made = {cluster({{0, 0, 0}, {2.5, 0, 0}}), fcc(3.92, 1), fcc(3.92, 2)};
  std::vector<std::array<double, 3>> spiral;
  for (int i = 0; i < 23; ++i) {
    spiral.push_back({2.4 * std::cos(1.1 * i), 2.4 * std::sin(1.1 * i), 0.55 * i});
    made.push_back(cluster(spiral));
  }
  made.erase(made.begin() + 3);  // one atom has no neighbour
  for (StructureData& structure : made) {
    for (std::size_t i = 0; i < structure.species.size(); ++i)
      structure.species[i] = i % 3 == 1 ? 1 : 0;
    for (Index i = 0; i < structure.positions.rows(); ++i)
      structure.positions(i, 1) += 0.1 * std::sin(5.0 * static_cast<double>(i));
  }
  return made;
}

TEST(Potential, ForcesOfManyShapesAddUpToNothing) {
  for (const Cutoff& cutoff :
       {Cutoff(CutoffKind::kCosine, 5.3), Cutoff(CutoffKind::kPolynomial, 6.1, 3.5)})
    for (const Index members : {1, 3, 8}) {
      const Potential potential = potential_of(cutoff, members);
      for (const StructureData& structure : structures()) {
        const Structure checked = structure.checked();
        const NeighborList list(checked, cutoff.radius, 0.3);
        const Evaluation one = potential.evaluate(checked, list, Forces::kMembers, true, 1);
        const Evaluation two = potential.evaluate(checked, list, Forces::kMembers, true, 2);
        const Evaluation mean = potential.evaluate(checked, list, Forces::kMean, false, 2);
        ASSERT_TRUE(one.mean_forces.allFinite());
        EXPECT_LT(one.mean_forces.colwise().sum().cwiseAbs().maxCoeff(), 1e-11);
        EXPECT_EQ(one.energies, two.energies);
        EXPECT_EQ(one.mean_forces, two.mean_forces);
        EXPECT_LT((one.mean_forces - mean.mean_forces).cwiseAbs().maxCoeff(), 1e-12);
        EXPECT_EQ(one.forces.size(), members * checked.size() * 3);
      }
    }
}

// Above 48 blocks of 1024 atoms the blocks are added up in several rounds.
TEST(Potential, NoBitDependsOnTheNumberOfThreads) {
  const Cutoff cutoff(CutoffKind::kCosine, 3.2);
  const Potential potential = potential_of(cutoff, 2);
  for (const int cells : {2, 5, 24}) {
    StructureData data = fcc(3.92, cells);
    for (Index i = 0; i < data.positions.rows(); ++i) {
      data.species[i] = i % 3 == 1 ? 1 : 0;
      data.positions(i, 1) += 0.1 * std::sin(5.0 * static_cast<double>(i));
    }
    const Structure structure = data.checked();
    const NeighborList list(structure, cutoff.radius);
    const Evaluation one = potential.evaluate(structure, list, Forces::kMembers, true, 1);
    for (const int threads : {2, 3, 7}) {
      const Evaluation found = potential.evaluate(structure, list, Forces::kMembers, true, threads);
      EXPECT_TRUE(found.energies == one.energies);
      EXPECT_TRUE(found.forces == one.forces);
      EXPECT_TRUE(found.mean_forces == one.mean_forces);
      EXPECT_TRUE(found.deviation == one.deviation);
      EXPECT_TRUE(found.virials == one.virials);
    }
  }
}

TEST(Potential, AnAtomWithoutNeighboursHasNoForceAndIsMarked) {
  const Potential potential = potential_of(Cutoff(CutoffKind::kCosine, 5.3), 3);
  StructureData structure = structures().back();
  structure.positions(20, 0) += 50.0;
  const Structure checked = structure.checked();
  const NeighborList list(checked, 5.3);
  const Structure alone = cluster({{1, 2, 3}}).checked();
  const Evaluation single =
      potential.evaluate(alone, NeighborList(alone, 5.3), Forces::kMean, true, 1);
  for (const int threads : {1, 2}) {
    const Evaluation made = potential.evaluate(checked, list, Forces::kMembers, true, threads);
    EXPECT_EQ(made.mean_forces.row(20).norm(), 0.0);
    EXPECT_EQ(made.deviation[20], 0.0);
    for (Index i = 0; i < checked.size(); ++i) EXPECT_EQ(made.isolated[i] != 0, i == 20);
    if (checked.species()[20] == 0) {
      EXPECT_EQ(made.energies.col(20), single.energies.col(0));
    }
  }
  EXPECT_EQ(single.mean_forces.norm(), 0.0);
  EXPECT_EQ(single.virials.norm(), 0.0);
}

}  // namespace
}  // namespace nearsight
