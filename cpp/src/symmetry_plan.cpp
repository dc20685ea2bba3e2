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
  if (!std::isfinite(f.r_s))
    throw std::invalid_argument("R_s of a symmetry function must be finite");
  if (angular && !(f.zeta >= 1.0 && f.zeta <= kMaxZeta))
    throw std::invalid_argument("zeta of an angular symmetry function must be 1 to 10000");
  if (angular && !(std::abs(f.gamma) <= 1.0))
    throw std::invalid_argument("gamma of an angular symmetry function must lie in [-1, 1]");
}

bool is_general(const SymmetryFunction& f) {
  return f.kind == FunctionKind::kRadial || f.kind == FunctionKind::kAngular;
}

// Without eta a shift says nothing.
RadialForm form_of(const SymmetryFunction& f) { return {f.eta, f.eta == 0.0 ? 0.0 : f.r_s}; }

// Whether moments serve a function: what they add up is as large as (sum A)^2, so a narrow A, of
// which pairs that count little have 1e-5 of it and less, would lose its last digits. A shell
// is where many neighbours are; an atom of which it has but one is taken by pairs after all.
bool has_moments(const SymmetryFunction& f) {
  constexpr double kMaxEta = 4.0;
  return f.kind == FunctionKind::kG5 && f.zeta <= kMaxRank && f.zeta == std::floor(f.zeta) &&
         (f.eta <= kMaxEta || f.r_s != 0.0);
}

// Distinct forms of the angular functions that moments serve, or do not.
std::set<RadialForm> distinct_forms(const std::vector<SymmetryFunction>& functions,
                                    bool by_moments) {
  std::set<RadialForm> forms;
  for (const SymmetryFunction& f : functions)
    if (f.kind != FunctionKind::kG2 && !is_general(f) && has_moments(f) == by_moments)
      forms.insert(form_of(f));
  return forms;
}

// Those of loops over pairs first.
std::vector<RadialForm> ordered_forms(const std::vector<SymmetryFunction>& functions) {
  const std::set<RadialForm> of_pairs = distinct_forms(functions, false);
  std::vector<RadialForm> forms(of_pairs.begin(), of_pairs.end());
  for (const RadialForm& form : distinct_forms(functions, true))
    if (of_pairs.count(form) == 0) forms.push_back(form);
  return forms;
}

