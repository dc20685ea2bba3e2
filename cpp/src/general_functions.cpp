#include "general_functions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace nearsight {

namespace {

using Workspace = SymmetryFunctions::Workspace;

constexpr double kPi = 3.14159265358979323846;

struct Point {
  double value, slope;
};

// 1 - p for the polynomials p that rise from 0 at x = 0, and y = 1 - x: they are antisymmetric
// about the middle, and so small values keep their digits.
Point polynomial(double (*rise)(double), double x, double y, double slope) {
  return {x < 0.5 ? 1.0 - rise(x) : rise(y), slope};
}

// From 1 at x = 0 to 0 at x = 1, with y = 1 - x.
Point fall(WindowShape shape, double x, double y) {
  const double xy = x * y, xy2 = xy * xy;
  switch (shape) {
    case WindowShape::kHard:
      return {1.0, 0.0};
    case WindowShape::kCosine: {
      const double half = std::sin(0.5 * kPi * y);
      return {half * half, -0.5 * kPi * std::sin(kPi * x)};
    }
    case WindowShape::kTanh3:
    case WindowShape::kScaledTanh3: {
      const double t = std::tanh(y), t2 = t * t, most = std::tanh(1.0);
      const double factor = shape == WindowShape::kTanh3 ? 1.0 : 1.0 / (most * most * most);
      return {factor * t * t2, -3.0 * factor * t2 * (1.0 - t2)};
    }
    case WindowShape::kExponential: {
      const double gap = y * (1.0 + x), value = std::exp(1.0 - 1.0 / gap);
      return {value, value == 0.0 ? 0.0 : -2.0 * x * value / (gap * gap)};
    }
    case WindowShape::kPolynomial1:
      return polynomial([](double t) { return t * t * (3.0 - 2.0 * t); }, x, y, -6.0 * xy);
    case WindowShape::kPolynomial2:
      return polynomial([](double t) { return t * t * t * (10.0 - t * (15.0 - 6.0 * t)); }, x, y,
                        -30.0 * xy2);
    case WindowShape::kPolynomial3:
      return polynomial(
          [](double t) { return t * t * t * t * (35.0 - t * (84.0 - t * (70.0 - 20.0 * t))); }, x,
          y, -140.0 * xy * xy2);
    case WindowShape::kPolynomial4:
      return polynomial(
          [](double t) {
            return t * t * t * t * t * (126.0 - t * (420.0 - t * (540.0 - t * (315.0 - 70.0 * t))));
          },
          x, y, -630.0 * xy2 * xy2);
  }
  return {0.0, 0.0};
}

Point at(const Window& window, double r) {
  if (r >= window.end || (window.is_bump && r <= window.start)) return {0.0, 0.0};
  const bool is_tanh =
      window.shape == WindowShape::kTanh3 || window.shape == WindowShape::kScaledTanh3;
  const double first = is_tanh ? 0.0 : window.start;
  if (!window.is_bump && r < first) return {1.0, 0.0};
  const double origin = window.is_bump ? 0.5 * (window.start + window.end) : first;
  const double width = window.end - origin, side = r < origin ? -1.0 : 1.0;
  const double x = std::abs(r - origin) / width;
  const double y = std::max(0.0, (r < origin ? r - window.start : window.end - r) / width);
  if (!window.is_asymmetric) {
    const Point found = fall(window.shape, x, y);
    return {found.value, side * found.slope / width};
  }
  const Point found = fall(window.shape, (2.0 - x) * x, y * y);
  return {found.value, side * found.slope * 2.0 * y / width};
}

double power(double base, int exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

void check_window(const Window& window) {
  if (!(std::isfinite(window.start) && std::isfinite(window.end) && window.start < window.end))
    throw std::invalid_argument("a window of a symmetry function must end behind its start");
}

bool same(const Window& a, const Window& b) {
  return a.shape == b.shape && a.start == b.start && a.end == b.end && a.is_bump == b.is_bump &&
         a.is_asymmetric == b.is_asymmetric;
}

bool is_angular(const SymmetryFunction& f) { return f.kind == FunctionKind::kAngular; }

}  // namespace

WindowShape window_shape(const std::string& name) {
  if (name == "hard") return WindowShape::kHard;
  if (name == "cosine") return WindowShape::kCosine;
  if (name == "tanh3") return WindowShape::kTanh3;
  if (name == "scaled_tanh3") return WindowShape::kScaledTanh3;
  if (name == "exponential") return WindowShape::kExponential;
  if (name == "polynomial1") return WindowShape::kPolynomial1;
  if (name == "polynomial2") return WindowShape::kPolynomial2;
  if (name == "polynomial3") return WindowShape::kPolynomial3;
  if (name == "polynomial4") return WindowShape::kPolynomial4;
  throw std::invalid_argument("unknown shape of a window '" + name.substr(0, 40) +
                              "', expected hard, cosine, tanh3, scaled_tanh3, exponential or "
                              "polynomial1 to polynomial4");
}

void check_general(const SymmetryFunction& f, int n_species, double reach) {
  const auto known = [&](int s) { return s >= 0 && s < n_species; };
  const bool weighted = !f.form.weights.empty();
  if (weighted && static_cast<int>(f.form.weights.size()) != n_species)
    throw std::invalid_argument("a symmetry function needs a weight for every species");
  if (!known(f.center) || (!weighted && (!known(f.first) || (is_angular(f) && !known(f.second)))))
    throw std::invalid_argument("a symmetry function names a species that does not exist");
  if (!std::isfinite(f.eta) || !std::isfinite(f.r_s))
    throw std::invalid_argument("eta and R_s of a symmetry function must be finite");
  check_window(f.form.window);
  if (!(f.form.window.end > 0.0 && f.form.window.end <= reach))
    throw std::invalid_argument(
        "the window of a symmetry function must end within the cutoff of all");
  if (!is_angular(f)) return;
  if (f.form.by_angle) {
    check_window(f.form.angles);
  } else if (!(f.zeta > 0.0 && f.zeta <= kMaxZeta && std::isfinite(f.gamma))) {
    throw std::invalid_argument(
        "zeta of an angular symmetry function must be more than 0, at most 10000, gamma finite");
  }
}

void GeneralPlan::add(const SymmetryFunction& f, Index column, int n_species) {
  n_species_ = n_species;
  const Index place = static_cast<Index>(columns_.size()), form = find_radial(f);
  const std::size_t ns = n_species;
  const std::vector<double>& given = f.form.weights;
  columns_.push_back(column);
  if (!is_angular(f)) {
    std::vector<double> weights = given;
    if (given.empty()) {
      weights.assign(ns, 0.0);
      weights[f.first] = 1.0;
    }
    radial_sums_.push_back({form, place, std::move(weights)});
    return;
  }
  std::vector<double> weights(ns * ns, 0.0);
  if (given.empty()) {
    weights[f.first * ns + f.second] = weights[f.second * ns + f.first] = 1.0;
  } else {
    for (std::size_t s = 0; s < ns; ++s)
      for (std::size_t t = 0; t < ns; ++t) weights[s * ns + t] = given[s] * given[t];
  }
  const double whole = std::round(f.zeta);
  const int exponent = whole == f.zeta && whole < 1e6 ? static_cast<int>(whole) : -1;
  Window angles = f.form.angles;  // in radians here
  angles.start *= kPi / 180.0;
  angles.end *= kPi / 180.0;
  has_closed_ = has_closed_ || f.form.is_closed;
  angular_sums_.push_back({form, place, f.form.is_closed, f.form.by_angle, f.zeta, f.gamma,
                           exponent, angles, std::move(weights)});
}

Index GeneralPlan::find_radial(const SymmetryFunction& f) {
  const auto found = std::find_if(radials_.begin(), radials_.end(), [&](const Radial& each) {
    return each.eta == f.eta && each.r_s == f.r_s && same(each.window, f.form.window);
  });
  const Index index = found - radials_.begin();
  if (found == radials_.end()) radials_.push_back({f.eta, f.r_s, f.form.window});
  return index;
}

GeneralPlan::ValueAndSlope GeneralPlan::radial(const Radial& form, double r) {
  const Point window = at(form.window, r);
  if (form.eta == 0.0 || (window.value == 0.0 && window.slope == 0.0))
    return {window.value, window.slope};
  const double shift = r - form.r_s, gauss = std::exp(-form.eta * shift * shift);
  return {gauss * window.value, gauss * (window.slope - 2.0 * form.eta * shift * window.value)};
}

GeneralPlan::ValueAndSlope GeneralPlan::angular(const AngularSum& sum, double cosine) {
  if (sum.by_angle) {
    const double c = std::max(-1.0, std::min(1.0, cosine)), sine = std::sqrt((1.0 - c) * (1.0 + c));
    const Point found = at(sum.angles, std::acos(c));
    // where the sine is zero, so is what the slope is multiplied with
    return {found.value, sine == 0.0 ? 0.0 : -found.slope / sine};
  }
  const double half = 0.5 * (1.0 + sum.gamma * cosine);
  if (half <= 0.0) return {0.0, 0.0};
  const double lower =
      sum.exponent > 0 ? power(half, sum.exponent - 1) : std::pow(half, sum.zeta - 1.0);
  return {2.0 * lower * half, sum.gamma * sum.zeta * lower};
}

template <bool Derivatives>
void GeneralPlan::evaluate(Workspace& work) const {
  const Index n = static_cast<Index>(work.bonds.size()), ns = n_species_;
  const Index forms = static_cast<Index>(radials_.size());
  const Index places = static_cast<Index>(columns_.size());
  // value and slope of every radial part for every bond, and of one pair at a time
  double* const radials = work.general_radial.require(2 * forms * (n + 1));
  if (Derivatives) std::fill_n(work.general.require(3 * places * n), 3 * places * n, 0.0);
  std::vector<int>& species = work.general_species;
  species.clear();
  for (int s = 0; s < ns; ++s) species.insert(species.end(), work.count[s], s);
  for (Index b = 0; b < n; ++b)
    for (Index f = 0; f < forms; ++f) {
      const ValueAndSlope found = radial(radials_[f], work.bonds[b].distance);
      radials[2 * (b * forms + f)] = found.value;
      radials[2 * (b * forms + f) + 1] = found.slope;
    }
  for (Index b = 0; b < n; ++b) {
    const Bond& bond = work.bonds[b];
    for (const RadialSum& sum : radial_sums_) {
      const double weight = sum.weights[species[b]];
      if (weight == 0.0) continue;
      const double* const own = radials + 2 * (b * forms + sum.radial);
      work.features[columns_[sum.place]] += weight * own[0];
      if (!Derivatives) continue;
      const double along = weight * own[1] / bond.distance;
      double* const d = work.general.data() + 3 * (b * places + sum.place);
      d[0] += along * bond.x;
      d[1] += along * bond.y;
      d[2] += along * bond.z;
    }
  }
  if (angular_sums_.empty()) return;
  for (Index j = 0; j < n; ++j)
    add_pairs<Derivatives>(j, species[j], species, work, radials + 2 * n * forms);
}

// All pairs of bond j with a later one.
template <bool Derivatives>
void GeneralPlan::add_pairs(Index j, int species_j, const std::vector<int>& species,
                            Workspace& work, double* between) const {
  const Index n = static_cast<Index>(work.bonds.size());
  const Index forms = static_cast<Index>(radials_.size());
  const Index places = static_cast<Index>(columns_.size());
  const double* const radials = work.general_radial.data();
  const Bond& a = work.bonds[j];
  const double ua[3] = {a.x / a.distance, a.y / a.distance, a.z / a.distance};
  for (Index k = j + 1; k < n; ++k) {
    const Bond& b = work.bonds[k];
    const double ub[3] = {b.x / b.distance, b.y / b.distance, b.z / b.distance};
    const double cosine = ua[0] * ub[0] + ua[1] * ub[1] + ua[2] * ub[2];
    double e[3] = {b.x - a.x, b.y - a.y, b.z - a.z}, apart = 0.0;
    if (has_closed_) {
      apart = std::sqrt(e[0] * e[0] + e[1] * e[1] + e[2] * e[2]);
      for (double& each : e) each /= apart;
      std::fill_n(between, 2 * forms, std::numeric_limits<double>::quiet_NaN());
    }
    for (const AngularSum& sum : angular_sums_) {
      const double weight = sum.weights[species_j * n_species_ + species[k]];
      if (weight == 0.0) continue;
      const double* const of_a = radials + 2 * (j * forms + sum.radial);
      const double* const of_b = radials + 2 * (k * forms + sum.radial);
      if ((of_a[0] == 0.0 && of_a[1] == 0.0) || (of_b[0] == 0.0 && of_b[1] == 0.0)) continue;
      ValueAndSlope third{1.0, 0.0};
      if (sum.is_closed) {
        double* const known = between + 2 * sum.radial;
        if (std::isnan(known[0])) {
          const ValueAndSlope found = radial(radials_[sum.radial], apart);
          known[0] = found.value;
          known[1] = found.slope;
        }
        third = {known[0], known[1]};
        if (third.value == 0.0 && third.slope == 0.0) continue;
      }
      const ValueAndSlope angle = angular(sum, cosine);
      const double both = weight * of_a[0] * of_b[0];
      work.features[columns_[sum.place]] += both * third.value * angle.value;
      if (!Derivatives) continue;
      const double rest = weight * third.value * angle.value;
      const double turn = both * third.value * angle.slope;
      const double along_a = rest * of_a[1] * of_b[0] - turn * cosine / a.distance;
      const double along_b = rest * of_a[0] * of_b[1] - turn * cosine / b.distance;
      const double apart_slope = both * third.slope * angle.value;
      double* const da = work.general.data() + 3 * (j * places + sum.place);
      double* const db = work.general.data() + 3 * (k * places + sum.place);
      for (int x = 0; x < 3; ++x) {
        da[x] += along_a * ua[x] + turn / a.distance * ub[x] - apart_slope * e[x];
        db[x] += along_b * ub[x] + turn / b.distance * ua[x] + apart_slope * e[x];
      }
    }
  }
}

template void GeneralPlan::evaluate<false>(Workspace&) const;
template void GeneralPlan::evaluate<true>(Workspace&) const;

void GeneralPlan::contract(Workspace& work, const double* gradient, Index lanes,
                           double* out) const {
  const Index n = static_cast<Index>(work.bonds.size());
  const double* d = work.general.data();
  for (Index b = 0; b < n; ++b)
    for (const Index column : columns_)
      for (int x = 0; x < 3; ++x, ++d) {
        if (*d == 0.0) continue;
        double* const row = out + (3 * b + x) * lanes;
        for (Index l = 0; l < lanes; ++l) row[l] += *d * gradient[column * lanes + l];
      }
}

void GeneralPlan::add_forces(Workspace& work, const double* gradient, Index lanes, const int* rows,
                             Index self, double* forces) const {
  const Index n = static_cast<Index>(work.bonds.size());
  const double* d = work.general.data();
  for (Index b = 0; b < n; ++b)
    for (const Index column : columns_)
      for (int x = 0; x < 3; ++x, ++d) {
        if (*d == 0.0) continue;
        double* const own = forces + (3 * self + x) * lanes;
        double* const other = forces + (3 * Index{rows[work.bonds[b].atom]} + x) * lanes;
        for (Index l = 0; l < lanes; ++l) {
          const double pull = *d * gradient[column * lanes + l];
          other[l] -= pull;
          own[l] += pull;
        }
      }
}

}  // namespace nearsight
