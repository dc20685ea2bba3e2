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

// P = 2 q^zeta and dP/dcos = zeta gamma q^(zeta-1) at the cosines c, q = (1 + gamma c) / 2;
// `lower` gives q^(zeta-1).
template <class Lower>
void fill_power(const double* c, Index size, double zeta, double gamma, const Lower& lower,
                double* value, double* slope) {
  const double half = 0.5 * gamma, factor = zeta * gamma;
  for (Index p = 0; p < size; p += kPairLanes) {
    const Lanes q = 0.5 + half * load(c + p);
    const Lanes l = lower(q);
    store(value + p, 2.0 * q * l);
    store(slope + p, factor * l);
  }
}

// q^N, unrolled by the compiler.
template <int N>
struct WholePower {
  Lanes operator()(Lanes q) const {
    if constexpr (N == 0) {
      return all(1.0);
    } else if constexpr (N == 1) {
      return q;
    } else {
      const Lanes rest = WholePower<N / 2>()(q * q);
      if constexpr (N % 2 == 1) return q * rest;
      return rest;
    }
  }
};

// Any zeta; those that are in use everywhere are unrolled.
void fill_power(const double* c, Index size, double zeta, double gamma, int exponent, double* value,
                double* slope) {
  const auto fill = [&](const auto& lower) {
    fill_power(c, size, zeta, gamma, lower, value, slope);
  };
  switch (exponent) {
    case 0:
      return fill(WholePower<0>());
    case 1:
      return fill(WholePower<1>());
    case 3:
      return fill(WholePower<3>());
    case 7:
      return fill(WholePower<7>());
    case 15:
      return fill(WholePower<15>());
    case -1:  // zeta is no whole number
      return fill([zeta](Lanes q) {
        Lanes l{};
        for (Index i = 0; i < kPairLanes; ++i) l[i] = q[i] > 0.0 ? std::pow(q[i], zeta - 1.0) : 0.0;
        return l;
      });
    default:
      return fill([exponent](Lanes q) {
        Lanes l = all(1.0);
        for (int n = exponent; n > 0; n >>= 1, q *= q)
          if (n & 1) l *= q;
        return l;
      });
  }
}

