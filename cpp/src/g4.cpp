// G4 and G5: for one neighbour j of the central atom, all sums over the other neighbours k at
// once, k in the lanes. With c = cos(theta), u the unit vectors, x = (r/Rc)^2, A = exp(-eta x) fc
// and B = dA/dx, the sum over k of P(c) A_j A_k A_jk and its derivative with respect to r_j need
//   T  = sum P W                       W = A_k A_jk
//   R  = sum P X                       X = A_k B_jk (r_j - r_k c)
//   N  = sum (P' W - P Z) (u_k - c u_j)  Z = A_k B_jk 2 r_j r_k / Rc^2
// (N in a frame of two vectors orthogonal to u_j); G5 has A_jk = 1, B_jk = 0.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "damping_lanes.hpp"
#include "neighbors.hpp"

namespace nearsight {

namespace {

// The k of one j that count are listed, at most this many at a time; what is known of the pairs
// lies in columns of this room.
constexpr Index kRoom = 128;
// c, u_k . e1, u_k . e2, 2 x_jk - 1, r_k, then by eta W, X, Z (before, A_k in the place of W)
enum Column { kCosine, kN1, kN2, kT, kR, kWeights };

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

struct AnyWholePower {
  int exponent;
  Lanes operator()(Lanes q) const {
    Lanes result = all(1.0);
    for (int n = exponent; n > 0; n >>= 1, q *= q)
      if (n & 1) result *= q;
    return result;
  }
};

struct RealPower {
  double exponent;
  Lanes operator()(Lanes q) const {
    Lanes result{};
    for (Index l = 0; l < kPairLanes; ++l) result[l] = q[l] > 0.0 ? std::pow(q[l], exponent) : 0.0;
    return result;
  }
};

// Adds the four sums over the pairs of q^zeta, q = (1 + gamma c) / 2, for one or two eta. `lower`
// gives q^(zeta-1).
template <bool Derivatives, bool Full, int Etas, class Lower>
void sum_powers(const double* pairs, Index size, double zeta, double gamma, const Lower& lower,
                const double* const* weights, double* const* out) {
  const Lanes half = all(0.5 * gamma), factor = all(0.5 * gamma * zeta);
  Lanes total[Etas][4] = {};
  for (Index p = 0; p < size; p += kPairLanes) {
    const Lanes q = half * load(pairs + kCosine * kRoom + p) + 0.5;
    const Lanes l = lower(q);
    const Lanes value = q * l, slope = factor * l;
    for (int e = 0; e < Etas; ++e) {
      const Lanes w = load(weights[e] + p);
      total[e][0] += value * w;
      if constexpr (Derivatives) {
        Lanes side = slope * w;
        if constexpr (Full) {
          total[e][1] += value * load(weights[e] + kRoom + p);
          side -= value * load(weights[e] + 2 * kRoom + p);
        }
        total[e][2] += side * load(pairs + kN1 * kRoom + p);
        total[e][3] += side * load(pairs + kN2 * kRoom + p);
      }
    }
  }
  for (int e = 0; e < Etas; ++e)
    add_sums(total[e][0], total[e][1], total[e][2], total[e][3], out[e]);
}

// The same of 1 and of c, for one eta.
template <bool Derivatives, bool Full>
void sum_linear(const double* pairs, Index size, const double* weights, double* const* out) {
  Lanes one[4] = {}, cosine[4] = {};
  for (Index p = 0; p < size; p += kPairLanes) {
    const Lanes c = load(pairs + kCosine * kRoom + p), w = load(weights + p);
    one[0] += w;
    cosine[0] += c * w;
    if constexpr (Derivatives) {
      const Lanes n1 = load(pairs + kN1 * kRoom + p), n2 = load(pairs + kN2 * kRoom + p);
      Lanes side = w;
      if constexpr (Full) {
        const Lanes x = load(weights + kRoom + p), z = load(weights + 2 * kRoom + p);
        one[1] += x;
        cosine[1] += c * x;
        one[2] -= z * n1;
        one[3] -= z * n2;
        side -= c * z;
      }
      cosine[2] += side * n1;
      cosine[3] += side * n2;
    }
  }
  add_sums(one[0], one[1], one[2], one[3], out[0]);
  add_sums(cosine[0], cosine[1], cosine[2], cosine[3], out[1]);
}

// The power of any zeta; those that are in use everywhere are unrolled.
template <class Use>
void with_power(double zeta, int exponent, const Use& use) {
  switch (exponent) {
    case 1:
      return use(WholePower<1>());
    case 3:
      return use(WholePower<3>());
    case 7:
      return use(WholePower<7>());
    case 15:
      return use(WholePower<15>());
    case -1:
      return use(RealPower{zeta - 1.0});
    default:
      return use(AnyWholePower{exponent});
  }
}

}  // namespace

void SymmetryFunctions::require_pairs(Workspace& work) const {
  const Index columns = kWeights + 3 * static_cast<Index>(damping_.factors.size());
  work.pairs.require(columns * kRoom);
}

// The columns of the pairs of j with the k in `list`. Etas: how many there are, or 0.
template <bool Derivatives, bool Full, int Etas>
void SymmetryFunctions::tabulate_pairs(const Neighbors& near, Index j, const std::uint16_t* list,
                                       Index size, double* pairs) const {
  const Damping::Factor* const factors = damping_.factors.data();
  const Index n_etas = Etas > 0 ? Etas : static_cast<Index>(damping_.factors.size());
  const Index width = Etas > 0 ? Neighbors::record_width(Etas) : near.width;
  const double squared_radius = cutoff_.radius * cutoff_.radius;
  const double* const own = near.of(j);
  const auto of_j = [&](Index column) { return own[column * kPairLanes]; };
  const double rj = of_j(near.kR), xj = of_j(near.kX), shrink = -2.0 * rj / squared_radius;
  const double ux = of_j(near.kU), uy = of_j(near.kU + 1), uz = of_j(near.kU + 2);
  // u_k in the frame of u_j (Duff et al., J. Comput. Graph. Tech. 6, 1 (2017)), then the weights.
  const double sign = std::copysign(1.0, uz), a = -1.0 / (sign + uz);
  for (Index p = 0; p < size; p += kPairLanes) {
    const double* records[kPairLanes];
    for (Index l = 0; l < kPairLanes; ++l) records[l] = near.records + list[p + l] * width;
    Lanes xy[2], zr[2], ak[2];
    load_columns(records, near.kRecordU, xy);
    load_columns(records, near.kRecordU + 2, zr);
    const auto [x, y] = xy;
    const auto [z, r] = zr;
    const Lanes h = ux * x + uy * y;
    const Lanes c = h + uz * z, w = a * h - z;
    double* const pair = pairs + p;
    store(pair, c);
    if (Derivatives) {
      store(pair + kN1 * kRoom, x + sign * ux * w);
      store(pair + kN2 * kRoom, sign * y + uy * w);
    }
    if (Full) {
      const Lanes t = 2.0 * xj - 1.0 + r * ((2.0 / squared_radius) * r + 2.0 * shrink * c);
      store(pair + kT * kRoom, t < 1.0 ? t : all(1.0));
      store(pair + kR * kRoom, r);
    }
    double* weight = pair + kWeights * kRoom;
    for (Index e = 0; e < n_etas; e += 2, weight += 6 * kRoom) {
      load_columns(records, near.kRecordA + e, ak);
      store(weight, ak[0]);
      if (e + 1 < n_etas) store(weight + 3 * kRoom, ak[1]);
    }
  }
  // A loop of its own: the processor sees further ahead in two short chains than in a long one.
  for (Index p = 0; Full && p < size; p += kPairLanes) {
    double* const pair = pairs + p;
    const Lanes t = load(pair + kT * kRoom), r = load(pair + kR * kRoom);
    const ValueAndSlope base = damping_base(damping_, t);
    const Lanes along = rj - r * load(pair + kCosine * kRoom), across = -shrink * r;
    double* weight = pair + kWeights * kRoom;
    for (Index e = 0; e < n_etas; ++e, weight += 3 * kRoom) {
      const ValueAndSlope d = damping_factor(factors[e], t, base);
      const Lanes a_k = load(weight), q = a_k * d.b;
      store(weight, a_k * d.a);
      if (Derivatives) {
        store(weight + kRoom, q * along);
        store(weight + 2 * kRoom, q * across);
      }
    }
  }
}

template <bool Derivatives, FunctionKind Kind>
void SymmetryFunctions::add_angular(const Center& center, const Angular& group,
                                    const Neighbors& near, Index j, Index first, Index last,
                                    Workspace& work) const {
  constexpr bool kFull = Kind == FunctionKind::kG4;
  const Index n_etas = static_cast<Index>(damping_.factors.size());
  const double squared_radius = cutoff_.radius * cutoff_.radius;
  const double* const own = near.of(j);
  const auto of_j = [&](Index column) { return own[column * kPairLanes]; };
  double* const pairs = work.pairs.data();
  double* const sums = work.angular.data() + j * center.most_sums * kAngularParts;

  for (const Pass& pass : group.passes)
    for (int e = 0; e < pass.sums; ++e)
      std::fill_n(sums + pass.sum[e] * kAngularParts, kAngularParts, 0.0);

  // Near k are told from far ones in single precision; those in between are looked at again below.
  const float* const place = near.place;
  const float from[3] = {kFull ? place[j] : 0.0F, kFull ? place[near.places + j] : 0.0F,
                         kFull ? place[2 * near.places + j] : 0.0F};
  const float limit = static_cast<float>(squared_radius * (1.0 + 1e-5));
  for (Index part = first; part < last; part += kRoom) {
    // A byte of bits for every eight k, then the numbers of those that count: stores whose place
    // depends on the geometry would hold up the loads that follow.
    std::uint8_t keep[kRoom / 8];
    const Index end = std::min(part + kRoom, last);
    for (Index k = part; k < end; k += 8) {
      unsigned byte = 0;
      for (Index l = 0; l < 8; l += kFloats) {
        const Floats x = load(place + k + l) - from[0],
                     y = load(place + near.places + k + l) - from[1],
                     z = load(place + 2 * near.places + k + l) - from[2];
        byte |= bits(x * x + y * y + z * z < limit) << l;
      }
      keep[(k - part) / 8] = static_cast<std::uint8_t>(byte);
    }
    if (const Index over = (end - part) % 8) keep[(end - part) / 8] &= (1U << over) - 1;
    if (part <= j && j < end) keep[(j - part) / 8] &= ~(1U << (j - part) % 8);
    std::uint16_t list[kRoom + 8];
    Index m = 0;
    for (Index k = part; k < end; k += 8) {
      const unsigned byte = keep[(k - part) / 8];
      const Numbers numbers = numbers_of_bits(byte) + static_cast<std::uint16_t>(k);
      std::memcpy(list + m, &numbers, sizeof numbers);
      m += __builtin_popcount(byte);
    }
    if (m == 0) continue;
    const Index size = padded(m, kPairLanes);
    while (m < size) list[m++] = static_cast<std::uint16_t>(near.slots);  // the record of zeros

    if (n_etas == 2)  // what most sets have, with loops unrolled
      tabulate_pairs<Derivatives, kFull, 2>(near, j, list, size, pairs);
    else
      tabulate_pairs<Derivatives, kFull, 0>(near, j, list, size, pairs);
    for (const Pass& pass : group.passes) {
      const double* const weights[2] = {pairs + (kWeights + 3 * pass.eta[0]) * kRoom,
                                        pairs + (kWeights + 3 * pass.eta[1]) * kRoom};
      double* const out[2] = {sums + pass.sum[0] * kAngularParts,
                              sums + pass.sum[1] * kAngularParts};
      if (pass.zeta == 1.0)
        sum_linear<Derivatives, kFull>(pairs, size, weights[0], out);
      else
        with_power(pass.zeta, pass.exponent, [&](const auto& lower) {
          if (pass.sums == 2)
            sum_powers<Derivatives, kFull, 2>(pairs, size, pass.zeta, pass.gamma, lower, weights,
                                              out);
          else
            sum_powers<Derivatives, kFull, 1>(pairs, size, pass.zeta, pass.gamma, lower, weights,
                                              out);
        });
    }
  }

  // Times what belongs to j: its share in the sums over j, and their derivatives.
  const double along = 4.0 / squared_radius, across = 2.0 / of_j(near.kR);
  const double units[kAngularParts] = {1.0, along, across, across};
  double* const totals = work.shares.data() + group.first;
  for (const Pass& pass : group.passes)
    for (int e = 0; e < pass.sums; ++e) {
      double* const out = sums + pass.sum[e] * kAngularParts;
      const double a = of_j(near.kDamping + 2 * pass.eta[e]), t = out[0];
      totals[pass.sum[e]] += a * t;
      if (!Derivatives) continue;
      for (Index s = 0; s < kAngularParts; s += kPairLanes)
        store(out + s, a * load(units + s) * load(out + s));
      out[1] += along * of_j(near.kR) * of_j(near.kDamping + 2 * pass.eta[e] + 1) * t;
    }
}

// The features from the sums over j.
void SymmetryFunctions::add_features(const Center& center, Workspace& work) const {
  for (const auto* groups : {&center.g4, &center.g5})
    for (const Angular& group : *groups)
      for (const Term& term : group.terms)
        for (int e = 0; e < 2; ++e)
          work.features[term.column] +=
              term.share[e] * work.shares.data()[group.first + term.sum[e]];
}

#define NEARSIGHT_ANGULAR(derivatives, kind)                       \
  template void SymmetryFunctions::add_angular<derivatives, kind>( \
      const Center&, const Angular&, const Neighbors&, Index, Index, Index, Workspace&) const;
NEARSIGHT_ANGULAR(false, FunctionKind::kG4)
NEARSIGHT_ANGULAR(true, FunctionKind::kG4)
NEARSIGHT_ANGULAR(false, FunctionKind::kG5)
NEARSIGHT_ANGULAR(true, FunctionKind::kG5)
#undef NEARSIGHT_ANGULAR

}  // namespace nearsight