// Sums that a group needs. Half of P = 2^(1-zeta) (1 + gamma c)^zeta is q^zeta with
// q = (1 + gamma c) / 2, one sum for each function, or, with zeta = 1, 1/2 + gamma/2 c: all
// functions with one form share two sums. The powers in use everywhere are unrolled, and taken of
// p = (c + 1 / gamma) / zeta instead: one multiplication less, since dp^zeta/dc is p^(zeta-1).
void plan_passes(AngularPlan& group, Index& sums) {
  for (AngularTerm& term : group.terms) {
    if (term.by_moments) continue;
    const bool linear = term.zeta == 1.0;
    auto pass = std::find_if(group.passes.begin(), group.passes.end(), [&](const AngularPass& p) {
      if (p.zeta != term.zeta) return false;
      return linear ? p.form[0] == term.form : p.gamma == term.gamma && p.sums == 1;
    });
    if (pass == group.passes.end()) {
      const double whole = std::round(term.zeta);
      const int exponent = whole == term.zeta && whole < 1e6 ? static_cast<int>(whole) : 0;
      const bool unrolled = (exponent == 2 || exponent == 4 || exponent == 8 || exponent == 16) &&
                            std::abs(term.gamma) > 1e-3;
      const double scale = unrolled ? 1.0 / term.zeta : 0.5 * term.gamma;
      const double offset = unrolled ? 1.0 / (term.gamma * term.zeta) : 0.5;
      group.passes.push_back({term.zeta,
                              term.gamma,
                              exponent,
                              unrolled,
                              scale,
                              offset,
                              1,
                              {term.form, term.form},
                              {}});
      pass = group.passes.end() - 1;
      pass->sum[0] = pass->sum[1] = sums++;
      if (linear) pass->sum[pass->sums++] = sums++;
    } else if (!linear) {
      pass->form[1] = term.form;
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

// Half of P = 2^-zeta (1 + gamma c)^zeta, multiplied out. For j and k of one species the sum over
// all j and k counts every j with itself.
MomentSum moment_sum(const AngularTerm& term, bool one_species, Index sum) {
  const int power = static_cast<int>(term.zeta);
  MomentSum made{sum, power, term.gamma, {}, {}, 0.0};
  double coefficient = std::ldexp(1.0, -power);
  for (int rank = 0; rank <= power; ++rank) {
    made.coefficient[rank] = coefficient;
    made.slope[rank] = rank * coefficient;
    if (one_species) made.self += coefficient;
    coefficient *= term.gamma * (power - rank) / (rank + 1);
  }
  return made;
}

// The set of moments of a species, with this rank at least.
Index moment_set(std::vector<MomentSet>& sets, int species, Index form, int rank) {
  auto set = std::find_if(sets.begin(), sets.end(), [&](const MomentSet& s) {
    return s.species == species && s.form == form;
  });
  if (set == sets.end()) set = sets.insert(set, {species, form, rank});
  set->rank = std::max(set->rank, rank);
  return set - sets.begin();
}

// Sums from moments for the functions of species s of j and t of k that they serve.
void plan_moments(AngularPlan& group, int s, int t, std::vector<MomentSet>& sets, Index& sums) {
  for (AngularTerm& term : group.terms) {
    if (!term.by_moments) continue;
    const int rank = static_cast<int>(term.zeta);
    auto pass = std::find_if(group.moments.begin(), group.moments.end(),
                             [&](const MomentPass& p) { return p.form == term.form; });
    if (pass == group.moments.end())
      pass = group.moments.insert(pass, {term.form, 0, 0, term.is_shifted, 0, {}});
    pass->rank = std::max(pass->rank, rank);
    pass->own = moment_set(sets, s, term.form, rank);
    pass->other = moment_set(sets, t, term.form, rank);
    term.sum[0] = term.sum[1] = sums;
    term.coefficient[0] = 1.0;
    pass->sums.push_back(moment_sum(term, s == t, sums++));
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
        plan_moments(group, static_cast<int>(s), static_cast<int>(t), center.moments,
                     center.sums[s]);
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

SymmetryPlan::SymmetryPlan(int n_species, const Cutoff& cutoff, const Cutoff& angular,
                           const std::vector<SymmetryFunction>& functions)
    : cutoff(cutoff),
      angular(angular),
      apart(false),
      forms(ordered_forms(functions)),
      pair_forms(static_cast<Index>(distinct_forms(functions, false).size())),
      radial(angular, forms),
      of_cutoff(cutoff, {}) {
  if (n_species < 1) throw std::invalid_argument("at least one species is needed");
  if (angular.radius > cutoff.radius)
    throw std::invalid_argument("the angular cutoff must not be larger than the cutoff");
  apart = angular.kind != cutoff.kind || angular.radius != cutoff.radius ||
          angular.gamma != cutoff.gamma;
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
    const RadialForm form = form_of(f);
    const Index index = std::find(forms.begin(), forms.end(), form) - forms.begin();
    const AngularTerm term{f.zeta, f.gamma, index, form.r_s != 0.0, has_moments(f), column, {}, {}};
    auto& groups = f.kind == FunctionKind::kG4 ? center.g4 : center.g5;
    groups[static_cast<std::size_t>(f.first) * n_species + f.second].terms.push_back(term);
    if (f.first != f.second)
      groups[static_cast<std::size_t>(f.second) * n_species + f.first].terms.push_back(term);
  }
  for (CenterPlan& center : centers) plan_angular(center, centers.size());
}

}  // namespace nearsight
