#include "nearsight/structure.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "structures.hpp"

namespace nearsight {
namespace {

std::string refusal(const StructureData& structure) {
  try {
    structure.checked();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Structure, OwnsWhatItWasMadeOf) {
  StructureData given = fcc(3.92, 1);
  const Structure made = given.checked();
  given.positions(0, 0) = NAN;
  EXPECT_EQ(made.size(), 4);
  EXPECT_EQ(made.positions()(0, 0), 0.0);
  EXPECT_EQ(made.species(), given.species);
}

TEST(Structure, HasAVolumeWhereItIsPeriodic) {
  StructureData given = fcc(3.92, 1);
  EXPECT_NEAR(given.checked().volume(), 3.92 * 3.92 * 3.92, 1e-12);
  given.periodic = {false, true, false};
  EXPECT_NEAR(given.checked().volume(), 3.92 * 3.92 * 3.92, 1e-12);
  given.cell.row(0).setZero();
  EXPECT_EQ(given.checked().volume(), 0.0);
  given.periodic = {false, false, false};
  given.cell = fcc(3.92, 1).cell;
  EXPECT_EQ(given.checked().volume(), 0.0);
}

TEST(Structure, MovesItsAtomsAndChecksOnlyThat) {
  const StructureData given = fcc(3.92, 1);
  const Structure made = given.checked();
  Positions moved = given.positions;
  moved(2, 1) += 0.5;
  EXPECT_EQ(made.moved(moved).positions(), moved);
  EXPECT_EQ(made.moved(moved).cell(), made.cell());
  moved(2, 1) = NAN;
  EXPECT_THROW(made.moved(moved), std::invalid_argument);
  EXPECT_THROW(made.moved(moved.topRows(3)), std::invalid_argument);
}

TEST(Structure, RefusesAnEmptyStructure) {
  EXPECT_EQ(refusal(cluster({})), "structure has no atoms");
}

TEST(Structure, RefusesAPositionThatIsNotFinite) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    StructureData given = fcc(3.92, 1);
    given.positions(2, 1) = bad;
    EXPECT_EQ(refusal(given), "structure: the position of atom 2 is not finite");
  }
}

TEST(Structure, RefusesSpeciesThatDoNotFit) {
  StructureData given = fcc(3.92, 1);
  given.species[3] = -1;
  EXPECT_EQ(refusal(given), "structure: atom 3 has species index -1, expected 0 or more");
  given.species.pop_back();
  EXPECT_EQ(refusal(given), "structure: 3 species for 4 atoms");
}

TEST(Structure, RefusesACellThatDoesNotSpanThePeriodicDirections) {
  StructureData given = fcc(3.92, 1);
  given.cell.row(1).setZero();
  EXPECT_EQ(refusal(given), "structure is periodic in y but has no cell vector there");
  given.periodic[1] = false;
  EXPECT_EQ(refusal(given), "accepted");
  given.periodic[1] = true;
  given.cell.row(2).setZero();
  EXPECT_EQ(refusal(given), "structure is periodic in yz but has no cell vector there");
  given.periodic[1] = false;
  given.cell.row(2) = -2.0 * given.cell.row(0);
  EXPECT_EQ(refusal(given), "structure: the periodic cell vectors are linearly dependent");
  given.cell.row(2) << 0.0, std::numeric_limits<double>::quiet_NaN(), 4.0;
  EXPECT_EQ(refusal(given), "structure: the cell is not finite");
}

}  // namespace
}  // namespace nearsight
