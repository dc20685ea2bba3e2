// The radial factors of the angular functions, A_e(x) = exp(-eta_e x) fc(r) with x = (r/Rc)^2, and
// B_e = dA_e/dx, as polynomials in t = 2 x - 1: these functions are entire in x, so a pair of
// neighbours costs neither sqrt nor exp nor cos (the polynomial cutoff costs a sqrt).
#pragma once

#include <vector>

#include "nearsight/cutoff.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

// Coefficients of powers of t, lowest first, each repeated for all lanes of a vector.
template <int N>
struct LanePolynomial {
  alignas(sizeof(double) * kPairLanes) double c[N][kPairLanes];
};

struct Damping {
  Damping(const Cutoff& cutoff, const std::vector<double>& etas);

  static constexpr int kTerms = 9;
  // A factor exp(-rest x) up to this `rest` is a polynomial.
  static constexpr double kMostSmooth = 1.0;

  enum class Rest { kNone, kSmooth, kLarge };
  struct Factor {
    double eta;
    Rest kind;
    double rest;                         // eta beyond that of the base
    LanePolynomial<kTerms> fourth_root;  // of exp(-rest x), kSmooth only
  };

  CutoffKind kind;
  double gamma;  // of the polynomial cutoff
  // The cosine cutoff is a square, and so is A; the base is that of the smallest eta, if that is
  // small, else of eta = 0. Roots need fewer terms.
  double base_eta;
  LanePolynomial<kTerms> root, twice_root_slope;
  std::vector<Factor> factors;  // by eta
};

}  // namespace nearsight
