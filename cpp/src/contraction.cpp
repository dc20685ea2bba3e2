// dE/dG contracted with dG/dr of the bonds of one atom, E in the lanes.
#include <algorithm>

#include "kernels.hpp"

namespace nearsight {

namespace {

void get(const double* p, double& value) { value = *p; }
void get(const double* p, Vec& value) { value = load(p); }
void put(double* p, double value) { *p = value; }
void put(double* p, Vec value) { store(p, value); }

// Where the contraction puts its results: first of some lanes, then of one bond, then
// `add(place, value)` with the place in (3, lanes).

// An array (bonds, 3, lanes).
struct ToArray {
  double* out;
  Index lanes;

  struct AtBond {
    double* row;
    template <class Value>
    void add(Index place, Value value) const {
      put(row + place, value);
    }
  };
  ToArray at_lane(Index lane) const { return {out + lane, lanes}; }
  AtBond at_bond(Index bond) const { return {out + bond * 3 * lanes}; }
};

// Forces (atoms, 3, lanes) on the central atom and on the other atom of the bond.
struct ToForces {
  double *forces, *own;
  const Bond* bonds;
  const int* rows;
  Index lanes;

  struct AtBond {
    double *own, *other;
    template <class Value>
    void add(Index place, Value value) const {
      Value force;
      get(other + place, force);
      put(other + place, force - value);
      get(own + place, force);
      put(own + place, force + value);
    }
  };
  ToForces at_lane(Index lane) const { return {forces + lane, own + lane, bonds, rows, lanes}; }
  AtBond at_bond(Index bond) const { return {own, forces + rows[bonds[bond].atom] * 3 * lanes}; }
};

// Width values (numbers or vectors) of E side by side; `gradient` with respect to what the bonds of
// every species have: its G2, then its sums.
template <class Value, int Width, class Sink>
void contract_lanes(const SymmetryPlan& plan, const CenterPlan& center, const Workspace& work,
                    const NeighborTable& table, const double* slopes, const double* angular,
                    const double* gradient, Index lanes, const Sink& sink) {
  constexpr Index step = sizeof(Value) / sizeof(double);
  const int ns = plan.n_species();
  Index bond = 0;
  for (int s = 0; s < ns; ++s) {
    const Index n_radial = static_cast<Index>(center.radial[s].columns.size());
    const double* const of_sums = gradient + n_radial * lanes;
    const Index n_sums = center.sums[s], inner = work.slot[s] + work.inner[s];
    for (Index b = work.slot[s]; b < work.slot[s] + work.count[s]; ++b, ++bond) {
      Value part[3][Width] = {};  // along u, e1, e2
      const auto row = [&](const double* from, int w) {
        Value g;
        get(from + w * step, g);
        return g;
      };
      for (Index f = 0; f < n_radial; ++f) {
        const double d = slopes[f * table.slots + b];
        for (int w = 0; w < Width; ++w) part[0][w] += row(gradient + f * lanes, w) * d;
      }
      const double* d = angular + b * center.max_sums * kAngularParts;
      const Index own_sums = b < inner ? n_sums : 0;
      for (Index n = 0; n < own_sums; ++n, d += kAngularParts)
        for (int w = 0; w < Width; ++w) {
          const Value g = row(of_sums + n * lanes, w);
          for (int p = 0; p < 3; ++p) part[p][w] += g * d[1 + p];
        }
      const double* const own = table.of(b);
      const auto target = sink.at_bond(bond);
      for (int a = 0; a < 3; ++a) {
        const double u = own[(table.kU + a) * kPairLanes], e1 = own[(table.kE1 + a) * kPairLanes],
                     e2 = own[(table.kE2 + a) * kPairLanes];
        for (int w = 0; w < Width; ++w)
          target.add(a * lanes + w * step, u * part[0][w] + e1 * part[1][w] + e2 * part[2][w]);
      }
    }
    gradient = of_sums + n_sums * lanes;
  }
}

// dE/dG turned into dE/d(G2 and sums) of every species.
const double* per_sum_gradient(const CenterPlan& center, Workspace& work, const double* gradient,
                               Index lanes) {
  const std::size_t ns = center.radial.size();
  Index rows = center.all_sums;
  for (const RadialPlan& radial : center.radial) rows += static_cast<Index>(radial.columns.size());
  double* const result = work.per_sum.require(rows * lanes);
  double* to = result;
  for (std::size_t s = 0; s < ns; ++s) {
    for (const Index column : center.radial[s].columns)
      to = std::copy_n(gradient + column * lanes, lanes, to);
    std::fill_n(to, center.sums[s] * lanes, 0.0);
    for (std::size_t t = 0; t < ns; ++t)
      for (const auto* groups : {&center.g4, &center.g5})
        for (const AngularTerm& term : (*groups)[s * ns + t].terms)
          for (int e = 0; e < 2; ++e)
            for (Index l = 0; l < lanes; ++l)
              to[term.sum[e] * lanes + l] +=
                  term.coefficient[e] * gradient[term.column * lanes + l];
    to += center.sums[s] * lanes;
  }
  return result;
}

template <class Sink>
void contract_all(const SymmetryPlan& plan, int species, Workspace& work, const double* gradient,
                  Index lanes, const Sink& sink) {
  const CenterPlan& center = plan.centers[species];
  const double* const per_sum = per_sum_gradient(center, work, gradient, lanes);
  const NeighborTable table(work.slot[plan.n_species()], static_cast<Index>(plan.forms.size()),
                            plan.pair_forms, work.neighbors);
  const double *const slopes = work.slopes.data(), *const angular = work.angular.data();
  const auto contract = [&](auto value, auto width, Index lane) {
    contract_lanes<decltype(value), width()>(plan, center, work, table, slopes, angular,
                                             per_sum + lane, lanes, sink.at_lane(lane));
  };
  if (lanes == 1) return contract(0.0, std::integral_constant<int, 1>(), 0);
  Index lane = 0;
  for (; lane + 3 * kPairLanes <= lanes; lane += 3 * kPairLanes)
    contract(Vec{}, std::integral_constant<int, 3>(), lane);
  for (; lane < lanes; lane += kPairLanes) contract(Vec{}, std::integral_constant<int, 1>(), lane);
}

}  // namespace

void SymmetryFunctions::contract(int center, Workspace& work, const double* gradient, Index lanes,
                                 double* out) const {
  contract_all(*plan_, center, work, gradient, lanes, ToArray{out, lanes});
  const GeneralPlan& general = plan_->centers[center].general;
  if (!general.empty()) general.contract(work, gradient, lanes, out);
}

void SymmetryFunctions::add_forces(int center, Workspace& work, const double* gradient, Index lanes,
                                   const int* rows, Index self, double* forces) const {
  contract_all(*plan_, center, work, gradient, lanes,
               ToForces{forces, forces + self * 3 * lanes, work.bonds.data(), rows, lanes});
  const GeneralPlan& general = plan_->centers[center].general;
  if (!general.empty()) general.add_forces(work, gradient, lanes, rows, self, forces);
}

}  // namespace nearsight
