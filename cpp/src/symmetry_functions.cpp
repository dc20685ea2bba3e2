#include "nearsight/symmetry_functions.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "damping_lanes.hpp"
#include "neighbors.hpp"

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

std::vector<double> distinct_etas(const std::vector<SymmetryFunction>& functions) {
  std::set<double> etas;
  for (const SymmetryFunction& f : functions)
    if (f.kind != FunctionKind::kG2) etas.insert(f.eta);
  return {etas.begin(), etas.end()};
}

}  // namespace

SymmetryFunctions::SymmetryFunctions(int n_species, const Cutoff& cutoff,
                                     const std::vector<SymmetryFunction>& functions)
    : cutoff_(cutoff), etas_(distinct_etas(functions)), damping_(cutoff, etas_) {
  if (n_species < 1) throw std::invalid_argument("at least one species is needed");
  const std::size_t pairs = static_cast<std::size_t>(n_species) * n_species;
  centers_.resize(n_species);
  for (Center& center : centers_) {
    center.radial.resize(n_species);
    center.g4.resize(pairs);
    center.g5.resize(pairs);
  }
  for (const SymmetryFunction& f : functions) {
    check(f, n_species);
    Center& center = centers_[f.center];
    const Index column = center.size++;
    max_size_ = std::max(max_size_, center.size);
    if (f.kind == FunctionKind::kG2) {
      Radial& radial = center.radial[f.first];
      radial.eta.push_back(f.eta / (cutoff.radius * cutoff.radius));
      radial.r_s.push_back(f.r_s);
      radial.columns.push_back(column);
      center.most_radial = std::max(center.most_radial, static_cast<Index>(radial.eta.size()));
      continue;
    }
    const Index eta = std::lower_bound(etas_.begin(), etas_.end(), f.eta) - etas_.begin();
    const Term term{f.zeta, f.gamma, eta, column, {}, {}};
    auto& groups = f.kind == FunctionKind::kG4 ? center.g4 : center.g5;
    groups[static_cast<std::size_t>(f.first) * n_species + f.second].terms.push_back(term);
    if (f.first != f.second)
      groups[static_cast<std::size_t>(f.second) * n_species + f.first].terms.push_back(term);
  }
  for (Center& center : centers_) plan_angular(center);
}

