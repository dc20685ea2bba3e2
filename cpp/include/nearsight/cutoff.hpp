// Cutoff functions: value and derivative in one call.
#pragma once

namespace nearsight {

enum class CutoffKind { kCosine, kPolynomial };

// cosine:      fc(r) = (1 + cos(pi r / Rc)) / 2
// polynomial:  fc(r) = 1 + gamma (r/Rc)^(gamma+1) - (gamma+1) (r/Rc)^gamma     (Amp's)
// and zero from Rc on.
struct Cutoff {
  // Throws std::invalid_argument unless radius > 0 and, for the polynomial, gamma >= 2.
  Cutoff(CutoffKind kind, double radius, double gamma = 4.0);

  struct Value {
    double f;      // fc(r)
    double df_dr;  // 1/Å
  };
  Value operator()(double r) const;

  CutoffKind kind;
  double radius;  // Å
  double gamma;   // polynomial only
};

}  // namespace nearsight
