#include "nearsight/structure.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>

#include "structures.hpp"

namespace nearsight {
namespace {

std::string refusal(const Structure& structure) {
  try {
    structure.view();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(StructureView, BorrowsItsArrays) {
  const Structure given = fcc(3.92, 1);
  const StructureView view = given.view();
  EXPECT_EQ(view.size(), 4);
  EXPECT_EQ(view.positions.data(), given.positions.data());
  EXPECT_EQ(view.species, given.species.data());
}

TEST(StructureView, RefusesAnEmptyStructure) {
  EXPECT_EQ(refusal(cluster({})), "the structure has no atoms");
}

TEST(StructureView, RefusesAPositionThatIsNotFinite) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Structure given = fcc(3.92, 1);
    given.positions(2, 1) = bad;
    EXPECT_EQ(refusal(given), "the position of atom 2 is not finite");
  }
}

TEST(StructureView, RefusesASpeciesOutOfRange) {
  Structure given = fcc(3.92, 1);
  given.species[3] = 1;
  EXPECT_EQ(refusal(given), "atom 3 has species index 1, expected 0 to 0");
  given.species[3] = -1;
  EXPECT_EQ(refusal(given), "atom 3 has species index -1, expected 0 to 0");
}

TEST(StructureView, RefusesACellThatDoesNotSpanThePeriodicDirections) {
  Structure given = fcc(3.92, 1);
  given.cell.row(1).setZero();
  EXPECT_EQ(refusal(given), "the structure is periodic in y but has no cell vector there");
  given.periodic[1] = false;
  EXPECT_EQ(refusal(given), "accepted");
  given.cell.row(2) = -2.0 * given.cell.row(0);
  EXPECT_EQ(refusal(given), "the periodic cell vectors are linearly dependent");
  given.cell.row(2) << 0.0, std::numeric_limits<double>::quiet_NaN(), 4.0;
  EXPECT_EQ(refusal(given), "the structure is periodic in z but has no cell vector there");
}

}  // namespace
}  // namespace nearsight
