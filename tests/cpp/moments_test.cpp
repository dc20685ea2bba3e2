// G5 from moments of unit vectors, against the sum over pairs that they stand for.
#include <gtest/gtest.h>

#include <cmath>

#include "nearsight/symmetry_functions.hpp"
#include "structures.hpp"

namespace nearsight {
namespace {

constexpr double kRadius = 6.0;
constexpr long double kPi = 3.14159265358979323846264338327950288L;

// Every whole zeta, both signs of gamma and others, all pairs of two species; two eta, and two
// shells.
std::vector<SymmetryFunction> every_g5() {
  std::vector<SymmetryFunction> made;
  for (const auto& [eta, r_s] : {std::pair{0.005, 0.0}, {1.0, 0.0}, {1.0, 8.0}, {40.0, 2.9}})
    for (const double zeta : {1.0, 2.0, 3.0, 4.0})
      for (const double gamma : {1.0, -1.0, 0.3})
        for (const auto& [first, second] : {std::pair{0, 0}, {0, 1}, {1, 1}})
          made.push_back({FunctionKind::kG5, 0, first, second, eta, r_s, zeta, gamma});
  return made;
}

SymmetryFunctions functions_of(std::vector<SymmetryFunction> list) {
  list.push_back({FunctionKind::kG2, 1, 0, 0, 1.0, 0.0, 1.0, 0.0});
  return SymmetryFunctions(2, Cutoff(CutoffKind::kCosine, kRadius), list);
}

Vector features_of(const SymmetryFunctions& functions, const StructureData& given,
                   SymmetryFunctions::Workspace& work) {
  const Structure structure = given.checked();
  const NeighborList list(structure, kRadius);
  list.bonds(structure, 0, work.bonds);
  functions.evaluate<true>(0, given.species, work);
  return work.features;
}

// An atom amid n others of two species, none near to another.
StructureData crowd(int n) {
  std::vector<std::array<double, 3>> places = {{0, 0, 0}};
  for (int i = 0; i < n; ++i) {
    const double z = 1.0 - 2.0 * (i + 0.5) / n, r = 2.3 + 0.9 * (i % 4), s = std::sqrt(1.0 - z * z);
    places.push_back({r * s * std::cos(2.4 * i), r * s * std::sin(2.4 * i), r * z});
  }
  StructureData made = cluster(places);
  for (int i = 1; i <= n; ++i) made.species[i] = i % 3 == 0 ? 1 : 0;
  return made;
}

// Four neighbours in a plane and two above and below it, all at right angles.
TEST(Moments, OfAnOctahedronAreInClosedForm) {
  const double a = 2.5;
  StructureData given =
      cluster({{0, 0, 0}, {a, 0, 0}, {-a, 0, 0}, {0, a, 0}, {0, -a, 0}, {0, 0, a}, {0, 0, -a}});
  given.species = {0, 0, 0, 0, 0, 1, 1};
  SymmetryFunctions::Workspace work;
  const std::vector<SymmetryFunction> list = every_g5();
  const Vector found = features_of(functions_of(list), given, work);
  for (std::size_t f = 0; f < list.size(); ++f) {
    const double eta = list[f].eta, zeta = list[f].zeta, gamma = list[f].gamma;
    const int first = list[f].first, second = list[f].second;
    const double from = (a - list[f].r_s) / kRadius;
    const double one = std::exp(-eta * from * from) * 0.5 *
                       (1.0 + std::cos(static_cast<double>(kPi) * a / kRadius));
    const int right = first + second == 0 ? 4 : first + second == 1 ? 8 : 0;
    const int straight = first + second == 0 ? 2 : first + second == 1 ? 0 : 1;
    const double expected =
        std::pow(2.0, 1.0 - zeta) * one * one * (right + straight * std::pow(1.0 - gamma, zeta));
    EXPECT_NEAR(found[f], expected, 1e-14) << "function " << f;
  }
}

TEST(Moments, AreTheSumOverPairs) {
  for (const int n : {1, 2, 3, 7, 20, 61}) {
    const StructureData given = crowd(n);
    SymmetryFunctions::Workspace work;
    const std::vector<SymmetryFunction> list = every_g5();
    const Vector found = features_of(functions_of(list), given, work);
    for (std::size_t f = 0; f < list.size(); ++f) {
      const SymmetryFunction& g5 = list[f];
      long double expected = 0.0L, largest = 0.0L;
      const auto weight = [&](const Bond& b) {
        const long double r = b.distance, from = (r - g5.r_s) / kRadius;
        return std::exp(-g5.eta * from * from) * 0.5L * (1.0L + std::cos(kPi * r / kRadius));
      };
      for (const Bond& j : work.bonds)
        for (const Bond& k : work.bonds) {
          const int s = given.species[j.atom], t = given.species[k.atom];
          if (j.atom == k.atom || s != g5.first || t != g5.second) continue;
          const long double c =
              (static_cast<long double>(j.x) * k.x + static_cast<long double>(j.y) * k.y +
               static_cast<long double>(j.z) * k.z) /
              (static_cast<long double>(j.distance) * k.distance);
          const long double both = weight(j) * weight(k) * (s == t ? 0.5L : 1.0L);
          expected +=
              std::pow(2.0L, 1.0L - g5.zeta) * std::pow(1.0L + g5.gamma * c, g5.zeta) * both;
          largest += 2.0L * both;
        }
      EXPECT_NEAR(found[f], static_cast<double>(expected), 2e-15 * static_cast<double>(largest))
          << n << " neighbours, function " << f;
    }
  }
}

class Crowds : public testing::TestWithParam<int> {};

TEST_P(Crowds, HaveTheDerivativesOfDifferences) {
  const StructureData given = crowd(GetParam());
  const std::vector<SymmetryFunction> list = every_g5();
  const SymmetryFunctions functions = functions_of(list);
  const Index size = functions.size(0), lanes = padded(size);
  SymmetryFunctions::Workspace work, other;
  features_of(functions, given, work);
  const Matrix unit = Matrix::Identity(size, lanes);
  Matrix found(3 * work.bonds.size(), lanes);
  functions.contract(0, work, unit.data(), lanes, found.data());
  for (std::size_t b = 0; b < work.bonds.size(); ++b)
    for (int axis = 0; axis < 3; ++axis) {
      const auto moved = [&](double step) {
        StructureData data = given;
        data.positions(work.bonds[b].atom, axis) += step;
        return features_of(functions, data, other);
      };
      const double h =
          2e-3;  // to the fourth order: differences err by 1e-11, and by 1e-12 in digits
      const Vector slope =
          (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
      for (Index f = 0; f < size; ++f)
        EXPECT_NEAR(found(3 * b + axis, f), slope[f], 1e-10) << "bond " << b << ", function " << f;
    }
  EXPECT_GT(found.cwiseAbs().maxCoeff(), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Moments, Crowds, testing::Values(3, 14));

}  // namespace
}  // namespace nearsight
