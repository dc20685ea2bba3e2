#include "nearsight/symmetry_functions.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels.hpp"

namespace nearsight {

namespace {

// Sorts the bonds by species, those within the angular cutoff before the others, and counts them.
void group_by_species(const SymmetryPlan& plan, const std::vector<int>& species, Workspace& work) {
  const int ns = plan.n_species();
  work.count.assign(ns, 0);
  work.slot.resize(ns + 1);
  if (ns == 1 && !plan.apart) {
    work.count[0] = static_cast<Index>(work.bonds.size());
    work.inner = work.count;
    return;
  }
  const Index groups = plan.apart ? 2 : 1;
  const auto group_of = [&](const Bond& bond) {
    const Index s = species[bond.atom];
    return plan.apart ? 2 * s + (bond.distance < plan.angular.radius ? 0 : 1) : s;
  };
  work.fill.assign(groups * ns + 1, 0);
  for (const Bond& bond : work.bonds) ++work.fill[group_of(bond) + 1];
  work.inner.resize(ns);
  for (int s = 0; s < ns; ++s) {
    work.inner[s] = work.fill[groups * s + 1];
    for (Index g = 1; g <= groups; ++g) work.count[s] += work.fill[groups * s + g];
  }
  for (std::size_t g = 1; g < work.fill.size(); ++g) work.fill[g] += work.fill[g - 1];
  work.unsorted.swap(work.bonds);
  work.bonds.resize(work.unsorted.size());
  for (const Bond& bond : work.unsorted) work.bonds[work.fill[group_of(bond)]++] = bond;
}

NeighborTable tabulate(const SymmetryPlan& plan, Workspace& work) {
  const Index n_forms = static_cast<Index>(plan.forms.size());
  const int ns = plan.n_species();
  Index slots = 0;
  for (int s = 0; s < ns; ++s) {
    work.slot[s] = slots;
    slots += padded(work.count[s], kPairLanes);
  }
  work.slot[ns] = slots;
  const NeighborTable table(slots, n_forms, plan.pair_forms, work.neighbors);
  std::fill_n(table.place, 3 * table.places, kFarAway);
  const double square = plan.cutoff.radius * plan.cutoff.radius,
               angular_square = plan.angular.radius * plan.angular.radius;
  const Bond* bond = work.bonds.data();
  for (int s = 0; s < ns; ++s) {
    const Bond* const end = bond + work.count[s];
    for (Index slot = work.slot[s]; slot < work.slot[s + 1]; slot += kPairLanes) {
      Vec x = broadcast(plan.cutoff.radius), y{}, z{}, r = x, filled{};
      for (Index l = 0; l < kPairLanes && bond != end; ++l, ++bond) {
        x[l] = bond->x;
        y[l] = bond->y;
        z[l] = bond->z;
        r[l] = bond->distance;
        filled[l] = 1.0;
        table.place[slot + l] = static_cast<float>(bond->x);
        table.place[table.places + slot + l] = static_cast<float>(bond->y);
        table.place[2 * table.places + slot + l] = static_cast<float>(bond->z);
      }
      const auto put = [&](Index row, Vec value) { store(table.row(slot, row), value); };
      const Vec ux = x / r, uy = y / r, uz = z / r, squared = r * r / angular_square;
      const Vec sign = uz < 0.0 ? broadcast(-1.0) : broadcast(1.0), a = -1.0 / (sign + uz);
      put(table.kU, ux);
      put(table.kU + 1, uy);
      put(table.kU + 2, uz);
      put(table.kE1, 1.0 + sign * ux * ux * a);
      put(table.kE1 + 1, sign * ux * uy * a);
      put(table.kE1 + 2, -sign * ux);
      put(table.kE2, sign * ux * uy * a);
      put(table.kE2 + 1, 1.0 + sign * uy * uy * a);
      put(table.kE2 + 2, -sign * uy);
      put(table.kTilt, a);
      put(table.kR, r);
      put(table.kX, squared);
      Vec t = 2.0 * squared - 1.0;
      if (plan.apart) t = min(t, 1.0);  // beyond the cutoff, A is zero
      const ValueAndSlope base = base_factor(plan.radial, t);
      const ValueAndSlope cut = plan.apart ? base_factor(plan.of_cutoff, 2.0 / square * r * r - 1.0)
                                           : cutoff_factor(plan.radial, t, base);
      put(table.kCutoff, filled * cut.a);
      put(table.kSlope, filled * cut.b * 2.0 * r / square);
      const Distance distance = distance_of(plan.radial, t);
      for (Index e = 0; e < n_forms; ++e) {
        const ValueAndSlope d =
            radial_factor(plan.radial, plan.radial.factors[e], t, distance, base);
        put(table.kRadial + 2 * e, d.a);
        put(table.kRadial + 2 * e + 1, d.b);
        if (e >= plan.pair_forms) continue;
        for (Index l = 0; l < kPairLanes; ++l)
          table.records[(slot + l) * table.width + table.kRecordA + e] = d.a[l];
      }
      for (Index l = 0; l < kPairLanes; ++l) {
        double* record = table.records + (slot + l) * table.width;
        record[0] = ux[l];
        record[1] = uy[l];
        record[2] = uz[l];
        record[table.kRecordR] = r[l];
      }
    }
  }
  std::fill_n(table.records + slots * table.width, table.width, 0.0);
  return table;
}

// Features from the sums over j.
void add_features(const CenterPlan& center, Workspace& work) {
  for (const auto* groups : {&center.g4, &center.g5})
    for (const AngularPlan& group : *groups)
      for (const AngularTerm& term : group.terms)
        for (int e = 0; e < 2; ++e)
          work.features[term.column] +=
              term.coefficient[e] * work.per_sum.data()[group.first + term.sum[e]];
}

}  // namespace

SymmetryFunctions::SymmetryFunctions(int n_species, const Cutoff& cutoff,
                                     const std::vector<SymmetryFunction>& functions,
                                     const std::optional<Cutoff>& angular)
    : plan_(
          std::make_shared<SymmetryPlan>(n_species, cutoff, angular.value_or(cutoff), functions)) {}

const Cutoff& SymmetryFunctions::cutoff() const { return plan_->cutoff; }
int SymmetryFunctions::n_species() const { return plan_->n_species(); }
Index SymmetryFunctions::size(int species) const { return plan_->centers[species].size; }
Index SymmetryFunctions::max_size() const { return plan_->max_size; }

void SymmetryFunctions::check(const Structure& structure) const {
  if (structure.n_species() > n_species())
    throw std::invalid_argument("the structure has species index " +
                                std::to_string(structure.n_species() - 1) + ", expected 0 to " +
                                std::to_string(n_species() - 1));
}

template <bool Derivatives>
void SymmetryFunctions::evaluate(int center, const std::vector<int>& species,
                                 Workspace& work) const {
  const CenterPlan& plan = plan_->centers[center];
  const int ns = n_species();
  group_by_species(*plan_, species, work);
  work.features.setZero(plan.size);
  const NeighborTable table = tabulate(*plan_, work);
  if (Derivatives) work.slopes.require(plan.max_radial * table.slots);
  work.angular.require(table.slots * plan.max_sums * kAngularParts);
  std::fill_n(work.per_sum.require(plan.all_sums), plan.all_sums, 0.0);
  for (int s = 0; s < ns; ++s)
    add_radial<Derivatives>(plan.radial[s], table, work.slot[s], work.slot[s + 1], work);
  if (plan_->pair_forms > 0) add_angular<Derivatives>(*plan_, plan, table, work);
  if (!plan.moments.empty()) add_moments<Derivatives>(*plan_, plan, table, work);
  add_features(plan, work);
  if (!plan.general.empty()) plan.general.evaluate<Derivatives>(work);
}

template void SymmetryFunctions::evaluate<false>(int, const std::vector<int>&, Workspace&) const;
template void SymmetryFunctions::evaluate<true>(int, const std::vector<int>&, Workspace&) const;

}  // namespace nearsight