// The sums that a group needs. Half of P = 2^(1-zeta) (1 + gamma c)^zeta is q^zeta with
// q = (1 + gamma c) / 2, one sum for each function, or, with zeta = 1, 1/2 + gamma/2 c: all
// functions with one eta share two sums. The powers in use everywhere are unrolled, and taken of
// p = (c + 1 / gamma) / zeta instead: one multiplication less, since dp^zeta/dc is p^(zeta-1).
void SymmetryFunctions::plan_passes(Angular& group, Index& sums) {
  for (Term& term : group.terms) {
    const bool linear = term.zeta == 1.0;
    auto pass = std::find_if(group.passes.begin(), group.passes.end(), [&](const Pass& p) {
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
    term.share[0] = linear           ? 0.5
                    : pass->unrolled ? std::pow(0.5 * term.gamma * term.zeta, term.zeta)
                                     : 1.0;
    term.share[1] = linear ? 0.5 * term.gamma : 0.0;
  }
}

void SymmetryFunctions::plan_angular(Center& center) const {
  const std::size_t ns = centers_.size();
  center.sums.assign(ns, 0);
  for (std::size_t s = 0; s < ns; ++s) {
    for (std::size_t t = 0; t < ns; ++t)
      for (auto* groups : {&center.g4, &center.g5}) {
        Angular& group = (*groups)[s * ns + t];
        group.first = center.all_sums;
        plan_passes(group, center.sums[s]);
      }
    center.most_sums = std::max(center.most_sums, center.sums[s]);
    center.all_sums += center.sums[s];
  }
}

SymmetryFunctions::Neighbors SymmetryFunctions::tabulate(Workspace& work) const {
  const Index n_etas = static_cast<Index>(etas_.size());
  const int ns = n_species();
  Index slots = 0;
  for (int s = 0; s < ns; ++s) {
    work.slot[s] = slots;
    slots += padded(work.count[s], kPairLanes);
  }
  work.slot[ns] = slots;
  const Neighbors near(slots, n_etas, work.neighbors);
  std::fill_n(near.place, 3 * near.places, kFarAway);
  const double square = cutoff_.radius * cutoff_.radius;
  const Bond* bond = work.bonds.data();
  for (int s = 0; s < ns; ++s) {
    const Bond* const end = bond + work.count[s];
    for (Index slot = work.slot[s]; slot < work.slot[s + 1]; slot += kPairLanes) {
      Lanes x = all(cutoff_.radius), y{}, z{}, r = x, filled{};
      for (Index l = 0; l < kPairLanes && bond != end; ++l, ++bond) {
        x[l] = bond->x;
        y[l] = bond->y;
        z[l] = bond->z;
        r[l] = bond->distance;
        filled[l] = 1.0;
        near.place[slot + l] = static_cast<float>(bond->x);
        near.place[near.places + slot + l] = static_cast<float>(bond->y);
        near.place[2 * near.places + slot + l] = static_cast<float>(bond->z);
      }
      const auto put = [&](Index column, Lanes value) { store(near.row(slot, column), value); };
      const Lanes ux = x / r, uy = y / r, uz = z / r, squared = r * r / square;
      const Lanes sign = uz < 0.0 ? all(-1.0) : all(1.0), a = -1.0 / (sign + uz);
      put(near.kU, ux);
      put(near.kU + 1, uy);
      put(near.kU + 2, uz);
      put(near.kE1, 1.0 + sign * ux * ux * a);
      put(near.kE1 + 1, sign * ux * uy * a);
      put(near.kE1 + 2, -sign * ux);
      put(near.kE2, sign * ux * uy * a);
      put(near.kE2 + 1, 1.0 + sign * uy * uy * a);
      put(near.kE2 + 2, -sign * uy);
      put(near.kTilt, a);
      put(near.kR, r);
      put(near.kX, squared);
      const Lanes t = 2.0 * squared - 1.0;
      const ValueAndSlope base = damping_base(damping_, t);
      const ValueAndSlope cut = damping_cutoff(damping_, t, base);
      put(near.kCutoff, filled * cut.a);
      put(near.kSlope, filled * cut.b * 2.0 * r / square);
      for (Index e = 0; e < n_etas; ++e) {
        const ValueAndSlope d = damping_factor(damping_.factors[e], t, base);
        put(near.kDamping + 2 * e, d.a);
        put(near.kDamping + 2 * e + 1, d.b);
        for (Index l = 0; l < kPairLanes; ++l)
          near.records[(slot + l) * near.width + near.kRecordA + e] = d.a[l];
      }
      for (Index l = 0; l < kPairLanes; ++l) {
        double* record = near.records + (slot + l) * near.width;
        record[0] = ux[l];
        record[1] = uy[l];
        record[2] = uz[l];
        record[near.kRecordR] = r[l];
      }
    }
  }
  std::fill_n(near.records + slots * near.width, near.width, 0.0);
  return near;
}

template <bool Derivatives>
void SymmetryFunctions::evaluate(int center, const int* species, Workspace& work) const {
  const Center& plan = centers_[center];
  const int ns = n_species();
  work.count.assign(ns, 0);
  work.slot.resize(ns + 1);
  if (ns == 1) {
    work.count[0] = static_cast<Index>(work.bonds.size());
  } else {
    for (const Bond& bond : work.bonds) ++work.count[species[bond.atom]];
    work.fill.assign(ns, 0);
    for (int s = 1; s < ns; ++s) work.fill[s] = work.fill[s - 1] + work.count[s - 1];
    work.unsorted.swap(work.bonds);
    work.bonds.resize(work.unsorted.size());
    for (const Bond& bond : work.unsorted) work.bonds[work.fill[species[bond.atom]]++] = bond;
  }
  work.features.setZero(plan.size);
  const Neighbors near = tabulate(work);
  if (Derivatives) work.slopes.require(plan.most_radial * near.slots);
  work.angular.require(near.slots * plan.most_sums * kAngularParts);
  std::fill_n(work.shares.require(plan.all_sums), plan.all_sums, 0.0);
  for (int s = 0; s < ns; ++s)
    add_radial<Derivatives>(plan.radial[s], near, work.slot[s], work.slot[s + 1], work);
  add_angular<Derivatives>(plan, near, work);
  add_features(plan, work);
}

template void SymmetryFunctions::evaluate<false>(int, const int*, Workspace&) const;
template void SymmetryFunctions::evaluate<true>(int, const int*, Workspace&) const;

}  // namespace nearsight
