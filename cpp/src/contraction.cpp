// dE/dG contracted with dG/dr of the bonds of one atom, E in the lanes.
#include "lanes.hpp"
#include "neighbors.hpp"

namespace nearsight {

namespace {

void get(const double* p, double& value) { value = *p; }
void get(const double* p, Lanes& value) { value = load(p); }
void put(double* p, double value) { *p = value; }
void put(double* p, Lanes value) { store(p, value); }

}  // namespace

// Width values (numbers or vectors) of E side by side.
template <class Value, int Width>
void SymmetryFunctions::contract_block(const Center& center, Workspace& work,
                                       const double* gradient, Index lanes, double* out) const {
  constexpr Index step = sizeof(Value) / sizeof(double);
  const int ns = n_species();
  const Neighbors near(work.slot[ns], static_cast<Index>(etas_.size()), work.neighbors);
  for (int s = 0; s < ns; ++s) {
    const std::vector<Index>&radial = center.radial[s].columns, &angular = center.angular[s];
    for (Index b = work.slot[s]; b < work.slot[s] + work.count[s]; ++b) {
      Value part[3][Width] = {};  // along u, e1, e2
      const auto row = [&](Index column, int w) {
        Value g;
        get(gradient + column * lanes + w * step, g);
        return g;
      };
      const double* d = work.slopes.data() + b;
      for (const Index column : radial) {
        for (int w = 0; w < Width; ++w) part[0][w] += row(column, w) * *d;
        d += near.slots;
      }
      d = work.angular.data() + b * center.most_angular * kAngularParts;
      for (const Index column : angular) {
        for (int w = 0; w < Width; ++w) {
          const Value g = row(column, w);
          for (int p = 0; p < 3; ++p) part[p][w] += g * d[p];
        }
        d += kAngularParts;
      }
      for (int a = 0; a < 3; ++a) {
        const double u = near.at(b, near.kU + a), e1 = near.at(b, near.kE1 + a),
                     e2 = near.at(b, near.kE2 + a);
        for (int w = 0; w < Width; ++w)
          put(out + a * lanes + w * step, u * part[0][w] + e1 * part[1][w] + e2 * part[2][w]);
      }
      out += 3 * lanes;
    }
  }
}

void SymmetryFunctions::contract(int center, Workspace& work, const double* gradient, Index lanes,
                                 double* out) const {
  const Center& plan = centers_[center];
  if (lanes == 1) return contract_block<double, 1>(plan, work, gradient, 1, out);
  Index lane = 0;
  for (; lane + 3 * kPairLanes <= lanes; lane += 3 * kPairLanes)
    contract_block<Lanes, 3>(plan, work, gradient + lane, lanes, out + lane);
  for (; lane < lanes; lane += kPairLanes)
    contract_block<Lanes, 1>(plan, work, gradient + lane, lanes, out + lane);
}

}  // namespace nearsight
