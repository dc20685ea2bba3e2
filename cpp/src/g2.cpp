// G2: one exponential per bond and function, all functions of a bond side by side.
#include "neighbors.hpp"

namespace nearsight {

void SymmetryFunctions::add_radial(const Radial& radial, const Neighbors& near, Index first,
                                   Index last, bool derivatives, Workspace& work) const {
  if (radial.size == 0) return;
  using Row = Eigen::Map<Eigen::ArrayXd, Eigen::AlignedMax>;
  const Index width = radial.eta.size();
  double* scratch = work.radial.require(2 * width);
  Row gaussian(scratch, width), slope(scratch + width, width);
  const double* g = gaussian.data();
  for (Index b = first; b < last; ++b) {
    const double r = near.r()[b], fc = near.fc()[b];
    gaussian = (-radial.eta * (r - radial.r_s).square()).exp();
    for (Index f = 0; f < radial.size; ++f) work.features[radial.columns[f]] += g[f] * fc;
    if (!derivatives) continue;
    slope = gaussian * (near.dfc()[b] - 2.0 * radial.eta * (r - radial.r_s) * fc);
    const double ux = near.ux()[b], uy = near.uy()[b], uz = near.uz()[b];
    const double* s = slope.data();
    double* row = work.derivatives.data() + 3 * b * work.derivatives.cols();
    const Index stride = work.derivatives.cols();
    for (Index f = 0; f < radial.size; ++f) {
      const Index column = radial.columns[f];
      row[column] += s[f] * ux;
      row[stride + column] += s[f] * uy;
      row[2 * stride + column] += s[f] * uz;
    }
  }
}

}  // namespace nearsight