// The sums over k of one or more functions that share W, X, Z, with their derivatives.
template <int Functions, bool Derivatives, bool Full>
void sum_pairs(Index size, const double* w, const double* lx, const double* z, const double* n1,
               const double* n2, const double* const* value, const double* const* slope,
               double (*out)[4]) {
  Lanes total[Functions][4] = {};
  for (Index p = 0; p < size; p += kPairLanes) {
    const Lanes wk = load(w + p);
    if constexpr (!Derivatives) {
      for (int f = 0; f < Functions; ++f) total[f][0] += load(value[f] + p) * wk;
    } else {
      const Lanes a1 = load(n1 + p), a2 = load(n2 + p);
      for (int f = 0; f < Functions; ++f) {
        const Lanes v = load(value[f] + p);
        Lanes side = load(slope[f] + p) * wk;
        total[f][0] += v * wk;
        if constexpr (Full) {
          total[f][1] += v * load(lx + p);
          side -= v * load(z + p);
        }
        total[f][2] += side * a1;
        total[f][3] += side * a2;
      }
    }
  }
  for (int f = 0; f < Functions; ++f)
    for (int s = 0; s < 4; ++s) out[f][s] = sum(total[f][s]);
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
  const Index n_powers = static_cast<Index>(group.powers.size());
  const Index n_etas = static_cast<Index>(etas_.size());
  const Index room = padded(near.stride + kPairBlock);
  double* next = work.pairs.require(room * (9 + 3 * n_etas + 2 * n_powers));
  const auto column = [&](Index count = 1) { return std::exchange(next, next + count * room); };
  double *c = column(), *t = column(), *n1 = column(), *n2 = column(), *rk = column();
  double *fc = column(), *dfc = column(), *lx = column(), *z = column();
  double* ak = column(n_etas);               // A_k by eta
  double* exponential = column(2 * n_etas);  // exp(-eta x_jk) by eta; one spare for an odd count
  double* powers = next;
  const double square = cutoff_.radius * cutoff_.radius;
  const double rj = near.r()[j], xj = near.x()[j];
  const double ujx = near.ux()[j], ujy = near.uy()[j], ujz = near.uz()[j];
  const Frame frame(ujx, ujy, ujz);

  // Which k count: within the cutoff of j for G4, all others for G5. Their columns are compressed.
  constexpr unsigned kAll = (1U << kPairLanes) - 1;
  const Index begin = first / kPairLanes * kPairLanes;
  const Index end = (last - 1) / kPairLanes * kPairLanes;
  const Index own = j / kPairLanes * kPairLanes;
  const unsigned first_lanes = kAll << (first - begin),
                 last_lanes = kAll >> (end + kPairLanes - last);
  const double cosine_rule = 2.0 / square * rj;
  const double *e1 = frame.e1, *e2 = frame.e2;
  Index m = 0;
  for (Index k = begin; k <= end; k += kPairLanes) {
    const Lanes x = load(near.ux() + k), y = load(near.uy() + k), zk = load(near.uz() + k);
    const Lanes r = load(near.r() + k);
    const Lanes cosine = ujx * x + ujy * y + ujz * zk;
    const Lanes xjk = xj + load(near.x() + k) - cosine_rule * r * cosine;
    unsigned keep = kFull ? bits(xjk < 1.0) : kAll;
    if (k == begin) keep &= first_lanes;
    if (k == end) keep &= last_lanes;
    if (k == own) keep &= ~(1U << (j - own));
    const Compress squeeze(keep);
    squeeze(c + m, cosine);
    if (kFull) squeeze(t + m, 2.0 * xjk - 1.0);
    if (kFull && Derivatives) squeeze(rk + m, r);
    if (Derivatives) {
      squeeze(n1 + m, e1[0] * x + e1[1] * y + e1[2] * zk);
      squeeze(n2 + m, e2[0] * x + e2[1] * y + e2[2] * zk);
    }
    const double* a = near.a(0) + k;
    for (Index e = 0; e < n_etas; ++e, a += 2 * near.stride) squeeze(ak + e * room + m, load(a));
    m += __builtin_popcount(keep);
  }
  if (m == 0) return;
  const Index size = padded(m, kPairLanes);
  for (double* each : {c, t, n1, n2, rk}) {
    store(each + m, Lanes{});
    store(each + m + kPairLanes, Lanes{});
  }
  for (Index e = 0; e < n_etas; ++e) store(ak + e * room + m, Lanes{});  // what pads counts nothing

  if (kFull) {
    if (cutoff_.kind == CutoffKind::kCosine) {
      horner(fc_, dfc_, t, size, fc, dfc);
    } else {
      const double g = cutoff_.gamma;
      for (Index p = 0; p < size; ++p) {
        const double u = std::sqrt(std::max(0.5 * (t[p] + 1.0), 0.0));
        const double power = std::pow(u, g - 2.0);
        fc[p] = 1.0 + u * u * power * (g * u - (g + 1.0));
        dfc[p] = 0.5 * g * (g + 1.0) * power * (u - 1.0);
      }
    }
    for (Index e = 0; e < n_etas; e += 2)
      horner(exponential_[e], exponential_[std::min(e + 1, n_etas - 1)], t, size,
             exponential + e * room, exponential + (e + 1) * room);
    for (Index e = 0; e < n_etas; ++e)
      for (int n = squarings_[e]; n > 0; --n)
        for (double* v = exponential + e * room; v < exponential + e * room + size; ++v) *v *= *v;
  }

  for (Index i = 0; i < n_powers; ++i) {
    const Power& power = group.powers[i];
    double* value = powers + 2 * i * room;
    fill_power(c, size, power.zeta, power.gamma, power.exponent, value, value + room);
  }

  const std::size_t n_terms = group.terms.size();
  for (std::size_t begin = 0, end; begin < n_terms; begin = end) {
    const Index eta = group.terms[begin].eta;
    for (end = begin + 1; end < n_terms && group.terms[end].eta == eta;) ++end;
    double* w = ak + eta * room;  // becomes W
    if (kFull) {
      const double* e = exponential + eta * room;
      const double exponent = etas_[eta], twice = 2.0 / square * rj;
      for (Index p = 0; p < size; p += kPairLanes) {
        const Lanes a = load(w + p) * load(e + p), f = load(fc + p);
        if (Derivatives) {
          const Lanes b = a * (load(dfc + p) - exponent * f), r = load(rk + p);
          store(lx + p, b * (rj - r * load(c + p)));
          store(z + p, b * twice * r);
        }
        store(w + p, a * f);
      }
    }
    const double a = near.a(eta)[j], b = near.b(eta)[j];
    for (std::size_t i = begin; i < end; i += 2) {
      const int functions = end - i > 1 ? 2 : 1;
      const double *value[2], *slope[2];
      for (int f = 0; f < functions; ++f) {
        value[f] = powers + 2 * group.terms[i + f].power * room;
        slope[f] = value[f] + room;
      }
      double sums[2][4];
      if (functions == 2)
        sum_pairs<2, Derivatives, kFull>(size, w, lx, z, n1, n2, value, slope, sums);
      else
        sum_pairs<1, Derivatives, kFull>(size, w, lx, z, n1, n2, value, slope, sums);
      for (int f = 0; f < functions; ++f) {
        const Index to = group.terms[i + f].column;
        work.features[to] += 0.5 * a * sums[f][0];
        if (!Derivatives) continue;
        const double along = 2.0 / square * (b * rj * sums[f][0] + a * sums[f][1]);
        const double across1 = a / rj * sums[f][2], across2 = a / rj * sums[f][3];
        const Index stride = work.derivatives.cols();
        double* row = work.derivatives.data() + 3 * j * stride + to;
        row[0] += along * ujx + across1 * e1[0] + across2 * e2[0];
        row[stride] += along * ujy + across1 * e1[1] + across2 * e2[1];
        row[2 * stride] += along * ujz + across1 * e1[2] + across2 * e2[2];
      }
    }
  }
}

#define NEARSIGHT_ANGULAR(derivatives, kind)                       \
  template void SymmetryFunctions::add_angular<derivatives, kind>( \
      const Angular&, const Neighbors&, Index, Index, Index, Workspace&) const;
NEARSIGHT_ANGULAR(false, FunctionKind::kG4)
NEARSIGHT_ANGULAR(true, FunctionKind::kG4)
NEARSIGHT_ANGULAR(false, FunctionKind::kG5)
NEARSIGHT_ANGULAR(true, FunctionKind::kG5)
#undef NEARSIGHT_ANGULAR

}  // namespace nearsight
