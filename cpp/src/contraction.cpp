// dE/dG contracted with dG/dr of the bonds of one atom, E in the lanes.
#include <algorithm>

#include "lanes.hpp"
#include "neighbors.hpp"

namespace nearsight {

namespace {

void get(const double* p, double& value) { value = *p; }
void get(const double* p, Lanes& value) { value = load(p); }
void put(double* p, double value) { *p = value; }
void put(double* p, Lanes value) { store(p, value); }

}  // namespace

// Width values (numbers or vectors) of E side by side, handed to put(bond)(place, value), place in
// (3, lanes); `gradient` with respect to what the bonds of every species have: its G2, then its
// sums.
template <class Value, int Width, class Put>
void SymmetryFunctions::contract_block(const Center& center, Workspace& work,
                                       const double* gradient, Index lanes, const Put& put) const {
  constexpr Index step = sizeof(Value) / sizeof(double);
  const int ns = n_species();
  const Neighbors near(work.slot[ns], static_cast<Index>(etas_.size()), work.neighbors);
  Index bond = 0;
  for (int s = 0; s < ns; ++s) {
    const Index n_radial = static_cast<Index>(center.radial[s].columns.size());
    const double* const of_sums = gradient + n_radial * lanes;
    const Index n_sums = center.sums[s];
    for (Index b = work.slot[s]; b < work.slot[s] + work.count[s]; ++b, ++bond) {
      Value part[3][Width] = {};  // along u, e1, e2
      const auto row = [&](const double* from, int w) {
        Value g;
        get(from + w * step, g);
        return g;
      };
      for (Index f = 0; f < n_radial; ++f) {
        const double d = work.slopes.data()[f * near.slots + b];
        for (int w = 0; w < Width; ++w) part[0][w] += row(gradient + f * lanes, w) * d;
      }
      const double* d = work.angular.data() + b * center.most_sums * kAngularParts;
      for (Index n = 0; n < n_sums; ++n, d += kAngularParts)
        for (int w = 0; w < Width; ++w) {
          const Value g = row(of_sums + n * lanes, w);
          for (int p = 0; p < 3; ++p) part[p][w] += g * d[1 + p];
        }
      const double* const own = near.of(b);
      const auto to = put(bond);
      for (int a = 0; a < 3; ++a) {
        const double u = own[(near.kU + a) * kPairLanes], e1 = own[(near.kE1 + a) * kPairLanes],
                     e2 = own[(near.kE2 + a) * kPairLanes];
        for (int w = 0; w < Width; ++w)
          to(a * lanes + w * step, u * part[0][w] + e1 * part[1][w] + e2 * part[2][w]);
      }
    }
    gradient = of_sums + n_sums * lanes;
  }
}

// dE/dG with respect to what the bonds have.
const double* SymmetryFunctions::share_gradient(const Center& plan, Workspace& work,
                                                const double* gradient, Index lanes) const {
  const std::size_t ns = centers_.size();
  Index rows = plan.all_sums;
  for (const Radial& radial : plan.radial) rows += static_cast<Index>(radial.columns.size());
  double* const shares = work.shares.require(rows * lanes);
  double* to = shares;
  for (std::size_t s = 0; s < ns; ++s) {
    for (const Index column : plan.radial[s].columns)
      to = std::copy_n(gradient + column * lanes, lanes, to);
    std::fill_n(to, plan.sums[s] * lanes, 0.0);
    for (std::size_t t = 0; t < ns; ++t)
      for (const auto* groups : {&plan.g4, &plan.g5})
        for (const Term& term : (*groups)[s * ns + t].terms)
          for (int e = 0; e < 2; ++e)
            for (Index l = 0; l < lanes; ++l)
              to[term.sum[e] * lanes + l] += term.share[e] * gradient[term.column * lanes + l];
    to += plan.sums[s] * lanes;
  }
  return shares;
}

template <class Put>
void SymmetryFunctions::contract_all(int center, Workspace& work, const double* gradient,
                                     Index lanes, const Put& put) const {
  const Center& plan = centers_[center];
  const double* const shares = share_gradient(plan, work, gradient, lanes);
  if (lanes == 1) return contract_block<double, 1>(plan, work, shares, 1, put(0));
  Index lane = 0;
  for (; lane + 3 * kPairLanes <= lanes; lane += 3 * kPairLanes)
    contract_block<Lanes, 3>(plan, work, shares + lane, lanes, put(lane));
  for (; lane < lanes; lane += kPairLanes)
    contract_block<Lanes, 1>(plan, work, shares + lane, lanes, put(lane));
}

void SymmetryFunctions::contract(int center, Workspace& work, const double* gradient, Index lanes,
                                 double* out) const {
  contract_all(center, work, gradient, lanes, [=](Index lane) {
    return [=](Index bond) {
      double* const row = out + bond * 3 * lanes + lane;
      return [=](Index place, auto value) { put(row + place, value); };
    };
  });
}

void SymmetryFunctions::add_forces(int center, Workspace& work, const double* gradient, Index lanes,
                                   const int* rows, Index self, double* forces) const {
  const Bond* const bonds = work.bonds.data();
  contract_all(center, work, gradient, lanes, [=](Index lane) {
    double* const own = forces + self * 3 * lanes + lane;
    return [=](Index bond) {
      double* const other = forces + rows[bonds[bond].atom] * 3 * lanes + lane;
      return [=](Index place, auto value) {
        decltype(value) force;
        get(other + place, force);
        put(other + place, force - value);
        get(own + place, force);
        put(own + place, force + value);
      };
    };
  });
}

}  // namespace nearsight
