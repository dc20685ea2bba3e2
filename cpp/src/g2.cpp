// G2: one function at a time, bonds in the lanes.
#include "kernels.hpp"

namespace nearsight {

template <bool Derivatives>
void add_radial(const RadialPlan& plan, const NeighborTable& table, Index first, Index last,
                Workspace& work) {
  double* slopes = work.slopes.data();
  for (std::size_t f = 0; f < plan.columns.size(); ++f, slopes += table.slots) {
    const double eta = plan.eta[f], r_s = plan.r_s[f], exponent = -kLog2E * eta;
    Vec total{};
    for (Index b = first; b < last; b += kPairLanes) {
      const Vec from = load(table.row(b, table.kR)) - r_s, fc = load(table.row(b, table.kCutoff));
      const Vec gaussian = exp2(exponent * (from * from));
      total += gaussian * fc;
      if (Derivatives)
        store(slopes + b, gaussian * (load(table.row(b, table.kSlope)) - 2.0 * eta * from * fc));
    }
    work.features[plan.columns[f]] += reduce_add(total);
  }
}

template void add_radial<false>(const RadialPlan&, const NeighborTable&, Index, Index, Workspace&);
template void add_radial<true>(const RadialPlan&, const NeighborTable&, Index, Index, Workspace&);

}  // namespace nearsight
