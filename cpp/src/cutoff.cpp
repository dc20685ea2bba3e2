#include "nearsight/cutoff.hpp"

#include <cmath>
#include <stdexcept>

namespace nearsight {

namespace {
constexpr double kPi = 3.14159265358979323846;
}

Cutoff::Cutoff(CutoffKind kind, double radius, double gamma)
    : kind(kind), radius(radius), gamma(gamma) {
  if (!(radius > 0.0 && std::isfinite(radius)))
    throw std::invalid_argument("the cutoff radius must be a positive number of Å");
  if (kind == CutoffKind::kPolynomial && !(gamma >= 2.0 && std::isfinite(gamma)))
    throw std::invalid_argument("gamma of the polynomial cutoff must be at least 2");
}

Cutoff::Value Cutoff::operator()(double r) const {
  if (r >= radius) return {0.0, 0.0};
  const double u = r / radius;
  if (kind == CutoffKind::kCosine) {
    const double angle = kPi * u;
    return {0.5 * (1.0 + std::cos(angle)), -0.5 * kPi / radius * std::sin(angle)};
  }
  const double power = std::pow(u, gamma - 1.0);
  return {1.0 + u * power * (gamma * u - (gamma + 1.0)),
          gamma * (gamma + 1.0) / radius * power * (u - 1.0)};
}

}  // namespace nearsight
