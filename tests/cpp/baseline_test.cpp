// Pair terms of the baseline, against values of others and finite differences.
#include "nearsight/baseline.hpp"

#include <gtest/gtest.h>

#include "structures.hpp"

namespace nearsight {
namespace {

constexpr double kCoulomb = 14.399645;  // eV Å, CODATA

PairTerms repulsion(double z0, double z1, double outer) {
  return {{z0, z1}, Matrix::Constant(2, 2, outer), {0.0, 0.0}, 0.0, 0.0};
}

PairTerms charges(double q, double damping, double cutoff) {
  return {{12.0, 8.0}, Matrix::Zero(2, 2), {q, -q}, damping, cutoff};
}

double energy_of(const Baseline& baseline, const StructureData& data) {
  return baseline.evaluate(data.checked(), 1).energies.sum();
}

StructureData pair_at(double r) {
  StructureData data = cluster({{0, 0, 0}, {r, 0, 0}});
  data.species = {0, 1};
  return data;
}

StructureData rock_salt(double a) {
  StructureData data = fcc(a, 1);
  StructureData other = fcc(a, 1);
  other.positions.col(0).array() += 0.5 * a;
  Positions both(8, 3);
  both << data.positions, other.positions;
  data.positions = both;
  data.species = {0, 0, 0, 0, 1, 1, 1, 1};
  return data;
}

// Few atoms in a skewed cell smaller than the cutoffs, or free.
StructureData disorder(bool periodic) {
  StructureData data = cluster({{0, 0, 0}, {1.2, 0.3, 0.1}, {0.2, 1.6, 0.4}, {1.1, 1.0, 1.9}});
  data.species = {0, 1, 0, 1};
  data.cell << 3.1, 0.2, 0.0, 0.9, 3.4, 0.3, -0.7, 1.1, 3.8;
  data.periodic = {periodic, periodic, periodic};
  return data;
}

std::vector<PairTerms> all_terms() {
  PairTerms both = repulsion(46.0, 79.0, 2.6);
  both.charges = {0.7, -0.4};
  both.damping = 0.25;
  both.cutoff = 6.0;
  return {repulsion(46.0, 79.0, 2.6), charges(1.3, 0.2, 7.0), both};
}

// The formula and the constants of Ziegler, Biersack and Littmark, with their Bohr radius.
TEST(Baseline, RepulsionIsThatOfTheUniversalPotential) {
  const double outer = 4.0;
  const Baseline baseline(repulsion(29.0, 47.0, outer));
  for (const double r : {0.05, 0.3, 0.9, 1.6, 1.999}) {
    const double length = 0.8854 * 0.52917721 / (std::pow(29.0, 0.23) + std::pow(47.0, 0.23)),
                 x = r / length;
    const double phi = 0.1818 * std::exp(-3.2 * x) + 0.5099 * std::exp(-0.9423 * x) +
                       0.2802 * std::exp(-0.4028 * x) + 0.02817 * std::exp(-0.2016 * x);
    const double expected = kCoulomb * 29.0 * 47.0 / r * phi;
    EXPECT_NEAR(energy_of(baseline, pair_at(r)) / expected, 1.0, 1e-3);  // their rounding
  }
  EXPECT_EQ(energy_of(baseline, pair_at(4.0)), 0.0);
  EXPECT_LT(energy_of(baseline, pair_at(3.99)), 1e-6);
}

// The lattice energy per ion of rock salt, with Madelung's constant; the damped sum lacks the
// energy of every charge with its own screen.
TEST(Baseline, ChargesGiveTheEnergyOfRockSalt) {
  const double a = 5.64, q = 0.8, damping = 0.2;
  const Baseline baseline(charges(q, damping, 20.0));
  const StructureData crystal = rock_salt(a);
  const double screen = kCoulomb * q * q * damping / std::sqrt(3.14159265358979);
  const double expected = -0.5 * kCoulomb * q * q * 1.74756459 / (0.5 * a);
  EXPECT_NEAR(energy_of(baseline, crystal) / 8.0 - screen, expected, 1e-5);
  const PairEvaluation found = baseline.evaluate(crystal.checked(), 1);
  EXPECT_LT(found.forces.cwiseAbs().maxCoeff(), 1e-10);
  // an energy in proportion to 1/a: the trace of the virial is minus the energy
  EXPECT_NEAR(found.virial.trace() / 8.0, -expected, 1e-4);
}

TEST(Baseline, ForcesAreMinusTheDerivativeOfTheEnergy) {
  const double step = 1e-5;
  for (const PairTerms& terms : all_terms())
    for (const bool periodic : {true, false}) {
      const Baseline baseline(terms);
      const StructureData data = disorder(periodic);
      const PairEvaluation found = baseline.evaluate(data.checked(), 1);
      for (Index i = 0; i < data.positions.size(); ++i) {
        StructureData up = data, down = data;
        up.positions.data()[i] += step;
        down.positions.data()[i] -= step;
        const double slope = (energy_of(baseline, up) - energy_of(baseline, down)) / (2.0 * step);
        EXPECT_NEAR(found.forces.data()[i], -slope, 1e-6 * (1.0 + std::abs(slope)));
      }
    }
}

TEST(Baseline, TheVirialIsTheDerivativeByStrain) {
  const double step = 1e-6;
  for (const PairTerms& terms : all_terms())
    for (const bool periodic : {true, false}) {
      const Baseline baseline(terms);
      const StructureData data = disorder(periodic);
      const Eigen::Matrix3d virial = baseline.evaluate(data.checked(), 1).virial;
      for (int a = 0; a < 3; ++a)
        for (int b = 0; b < 3; ++b) {
          double energies[2];
          for (const int up : {0, 1}) {
            Eigen::Matrix3d strain = Eigen::Matrix3d::Identity();
            strain(a, b) += up ? step : -step;
            StructureData strained = data;
            strained.positions = data.positions * strain;
            strained.cell = data.cell * strain;
            energies[up] = energy_of(baseline, strained);
          }
          const double slope = (energies[1] - energies[0]) / (2.0 * step);
          EXPECT_NEAR(virial(a, b), slope, 1e-6 * (1.0 + std::abs(slope)));
        }
    }
}

// Smooth at half of the outer radius and at both ends.
TEST(Baseline, ForcesHaveNoJump) {
  PairTerms terms = repulsion(12.0, 8.0, 2.0);
  terms.charges = {1.0, -1.0};
  terms.damping = 0.2;
  terms.cutoff = 5.0;
  const Baseline baseline(terms);
  for (const double r : {1.0, 2.0, 5.0}) {
    const auto pull = [&](double distance) {
      return baseline.evaluate(pair_at(distance).checked(), 1).forces(0, 0);
    };
    EXPECT_NEAR(pull(r - 1e-7), pull(r + 1e-7), 1e-4);
  }
}

TEST(Baseline, NoBitDependsOnTheNumberOfThreads) {
  StructureData data = fcc(3.92, 7);
  for (Index i = 0; i < data.positions.rows(); ++i) {
    data.species[i] = i % 2 == 1 ? 1 : 0;
    data.positions(i, 1) += 0.1 * std::sin(5.0 * static_cast<double>(i));
  }
  for (const PairTerms& terms : all_terms()) {
    const Baseline baseline(terms);
    const PairEvaluation one = baseline.evaluate(data.checked(), 1);
    for (const int threads : {2, 3, 7}) {
      const PairEvaluation found = baseline.evaluate(data.checked(), threads);
      EXPECT_TRUE(found.energies == one.energies);
      EXPECT_TRUE(found.forces == one.forces);
      EXPECT_TRUE(found.virial == one.virial);
    }
  }
}

TEST(Baseline, RefusesTermsThatAreNone) {
  EXPECT_THROW(Baseline(repulsion(12.0, 8.0, 0.0)), std::invalid_argument);
  EXPECT_THROW(Baseline(repulsion(12.0, -8.0, 2.0)), std::invalid_argument);
  EXPECT_THROW(Baseline(charges(std::nan(""), 0.2, 8.0)), std::invalid_argument);
  PairTerms lopsided = repulsion(12.0, 8.0, 2.0);
  lopsided.outer(0, 1) = 1.0;
  EXPECT_THROW(Baseline{lopsided}, std::invalid_argument);
}

}  // namespace
}  // namespace nearsight
