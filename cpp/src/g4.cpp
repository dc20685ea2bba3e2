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

// Adds the four sums over the pairs of one P / 2 = q^zeta, q = (1 + gamma c) / 2, for one or two
// eta. `lower` gives q^(zeta-1).
template <bool Derivatives, bool Full, int Etas, class Lower>
void sum_pairs(const double* pairs, Index size, double zeta, double gamma, const Lower& lower,
               const double* const* weights, double (*out)[4]) {
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
  for (int e = 0; e < Etas; ++e) {
    double found[4];
    sums(total[e][0], total[e][1], total[e][2], total[e][3], found);
    for (int s = 0; s < 4; ++s) out[e][s] += found[s];
  }
}

// The power of any zeta; those that are in use everywhere are unrolled.
template <class Use>
void with_power(double zeta, int exponent, const Use& use) {
  switch (exponent) {
    case 0:
      return use(WholePower<0>());
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

void SymmetryFunctions::require_pairs(const Center& center, Workspace& work) const {
  const Index columns = kWeights + 3 * static_cast<Index>(damping_.factors.size());
  work.pairs.require(columns * kRoom + 4 * center.most_angular);
}

template <bool Derivatives, FunctionKind Kind>
void SymmetryFunctions::add_angular(const Center& center, const Angular& group,
                                    const Neighbors& near, Index j, Index first, Index last,
                                    Workspace& work) const {
  constexpr bool kFull = Kind == FunctionKind::kG4;
  const Index n_etas = static_cast<Index>(damping_.factors.size());
  const double squared_radius = cutoff_.radius * cutoff_.radius;
  const double rj = near.at(j, near.kR), xj = near.at(j, near.kX);
  const double ux = near.at(j, near.kU), uy = near.at(j, near.kU + 1), uz = near.at(j, near.kU + 2);
  double* const pairs = work.pairs.data();
  double* const raw = pairs + (kWeights + 3 * n_etas) * kRoom;  // (functions, 4)
  double(*const totals)[4] = reinterpret_cast<double(*)[4]>(raw);
  for (Index f = 0; f < group.size; ++f)
    for (int s = 0; s < 4; ++s) totals[f][s] = 0.0;

  // j itself and what fills blocks are made to lie out of range.
  double& own_x = near.row(j - j % kPairLanes, near.kX)[j % kPairLanes];
  own_x = kFarAway;
  const double shrink = -2.0 * rj / squared_radius;
  const double limit = kFull ? 1.0 - xj : 0.5 * kFarAway;
  for (Index part = first; part < last; part += kRoom) {
    // A byte of bits for every eight k, then the numbers of those that count: stores whose place
    // depends on the geometry would hold up the loads that follow.
    std::uint8_t keep[kRoom / 8];
    const Index end = std::min(part + kRoom, last);
    for (Index k = part; k < end; k += 8) {
      unsigned byte = 0;
      for (Index l = 0; l < 8; l += kPairLanes) {
        if (k + l >= end) break;
        const double* block = near.block(k + l);
        const auto at = [&](Index column) { return load(block + column * kPairLanes); };
        Lanes beyond = at(near.kX);
        if constexpr (kFull)  // x_jk - x_j
          beyond += shrink * at(near.kR) *
                    (ux * at(near.kU) + uy * at(near.kU + 1) + uz * at(near.kU + 2));
        byte |= bits(beyond < limit) << l;
      }
      keep[(k - part) / 8] = static_cast<std::uint8_t>(byte);
    }
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

    // u_k in the frame of u_j (Duff et al., J. Comput. Graph. Tech. 6, 1 (2017)), then the weights.
    const double sign = std::copysign(1.0, uz), a = -1.0 / (sign + uz);
    for (Index p = 0; p < size; p += kPairLanes) {
      const double* records[kPairLanes];
      for (Index l = 0; l < kPairLanes; ++l) records[l] = near.records + list[p + l] * near.width;
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
      if (kFull) {
        store(pair + kT * kRoom,
              2.0 * xj - 1.0 + r * ((2.0 / squared_radius) * r + 2.0 * shrink * c));
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
    for (Index p = 0; kFull && p < size; p += kPairLanes) {
      double* const pair = pairs + p;
      const Lanes t = load(pair + kT * kRoom), r = load(pair + kR * kRoom);
      const ValueAndSlope base = damping_base(damping_, t);
      const Lanes along = rj - r * load(pair + kCosine * kRoom), across = -shrink * r;
      double* weight = pair + kWeights * kRoom;
      for (const Damping::Factor& factor : damping_.factors) {
        const ValueAndSlope d = damping_factor(factor, t, base);
        const Lanes a = load(weight), q = a * d.b;
        store(weight, a * d.a);
        if (Derivatives) {
          store(weight + kRoom, q * along);
          store(weight + 2 * kRoom, q * across);
        }
        weight += 3 * kRoom;
      }
    }

    double(*out)[4] = totals;
    for (const Power& power : group.powers) {
      const Term* term = power.terms.data();
      for (Index left = static_cast<Index>(power.terms.size()); left > 0;) {
        const double* const weights[2] = {
            pairs + (kWeights + 3 * term[0].eta) * kRoom,
            pairs + (kWeights + 3 * term[left > 1 ? 1 : 0].eta) * kRoom};
        with_power(power.zeta, power.exponent, [&](const auto& lower) {
          if (left > 1)
            sum_pairs<Derivatives, kFull, 2>(pairs, size, power.zeta, power.gamma, lower, weights,
                                             out);
          else
            sum_pairs<Derivatives, kFull, 1>(pairs, size, power.zeta, power.gamma, lower, weights,
                                             out);
        });
        const int done = left > 1 ? 2 : 1;
        left -= done;
        term += done;
        out += done;
      }
    }
  }
  own_x = xj;

  double* to = work.angular.data() + (j * center.most_angular + group.first) * kAngularParts;
  const double(*found)[4] = totals;
  for (const Power& power : group.powers)
    for (const Term& term : power.terms) {
      const double aj = near.at(j, near.kDamping + 2 * term.eta);
      const double bj = near.at(j, near.kDamping + 2 * term.eta + 1);
      const double* s = *found++;
      work.features[term.column] += aj * s[0];
      if (Derivatives) {
        to[0] = 4.0 / squared_radius * (bj * rj * s[0] + aj * s[1]);
        to[1] = 2.0 * aj / rj * s[2];
        to[2] = 2.0 * aj / rj * s[3];
        to += kAngularParts;
      }
    }
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
