#include "nearsight/neighbor_list.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <tuple>

#include "structures.hpp"

namespace nearsight {
namespace {

std::vector<Bond> bonds_of(const NeighborList& list, const StructureData& structure, Index i) {
  std::vector<Bond> found;
  list.bonds(structure.checked(), i, found);
  return found;
}

// Atoms within sqrt(n / 2) lattice constants in an fcc crystal: 12, 6, 24, 12, 24, 8, 48, 6.
TEST(NeighborList, FindsTheShellsOfACrystal) {
  const double a = 3.92;
  for (const int repeats : {1, 2, 3}) {
    const StructureData crystal = fcc(a, repeats);
    Index expected = 0;
    int shell = 0;
    for (const int size : {12, 6, 24, 12, 24, 8, 48, 6}) {
      expected += size;
      ++shell;
      const double cutoff = a * std::sqrt((shell + 0.5) / 2.0);
      const NeighborList list(crystal.checked(), cutoff);
      for (Index i = 0; i < list.atoms(); ++i)
        ASSERT_EQ(static_cast<Index>(bonds_of(list, crystal, i).size()), expected);
    }
  }
}

TEST(NeighborList, BondsAreSortedAndPointWhereTheySay) {
  const StructureData crystal = fcc(3.92, 1);
  const NeighborList list(crystal.checked(), 6.5);
  for (Index i = 0; i < list.atoms(); ++i) {
    const std::vector<Bond> found = bonds_of(list, crystal, i);
    for (std::size_t b = 0; b < found.size(); ++b) {
      const Bond& bond = found[b];
      Eigen::RowVector3d r = crystal.positions.row(bond.atom) - crystal.positions.row(i);
      for (int k = 0; k < 3; ++k) r += bond.shift[k] * crystal.cell.row(k);
      EXPECT_NEAR((r - Eigen::RowVector3d(bond.x, bond.y, bond.z)).norm(), 0.0, 1e-14);
      EXPECT_NEAR(bond.distance, r.norm(), 1e-14);
      if (b > 0) {
        EXPECT_LT(std::tie(found[b - 1].atom, found[b - 1].shift), std::tie(bond.atom, bond.shift));
      }
    }
  }
}

TEST(NeighborList, ASkinAddsNoBonds) {
  StructureData crystal = fcc(3.92, 2);
  const NeighborList kept(crystal.checked(), 5.0, 1.0);
  for (Index i = 0; i < kept.atoms(); ++i)
    for (int a = 0; a < 3; ++a)
      crystal.positions(i, a) += 0.28 * std::sin(static_cast<double>(7 * i + a));
  const NeighborList fresh(crystal.checked(), 5.0);
  for (Index i = 0; i < kept.atoms(); ++i) {
    const std::vector<Bond> one = bonds_of(kept, crystal, i), two = bonds_of(fresh, crystal, i);
    ASSERT_EQ(one.size(), two.size());
    for (std::size_t b = 0; b < one.size(); ++b) {
      EXPECT_EQ(one[b].atom, two[b].atom);
      EXPECT_EQ(one[b].shift, two[b].shift);
      EXPECT_EQ(one[b].distance, two[b].distance);
    }
  }
}

TEST(NeighborList, IsValidUntilAnAtomHasMovedByHalfTheSkin) {
  const StructureData made = fcc(3.92, 1);
  const NeighborList list(made.checked(), 5.0, 0.4);
  const auto valid = [&](const StructureData& s) { return list.is_valid_for(s.checked()); };
  EXPECT_TRUE(valid(made));
  StructureData moved = made;
  for (const auto& [by, expected] : {std::pair{0.19, true}, {0.21, false}, {-0.21, false}}) {
    moved.positions = made.positions;
    moved.positions(3, 1) += by;
    EXPECT_EQ(valid(moved), expected) << by;
  }
  StructureData other = made;
  other.cell(0, 0) += 1e-9;
  EXPECT_FALSE(valid(other));
  other = made;
  other.periodic[2] = false;
  EXPECT_FALSE(valid(other));
  EXPECT_FALSE(valid(fcc(3.92, 2)));
  EXPECT_FALSE(NeighborList(made.checked(), 5.0).is_valid_for(made.checked()));
}

// The cell of one lattice may be chosen in many ways; its atoms have the same neighbours in all.
TEST(NeighborList, ASkewedCellIsTheSameCrystal) {
  const double a = 3.92;
  StructureData crystal = fcc(a, 1);
  const NeighborList straight(crystal.checked(), 6.5);
  const Eigen::Matrix3d cell = crystal.cell;
  for (const double n : {1.0, 14.0, 1000.0, 100000.0}) {
    crystal.cell.row(1) = cell.row(1) + n * cell.row(0);
    crystal.cell.row(2) = cell.row(2) - 2.0 * n * cell.row(0) + 3.0 * crystal.cell.row(1);
    const NeighborList skewed(crystal.checked(), 6.5);
    for (Index i = 0; i < skewed.atoms(); ++i) {
      const std::vector<Bond> found = bonds_of(skewed, crystal, i);
      EXPECT_EQ(found.size(), bonds_of(straight, crystal, i).size());
      for (const Bond& bond : found) {
        Eigen::RowVector3d r = crystal.positions.row(bond.atom) - crystal.positions.row(i);
        for (int k = 0; k < 3; ++k) r += bond.shift[k] * crystal.cell.row(k);
        EXPECT_NEAR((r - Eigen::RowVector3d(bond.x, bond.y, bond.z)).norm(), 0.0,
                    1e-13 * n + 1e-14);
      }
    }
  }
}

TEST(NeighborList, RefusesACrowd) {
  const StructureData crystal = fcc(0.6, 2);  // 32 atoms in 1.7 Å³: 21,000 neighbours within 6.5 Å
  EXPECT_THROW(NeighborList(crystal.checked(), 6.5), std::invalid_argument);
}

TEST(NeighborList, RefusesWhatItCannotWorkWith) {
  const StructureData crystal = fcc(3.92, 1);
  EXPECT_THROW(NeighborList(crystal.checked(), 0.0), std::invalid_argument);
  EXPECT_THROW(NeighborList(crystal.checked(), 5.0, -0.1), std::invalid_argument);
  EXPECT_THROW(NeighborList(crystal.checked(), 1e5), std::invalid_argument);
  StructureData far = crystal;
  far.positions(2, 0) += 1e12;
  EXPECT_THROW(NeighborList(far.checked(), 5.0), std::invalid_argument);
  StructureData same = crystal;
  same.positions.row(1) = same.positions.row(0);
  const NeighborList list(same.checked(), 5.0);
  EXPECT_THROW(bonds_of(list, same, 0), std::invalid_argument);
}

TEST(NeighborList, AFlatOrEvenSingleAtomIsNoReasonToFail) {
  const StructureData flat = cluster({{0, 0, 0}, {2.5, 0, 0}, {0, 2.5, 0}});
  const NeighborList list(flat.checked(), 3.0);
  EXPECT_EQ(bonds_of(list, flat, 0).size(), 2U);
  EXPECT_EQ(bonds_of(list, flat, 1).size(), 1U);
  const StructureData alone = cluster({{1, 2, 3}});
  EXPECT_TRUE(bonds_of(NeighborList(alone.checked(), 3.0), alone, 0).empty());
}

}  // namespace
}  // namespace nearsight
