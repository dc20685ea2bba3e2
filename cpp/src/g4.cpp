// G4 and G5: for one neighbour j of the central atom, all sums over the other neighbours k at
// once, k in the lanes. With c = cos(theta), u the unit vectors, x = (r/Rc)^2, A = exp(-eta x) fc
// and B = dA/dx, the sum over k of P(c) A_j A_k A_jk and its derivative with respect to r_j need
//   T  = sum P W                       W = A_k A_jk
//   R  = sum P X                       X = A_k B_jk (r_j - r_k c)
//   N  = sum (P' W - P Z) (u_k - c u_j)  Z = A_k B_jk 2 r_j r_k / Rc^2
// (N in a frame of two vectors orthogonal to u_j); G5 has A_jk = 1, B_jk = 0. No exp, cos or sqrt
// is left in the loop over k, but the sqrt of the polynomial cutoff.
#include <algorithm>
#include <cmath>
#include <utility>

#include "neighbors.hpp"
#include "polynomial.hpp"

namespace nearsight {

namespace {

// q^n for all entries, n >= 0; size is a multiple of kPairLanes.
void whole_power(const double* q, int n, Index size, double* power) {
  for (Index p = 0; p < size; p += kPairLanes) {
    double base[kPairLanes], result[kPairLanes];
    for (Index l = 0; l < kPairLanes; ++l) base[l] = q[p + l];
    for (Index l = 0; l < kPairLanes; ++l) result[l] = 1.0;
    for (int bits = n; bits > 0; bits >>= 1) {
      if (bits & 1)
        for (Index l = 0; l < kPairLanes; ++l) result[l] *= base[l];
      for (Index l = 0; l < kPairLanes; ++l) base[l] *= base[l];
    }
    for (Index l = 0; l < kPairLanes; ++l) power[p + l] = result[l];
  }
}

struct Frame {  // orthonormal with u (Duff et al., J. Comput. Graph. Tech. 6, 1 (2017))
  Frame(double ux, double uy, double uz) {
    const double sign = std::copysign(1.0, uz);
    const double a = -1.0 / (sign + uz), b = ux * uy * a;
    e1[0] = 1.0 + sign * ux * ux * a;
    e1[1] = sign * b;
    e1[2] = -sign * ux;
    e2[0] = b;
    e2[1] = sign + uy * uy * a;
    e2[2] = -uy;
  }
  double e1[3], e2[3];
};

}  // namespace

template <bool Derivatives, FunctionKind Kind>
void SymmetryFunctions::add_angular(const Angular& group, const Neighbors& near, Index j,
                                    Index first, Index last, Workspace& work) const {
  constexpr bool kFull = Kind == FunctionKind::kG4;
  const Index room = padded(last - first, kHornerBlock);
  const Index n_powers = static_cast<Index>(group.powers.size());
  double* next = work.pairs.require(room * (18 + 2 * n_powers));
  const auto column = [&] { return std::exchange(next, next + room); };
  double *all_c = column(), *all_x = column();
  double *c = column(), *t = column(), *n1 = column(), *n2 = column(), *rk = column();
  double *fc = column(), *dfc = column(), *q = column(), *e = column();
  double *w = column(), *lx = column(), *z = column();
  double *px = column(), *py = column(), *pz = column();
  const double *r = near.r(), *x = near.x(), *ux = near.ux(), *uy = near.uy(), *uz = near.uz();
  const double square = cutoff_.radius * cutoff_.radius;
  const double rj = r[j], xj = x[j], ujx = ux[j], ujy = uy[j], ujz = uz[j];

  // Which k count: within the cutoff of j for G4, all others for G5.
  Index m = 0;
  work.members.resize(room);
  int* members = work.members.data();
#pragma omp simd
  for (Index k = first; k < last; ++k) {
    const double cosine = ujx * ux[k] + ujy * uy[k] + ujz * uz[k];
    all_c[k - first] = cosine;
    all_x[k - first] = xj + x[k] - 2.0 / square * rj * r[k] * cosine;
  }
  for (Index k = first; k < last; ++k) {
    members[m] = static_cast<int>(k);
    m += static_cast<Index>((!kFull || all_x[k - first] < 1.0) & (k != j));
  }
  if (m == 0) return;
  const Index size = padded(m, kPairLanes);
  for (Index p = m; p < size; ++p) members[p] = members[0];  // A_k is set to zero there

  const Frame frame(ujx, ujy, ujz);
#pragma omp simd
  for (Index p = 0; p < size; ++p) {
    const Index k = members[p];
    c[p] = all_c[k - first];
    if (kFull) t[p] = 2.0 * all_x[k - first] - 1.0;
    rk[p] = r[k];
    px[p] = ux[k];
    py[p] = uy[k];
    pz[p] = uz[k];
  }
  if (Derivatives)
#pragma omp simd
    for (Index p = 0; p < size; ++p) {
      n1[p] = frame.e1[0] * px[p] + frame.e1[1] * py[p] + frame.e1[2] * pz[p];
      n2[p] = frame.e2[0] * px[p] + frame.e2[1] * py[p] + frame.e2[2] * pz[p];
    }
  if (kFull) {
    if (cutoff_.kind == CutoffKind::kCosine) {
      horner(fc_, t, size, fc);
      if (Derivatives) horner(dfc_, t, size, dfc);
    } else {
      const double g = cutoff_.gamma;
#pragma omp simd
      for (Index p = 0; p < size; ++p) {
        const double u = std::sqrt(std::max(0.5 * (t[p] + 1.0), 0.0));
        const double power = std::pow(u, g - 2.0);
        fc[p] = 1.0 + u * u * power * (g * u - (g + 1.0));
        dfc[p] = 0.5 * g * (g + 1.0) * power * (u - 1.0);
      }
    }
  }

  // P = 2 q^zeta and dP/dc = zeta gamma q^(zeta-1) with q = (1 + gamma c) / 2.
  double* powers = next;
  for (Index i = 0; i < n_powers; ++i) {
    const Power& power = group.powers[i];
    double *value = powers + 2 * i * room, *slope = value + room;
#pragma omp simd
    for (Index p = 0; p < size; ++p) q[p] = 0.5 + 0.5 * power.gamma * c[p];
    if (power.exponent >= 0) {
      whole_power(q, power.exponent, size, slope);
    } else {
#pragma omp simd
      for (Index p = 0; p < size; ++p)
        slope[p] = q[p] > 0.0 ? std::pow(q[p], power.zeta - 1.0) : 0.0;
    }
#pragma omp simd
    for (Index p = 0; p < size; ++p) {
      value[p] = 2.0 * q[p] * slope[p];
      slope[p] *= power.zeta * power.gamma;
    }
  }

  int eta = -1;
  for (const Term& term : group.terms) {
    if (term.eta != eta) {
      eta = term.eta;
      const double* ak = near.a(eta);
#pragma omp simd
      for (Index p = 0; p < m; ++p) w[p] = ak[members[p]];
#pragma omp simd
      for (Index p = m; p < size; ++p) w[p] = 0.0;
      if (kFull) {
        horner(exponential_[eta], t, size, e);
        if (Derivatives) {
          const double exponent = etas_[eta], twice = 2.0 / square * rj;
#pragma omp simd
          for (Index p = 0; p < size; ++p) {
            const double b = w[p] * e[p] * (dfc[p] - exponent * fc[p]);
            lx[p] = b * (rj - rk[p] * c[p]);
            z[p] = b * twice * rk[p];
          }
        }
#pragma omp simd
        for (Index p = 0; p < size; ++p) w[p] *= e[p] * fc[p];
      }
    }
    const double *value = powers + 2 * term.power * room, *slope = value + room;
    double sum = 0.0;
    if (!Derivatives) {
#pragma omp simd reduction(+ : sum)
      for (Index p = 0; p < size; ++p) sum += value[p] * w[p];
      work.features[term.column] += 0.5 * near.a(eta)[j] * sum;
      continue;
    }
    double along = 0.0, across1 = 0.0, across2 = 0.0;
    if (kFull) {
#pragma omp simd reduction(+ : sum, along, across1, across2)
      for (Index p = 0; p < size; ++p) {
        sum += value[p] * w[p];
        along += value[p] * lx[p];
        const double side = slope[p] * w[p] - value[p] * z[p];
        across1 += side * n1[p];
        across2 += side * n2[p];
      }
    } else {
#pragma omp simd reduction(+ : sum, across1, across2)
      for (Index p = 0; p < size; ++p) {
        sum += value[p] * w[p];
        const double side = slope[p] * w[p];
        across1 += side * n1[p];
        across2 += side * n2[p];
      }
    }
    const double a = near.a(eta)[j], b = near.b(eta)[j];
    work.features[term.column] += 0.5 * a * sum;
    const double radial = 2.0 / square * (b * rj * sum + a * along);
    across1 *= a / rj;
    across2 *= a / rj;
    const Index stride = work.derivatives.cols();
    double* row = work.derivatives.data() + 3 * j * stride + term.column;
    row[0] += radial * ujx + across1 * frame.e1[0] + across2 * frame.e2[0];
    row[stride] += radial * ujy + across1 * frame.e1[1] + across2 * frame.e2[1];
    row[2 * stride] += radial * ujz + across1 * frame.e1[2] + across2 * frame.e2[2];
  }
}

#define NEARSIGHT_ANGULAR(derivatives, kind)                                                  \
  template void SymmetryFunctions::add_angular<derivatives, kind>(                            \
      const Angular&, const Neighbors&, Index, Index, Index, Workspace&) const;
NEARSIGHT_ANGULAR(false, FunctionKind::kG4)
NEARSIGHT_ANGULAR(true, FunctionKind::kG4)
NEARSIGHT_ANGULAR(false, FunctionKind::kG5)
NEARSIGHT_ANGULAR(true, FunctionKind::kG5)
#undef NEARSIGHT_ANGULAR

}  // namespace nearsight
