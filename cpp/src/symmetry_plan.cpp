#include "symmetry_plan.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

namespace nearsight {

namespace {

void check(const SymmetryFunction& f, int n_species) {
  const auto known = [&](int s) { return s >= 0 && s < n_species; };
  const bool angular = f.kind != FunctionKind::kG2;
  if (!known(f.center) || !known(f.first) || (angular && !known(f.second)))
    throw std::invalid_argument("a symmetry function names a species that does not exist");
  if (!(f.eta >= 0.0 && std::isfinite(f.eta)))
    throw std::invalid_argument("eta of a symmetry function must not be negative");
  if (!angular && !std::isfinite(f.r_s))
    throw std::invalid_argument("R_s of a G2 symmetry function must be finite");
  if (angular && !(f.zeta >= 1.0 && std::isfinite(f.zeta)))
    throw std::invalid_argument("zeta of an angular symmetry function must be at least 1");
  if (angular && !(std::abs(f.gamma) <= 1.0))
    throw std::invalid_argument("gamma of an angular symmetry function must lie in [-1, 1]");
}

bool is_general(const SymmetryFunction& f) {
  return f.kind == FunctionKind::kRadial || f.kind == FunctionKind::kAngular;
}

std::vector<double> distinct_etas(const std::vector<SymmetryFunction>& functions) {
  std::set<double> etas;
  for (const SymmetryFunction& f : functions)
    if (f.kind != FunctionKind::kG2 && !is_general(f)) etas.insert(f.eta);
  return {etas.begin(), etas.end()};
}

// Sums that a group needs. Half of P = 2^(1-zeta) (1 + gamma c)^zeta is q^zeta with
// q = (1 + gamma c) / 2, one sum for each function, or, with zeta = 1, 1/2 + gamma/2 c: all
// functions with one eta share two sums. The powers in use everywhere are unrolled, and taken of
// p = (c + 1 / gamma) / zeta instead: one multiplication less, since dp^zeta/dc is p^(zeta-1).
void plan_passes(AngularPlan& group, Index& sums) {
  for (AngularTerm& term : group.terms) {
    const bool linear = term.zeta == 1.0;
    auto pass = std::find_if(group.passes.begin(), group.passes.end(), [&](const AngularPass& p) {
      if (p.zeta != term.zeta) return false;
      return linear ? p.eta[0] == term.eta : p.gamma == term.gamma && p.sums == 1;
    });
    if (pass == group.passes.end()) {
      const double whole = std::round(term.zeta);
      const int exponent = whole == term.zeta && whole < 1e6 ? static_cast<int>(whole) : 0;
      const bool unrolled = (exponent == 2 || exponent == 4 || exponent == 8 || exponent == 16) &&
                            std::abs(term.gamma) > 1e-3;
      const double scale = unrolled ? 1.0 / term.zeta : 0.5 * term.gamma;
      const double offset = unrolled ? 1.0 / (term.gamma * term.zeta) : 0.5;
      group.passes.push_back(
          {term.zeta, term.gamma, exponent, unrolled, scale, offset, 1, {term.eta, term.eta}, {}});
      pass = group.passes.end() - 1;
      pass->sum[0] = pass->sum[1] = sums++;
      if (linear) pass->sum[pass->sums++] = sums++;
    } else if (!linear) {
      pass->eta[1] = term.eta;
      pass->sum[pass->sums++] = sums++;
    }
    term.sum[1] = pass->sum[pass->sums - 1];
    term.sum[0] = linear ? pass->sum[0] : term.sum[1];
    term.coefficient[0] = linear           ? 0.5
                          : pass->unrolled ? std::pow(0.5 * term.gamma * term.zeta, term.zeta)
                                           : 1.0;
    term.coefficient[1] = linear ? 0.5 * term.gamma : 0.0;
  }
}

// Numbers the sums of a central species, those of every j's species from 0.
void plan_angular(CenterPlan& center, std::size_t ns) {
  center.sums.assign(ns, 0);
  for (std::size_t s = 0; s < ns; ++s) {
    for (std::size_t t = 0; t < ns; ++t)
      for (auto* groups : {&center.g4, &center.g5}) {
        AngularPlan& group = (*groups)[s * ns + t];
        group.first = center.all_sums;
        plan_passes(group, center.sums[s]);
      }
    center.max_sums = std::max(center.max_sums, center.sums[s]);
    center.all_sums += center.sums[s];
  }
}

}  // namespace

Cutoff::Cutoff(CutoffKind kind, double radius, double gamma)
    : kind(kind), radius(radius), gamma(gamma) {
  if (!(radius > 0.0 && std::isfinite(radius)))
    throw std::invalid_argument("the cutoff radius must be a positive number of Å");
  if (kind == CutoffKind::kPolynomial && !(gamma >= 2.0 && std::isfinite(gamma)))
    throw std::invalid_argument("gamma of the polynomial cutoff must be at least 2");
}

SymmetryPlan::SymmetryPlan(int n_species, const Cutoff& cutoff,
                           const std::vector<SymmetryFunction>& functions)
    : cutoff(cutoff), etas(distinct_etas(functions)), radial(cutoff, etas) {
  if (n_species < 1) throw std::invalid_argument("at least one species is needed");
  const std::size_t pairs = static_cast<std::size_t>(n_species) * n_species;
  centers.resize(n_species);
  for (CenterPlan& center : centers) {
    center.radial.resize(n_species);
    center.g4.resize(pairs);
    center.g5.resize(pairs);
  }
  for (const SymmetryFunction& f : functions) {
    is_general(f) ? check_general(f, n_species, cutoff.radius) : check(f, n_species);
    CenterPlan& center = centers[f.center];
    const Index column = center.size++;
    max_size = std::max(max_size, center.size);
    if (is_general(f)) {
      center.general.add(f, column, n_species);
      continue;
    }
    if (f.kind == FunctionKind::kG2) {
      RadialPlan& radial_plan = center.radial[f.first];
      radial_plan.eta.push_back(f.eta / (cutoff.radius * cutoff.radius));
      radial_plan.r_s.push_back(f.r_s);
      radial_plan.columns.push_back(column);
      center.max_radial = std::max(center.max_radial, static_cast<Index>(radial_plan.eta.size()));
      continue;
    }
    const Index eta = std::lower_bound(etas.begin(), etas.end(), f.eta) - etas.begin();
    const AngularTerm term{f.zeta, f.gamma, eta, column, {}, {}};
    auto& groups = f.kind == FunctionKind::kG4 ? center.g4 : center.g5;
    groups[static_cast<std::size_t>(f.first) * n_species + f.second].terms.push_back(term);
    if (f.first != f.second)
      groups[static_cast<std::size_t>(f.second) * n_species + f.first].terms.push_back(term);
  }
  for (CenterPlan& center : centers) plan_angular(center, centers.size());
}

}  // namespace nearsight
