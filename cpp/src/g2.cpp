// G2: one function at a time, bonds in the lanes.
#include "lanes.hpp"
#include "neighbors.hpp"

namespace nearsight {

template <bool Derivatives>
void SymmetryFunctions::add_radial(const Radial& radial, const Neighbors& near, Index first,
                                   Index last, Workspace& work) const {
  double* slopes = work.slopes.data();
  for (std::size_t f = 0; f < radial.columns.size(); ++f, slopes += near.slots) {
    const double eta = radial.eta[f], r_s = radial.r_s[f], in_bits = -kLog2E * eta;
    Lanes total{};
    for (Index b = first; b < last; b += kPairLanes) {
      const Lanes from = load(near.row(b, near.kR)) - r_s, fc = load(near.row(b, near.kCutoff));
      const Lanes gaussian = power_of_two(in_bits * (from * from));
      total += gaussian * fc;
      if (Derivatives)
        store(slopes + b, gaussian * (load(near.row(b, near.kSlope)) - 2.0 * eta * from * fc));
    }
    work.features[radial.columns[f]] += sum(total);
  }
}

template void SymmetryFunctions::add_radial<false>(const Radial&, const Neighbors&, Index, Index,
                                                   Workspace&) const;
template void SymmetryFunctions::add_radial<true>(const Radial&, const Neighbors&, Index, Index,
                                                  Workspace&) const;

}  // namespace nearsight
