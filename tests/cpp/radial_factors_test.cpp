#include "radial_factors.hpp"

#include <gtest/gtest.h>

#include <iterator>
#include <stdexcept>

#include "nearsight/symmetry_functions.hpp"
#include "radial_factors.hpp"
#include "simd.hpp"
#include "structures.hpp"

namespace nearsight {
namespace {

constexpr long double kPi = 3.14159265358979323846264338327950288L;

// Largest error of the fit on [0, 1], relative to the largest value there.
template <class Function>
double error_of_fit(const Function& f) {
  const auto c = fit_unit<RadialFactors::kTerms>(f);
  double largest = 0.0, error = 0.0;
  for (int i = 0; i <= 1000; ++i) {
    const double x = i / 1000.0, t = 2.0 * x - 1.0;
    double value = c.back();
    for (std::size_t p = c.size() - 1; p-- > 0;) value = value * t + c[p];
    const double expected = static_cast<double>(f(static_cast<long double>(x)));
    largest = std::max(largest, std::abs(expected));
    error = std::max(error, std::abs(value - expected));
  }
  return error / largest;
}

// The functions that radial factors are made of, at the ends of what they are used for.
TEST(FitUnit, IsExactToTheLastBitsForExponentials) {
  for (const double eta : {0.0, 1e-6, 0.005, 0.1, 0.25}) {
    const auto f = [eta](long double x) { return std::exp(-eta * x); };
    EXPECT_LT(error_of_fit(f), 1e-15) << "eta = " << eta;
  }
}

TEST(FitUnit, IsExactToTheLastBitsForTheRootOfTheCosineCutoffAndItsSlope) {
  for (const double eta : {0.0, 0.005, 0.1}) {
    EXPECT_LT(error_of_fit([eta](long double x) {
                return std::cos(0.5L * kPi * std::sqrt(x)) * std::exp(-0.5L * eta * x);
              }),
              1e-15)
        << "eta = " << eta;
    EXPECT_LT(error_of_fit([eta](long double x) {
                const long double u = std::sqrt(x);
                const long double sine = x > 0.0L ? std::sin(0.5L * kPi * u) / u : 0.5L * kPi;
                return (0.5L * kPi * sine + eta * std::cos(0.5L * kPi * u)) *
                       std::exp(-0.5L * eta * x);
              }),
              1e-15)
        << "eta = " << eta;
  }
}

TEST(FitUnit, AConstantIsAConstant) {
  const auto c = fit_unit<3>([](long double) { return 3.0L; });
  EXPECT_EQ(c[0], 3.0);
  EXPECT_NEAR(c[1], 0.0, 1e-17);
  EXPECT_NEAR(c[2], 0.0, 1e-17);
}

TEST(Exp2, IsExactToTheLastBitsEverywhere) {
  const auto c = fit_unit<std::size(kExp2Series)>([](long double x) {
    return std::exp2(x - 0.5L);  // of t = 2 (x - 1/2), twice the argument
  });
  for (std::size_t p = 0; p < c.size(); ++p)
    EXPECT_NEAR(c[p], std::ldexp(kExp2Series[p], -static_cast<int>(p)), 1e-16) << p;
  for (double x = -999.7; x <= 1000.0; x += 0.0137)
    for (const double value : {exp2(broadcast(x))[0], exp2(broadcast(x))[kPairLanes - 1]})
      EXPECT_NEAR(value / static_cast<double>(std::exp2(static_cast<long double>(x))), 1.0, 5e-16)
          << "x = " << x;
  EXPECT_EQ(exp2(broadcast(-1e6))[0], exp2(broadcast(-1000.0))[0]);
  for (const double x : {-600.0, -20.0, -1.0, 0.0, 1e-9, 1.0, 600.0}) {
    const double expected = static_cast<double>(std::exp(static_cast<long double>(x)));
    EXPECT_NEAR(exp(broadcast(x))[0] / expected, 1.0, 3e-16 * (1.0 + std::abs(x))) << x;
  }
}

// G5 of an atom with two neighbours, in closed form, and its derivative in the position of one.
TEST(AngularFunctions, HaveAnyZetaAndGamma) {
  const double radius = 6.0, a = 1.1, b = 1.3, eta = 0.005, square = radius * radius;
  const long double wide = std::exp(-eta * (static_cast<long double>(a) * a + b * b) / square) *
                           0.25L * (1.0L + std::cos(kPi * a / radius)) *
                           (1.0L + std::cos(kPi * b / radius));
  for (const double zeta : {1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0, 31.0, 200.0})
    for (const double gamma : {1.0, -1.0, 0.7, 0.002, -1e-6, 0.0})
      for (const double angle : {0.4, 1.9, 3.0}) {
        const StructureData given =
            cluster({{0, 0, 0}, {a, 0, 0}, {b * std::cos(angle), b * std::sin(angle), 0}});
        const SymmetryFunctions functions(1, Cutoff(CutoffKind::kCosine, radius),
                                          {{FunctionKind::kG5, 0, 0, 0, eta, 0.0, zeta, gamma}});
        const NeighborList list(given.checked(), radius);
        SymmetryFunctions::Workspace work;
        list.bonds(given.checked(), 0, work.bonds);
        functions.evaluate<true>(0, given.species, work);
        const long double one = 1.0L + gamma * std::cos(static_cast<long double>(angle));
        const long double scale = std::pow(2.0L, 1.0L - zeta) * wide;
        const double g5 = static_cast<double>(scale * std::pow(one, zeta));
        // turning the second neighbour turns the angle
        const double slope =
            static_cast<double>(-scale * zeta * gamma * std::sin(static_cast<long double>(angle)) *
                                std::pow(one, zeta - 1.0) / b);
        const double gradient = 1.0;
        double out[6];
        functions.contract(0, work, &gradient, 1, out);
        const double along = -out[3] * std::sin(angle) + out[4] * std::cos(angle);
        // the rounding of the cosine, and of what is raised to the power
        const double tolerance = 4e-16 * zeta * (2.0 + 2.0 / static_cast<double>(one));
        EXPECT_NEAR(work.features[0], g5, tolerance * g5)
            << "zeta = " << zeta << ", gamma = " << gamma << ", angle = " << angle;
        EXPECT_NEAR(along, slope, tolerance * (std::abs(slope) + g5))
            << "zeta = " << zeta << ", gamma = " << gamma << ", angle = " << angle;
      }
}

// G4 and G5 of an atom with two neighbours at a right angle, in closed form.
class Shifts : public testing::TestWithParam<double> {};

TEST_P(Shifts, OfAngularFunctionsKeepTheirRelativeAccuracyForAnyEta) {
  const double r_s = GetParam();
  const double radius = 6.0, a = 1.1, b = 1.3, square = radius * radius;
  const StructureData given = cluster({{0, 0, 0}, {a, 0, 0}, {0, b, 0}});
  const auto fc = [&](long double r) { return 0.5L * (1.0L + std::cos(kPi * r / radius)); };
  for (const double eta :
       {0.0, 0.005, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0}) {
    const SymmetryFunctions functions(1, Cutoff(CutoffKind::kCosine, radius),
                                      {{FunctionKind::kG4, 0, 0, 0, eta, r_s, 2.0, 1.0},
                                       {FunctionKind::kG5, 0, 0, 0, eta, r_s, 2.0, 1.0}});
    const NeighborList list(given.checked(), radius);
    SymmetryFunctions::Workspace work;
    list.bonds(given.checked(), 0, work.bonds);
    functions.evaluate<true>(0, given.species, work);
    const auto rho = [&](long double r) {
      return fc(r) * std::exp(-eta * (r - r_s) * (r - r_s) / square);
    };
    const long double wide = 0.5L * rho(a) * rho(b), third = std::hypot(1.0L * a, 1.0L * b);
    const long double g5 = wide, g4 = wide * rho(third);
    // the rounding of r alone changes the exponent by as many parts in 1e16
    const double reach = static_cast<double>(third) + std::abs(r_s);
    const double tolerance = 2e-15 * (1.0 + eta * reach * reach / square);
    EXPECT_NEAR(work.features[0] / static_cast<double>(g4), 1.0, tolerance) << "eta = " << eta;
    EXPECT_NEAR(work.features[1] / static_cast<double>(g5), 1.0, tolerance) << "eta = " << eta;
  }
}

INSTANTIATE_TEST_SUITE_P(AngularFunctions, Shifts, testing::Values(0.0, -0.1, 1e-9, 1.2, 2.0));

// Where the exponential vanishes, and where the third side of a triangle does.
TEST(AngularFunctions, StayFiniteForAnyShift) {
  for (const double r_s : {-1e200, -3.0, 1e-300, 5.0, 1e200})
    for (const double eta : {0.0, 1.0, 4e3, 1e100}) {
      StructureData given = cluster({{0, 0, 0}, {1.1, 0, 0}, {0, 1.3, 0}, {0, 1.3, 0}});
      SymmetryFunctions::Workspace work;
      NeighborList(given.checked(), 6.0).bonds(given.checked(), 0, work.bonds);
      const SymmetryFunctions functions(1, Cutoff(CutoffKind::kCosine, 6.0),
                                        {{FunctionKind::kG4, 0, 0, 0, eta, r_s, 1.0, 1.0},
                                         {FunctionKind::kG5, 0, 0, 0, eta, r_s, 2.0, 1.0},
                                         {FunctionKind::kG5, 0, 0, 0, eta, r_s, 6.0, 1.0}});
      functions.evaluate<true>(0, given.species, work);
      EXPECT_TRUE(work.features.allFinite()) << "eta = " << eta << ", R_s = " << r_s;
      const double gradient[] = {1.0, 1.0, 1.0};
      Vector out(9);
      functions.contract(0, work, gradient, 1, out.data());
      EXPECT_TRUE(out.allFinite()) << "eta = " << eta << ", R_s = " << r_s;
    }
}

// The cutoff functions in closed form and their derivatives in x = (r/Rc)^2, as the kernels take
// them.
TEST(RadialFactors, HoldTheCutoffFunctionAndItsDerivative) {
  for (const Cutoff& cutoff :
       {Cutoff(CutoffKind::kCosine, 6.5), Cutoff(CutoffKind::kPolynomial, 5.0, 2.0),
        Cutoff(CutoffKind::kPolynomial, 5.0, 4.5)})
    for (const double eta : {0.0, 0.05}) {
      const RadialFactors radial(cutoff, {{eta, 0.0}});
      for (const double r : {0.3, 1.7, 3.1, 4.9, cutoff.radius}) {
        const long double u = r / static_cast<long double>(cutoff.radius), g = cutoff.gamma;
        const bool cosine = cutoff.kind == CutoffKind::kCosine;
        const long double fc = cosine
                                   ? 0.5L * (1.0L + std::cos(kPi * u))
                                   : 1.0L + g * std::pow(u, g + 1.0L) - (g + 1.0L) * std::pow(u, g);
        const long double slope = cosine
                                      ? -0.25L * kPi * std::sin(kPi * u) / u
                                      : 0.5L * g * (g + 1.0L) * std::pow(u, g - 2.0L) * (u - 1.0L);
        const Vec t = broadcast(static_cast<double>(2.0L * u * u - 1.0L));
        const ValueAndSlope found = cutoff_factor(radial, t, base_factor(radial, t));
        EXPECT_NEAR(found.a[0], static_cast<double>(fc), 2e-15) << "r = " << r;
        EXPECT_NEAR(found.b[0], static_cast<double>(slope), 2e-14) << "r = " << r;
      }
    }
}

// Beside a base whose small eta they share.
TEST(RadialFactors, HoldShellsAndTheirDerivatives) {
  const Cutoff cutoff(CutoffKind::kCosine, 5.0);
  for (const double eta : {0.005, 3.0, 4000.0})
    for (const double r_s : {-1.0, 1e-9, 2.5, 7.0}) {
      const RadialFactors radial(cutoff, {{0.05, 0.0}, {eta, r_s}});
      for (const double r : {1e-3, 0.3, 2.4, 4.9}) {
        const long double u = r / static_cast<long double>(cutoff.radius), from = u - r_s / 5.0L;
        const long double fc = 0.5L * (1.0L + std::cos(kPi * u));
        const long double steep = eta * from / u, gauss = std::exp(-eta * from * from);
        const long double slope = -gauss * (0.25L * kPi * std::sin(kPi * u) / u + fc * steep);
        const Vec t = broadcast(static_cast<double>(2.0L * u * u - 1.0L));
        const auto [a, b] = radial_factor(radial, radial.factors[1], t, distance_of(radial, t),
                                          base_factor(radial, t));
        // x is known to 1e-16, and so u to 1e-16 / u
        const double known = 2e-15 * (1.0 + eta * static_cast<double>(1.0L / u + std::abs(from)));
        const double size = known * static_cast<double>(gauss) + 1e-290;  // where exponentials end
        EXPECT_NEAR(a[0], static_cast<double>(fc * gauss), size)
            << "eta = " << eta << ", R_s = " << r_s << ", r = " << r;
        EXPECT_NEAR(b[0], static_cast<double>(slope),
                    10.0 * size * (1.0 + static_cast<double>((eta + std::abs(steep)) / u)))
            << "eta = " << eta << ", R_s = " << r_s << ", r = " << r;
      }
    }
}

TEST(Cutoff, RefusesParametersOutOfTheirDomain) {
  EXPECT_THROW(Cutoff(CutoffKind::kCosine, 0.0), std::invalid_argument);
  EXPECT_THROW(Cutoff(CutoffKind::kCosine, INFINITY), std::invalid_argument);
  EXPECT_THROW(Cutoff(CutoffKind::kPolynomial, 5.0, 1.9), std::invalid_argument);
}

}  // namespace
}  // namespace nearsight
