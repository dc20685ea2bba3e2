// G4 and G5: for one neighbour j of the central atom, all sums over the other neighbours k at
// once, k in the lanes. With c = cos(theta), u the unit vectors, x = (r/Rc)^2, A = exp(-eta x) fc
// and B = dA/dx, the sum over k of P(c) A_j A_k A_jk and its derivative with respect to r_j need
//   T  = sum P W                       W = A_k A_jk
//   R  = sum P X                       X = A_k B_jk (r_j - r_k c)
//   N  = sum (P' W - P Z) (u_k - c u_j)  Z = A_k B_jk 2 r_j r_k / Rc^2
// (N in a frame of two vectors orthogonal to u_j); G5 has A_jk = 1, B_jk = 0.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "damping_lanes.hpp"
#include "near_points.hpp"
#include "neighbors.hpp"

namespace nearsight {

namespace {

// What is known of as many k as there are lanes lies together, line after line: c, u_k . e1,
// u_k . e2, then by eta W, X, Z (before, A_k in the place of W).
enum Line { kCosine, kN1, kN2, kWeights, kLinesOfEta = 3 };

constexpr Index block_size(Index n_etas) { return (kWeights + kLinesOfEta * n_etas) * kPairLanes; }

inline Lanes line(const double* block, Index n) { return load(block + n * kPairLanes); }
inline void set_line(double* block, Index n, Lanes value) { store(block + n * kPairLanes, value); }

// A power of p = scale c + offset and its derivative with respect to c.
struct Power {
  Lanes value, slope;
};

// p^N with scale = 1 / N: the derivative is p^(N-1).
template <int N>
struct WholePower {
  Power operator()(Lanes p) const {
    if constexpr (N == 1) {
      return {p, all(1.0)};
    } else {
      const Power half = WholePower<N / 2>()(p);
      const Lanes square = half.value * half.value;
      if constexpr (N % 2 == 1) return {square * p, square};
      return {square, half.value * half.slope};
    }
  }
};

struct AnyWholePower {
  int exponent;
  double factor;
  Power operator()(Lanes p) const {
    Lanes lower = all(1.0), square = p;
    for (int n = exponent - 1; n > 0; n >>= 1, square *= square)
      if (n & 1) lower *= square;
    return {p * lower, factor * lower};
  }
};

struct RealPower {
  double exponent, factor;
  Power operator()(Lanes p) const {
    Lanes lower{};
    for (Index l = 0; l < kPairLanes; ++l)
      lower[l] = p[l] > 0.0 ? std::pow(p[l], exponent - 1.0) : 0.0;
    return {p * lower, factor * lower};
  }
};

// The blocks of one j.
struct Blocks {
  const double *first, *last;
  Index step;
};

// T, R and N of one function.
struct Sums {
  Lanes t{}, r{}, n1{}, n2{};
};

// What belongs to j in its sums over k.
struct OfNeighbor {
  const double* damping;  // A and dA/dx by eta, kPairLanes apart
  Four units, slope;
  double *sums, *totals;

  // The share of j in the sum over all j, and its derivatives.
  void put(const Sums& over_k, Index eta, Index sum) const {
    const double a = damping[2 * eta * kPairLanes], b = damping[(2 * eta + 1) * kPairLanes];
    Four parts;
    sums_of(over_k.t, over_k.r, over_k.n1, over_k.n2, parts);
    const Four share = a * units * parts + b * parts[0] * slope;
    std::memcpy(sums + sum * kAngularParts, &share, sizeof share);
    totals[sum] += share[0];
  }
};

constexpr Index weights_of(Index eta) { return (kWeights + kLinesOfEta * eta) * kPairLanes; }

// The sums of one power for one or two eta.
template <bool Derivatives, bool Full, bool Two, class Pass, class ToPower>
void sum_powers(const Blocks& blocks, const Pass& pass, const ToPower& to_power,
                const OfNeighbor& neighbor) {
  const Index weights[2] = {weights_of(pass.eta[0]), weights_of(pass.eta[1])};
  Sums first, second;
  // The power of the next k is worked out while that of these is used, if one too many costs
  // little.
  constexpr bool kAhead = !std::is_same_v<ToPower, RealPower>;
  const auto power_of = [&](const double* block) {
    return to_power(pass.scale * line(block, kCosine) + pass.offset);
  };
  Power next{};
  if constexpr (kAhead) next = power_of(blocks.first);
  for (const double* block = blocks.first; block != blocks.last; block += blocks.step) {
    const Power power = kAhead ? next : power_of(block);
    if constexpr (kAhead) next = power_of(block + blocks.step);
    const auto add = [&](const double* of_eta, Sums& sums) {
      const Lanes w = line(of_eta, 0);
      sums.t += power.value * w;
      if constexpr (Derivatives) {
        Lanes side = power.slope * w;
        if constexpr (Full) {
          sums.r += power.value * line(of_eta, 1);
          side -= power.value * line(of_eta, 2);
        }
        sums.n1 += side * line(block, kN1);
        sums.n2 += side * line(block, kN2);
      }
    };
    add(block + weights[0], first);
    if constexpr (Two) add(block + weights[1], second);
  }
  neighbor.put(first, pass.eta[0], pass.sum[0]);
  if constexpr (Two) neighbor.put(second, pass.eta[1], pass.sum[1]);
}

// The same of 1 and of c, for one eta.
template <bool Derivatives, bool Full, class Pass>
void sum_linear(const Blocks& blocks, const Pass& pass, const OfNeighbor& neighbor) {
  const Index weights = weights_of(pass.eta[0]);
  Sums one, cosine;
  for (const double* block = blocks.first; block != blocks.last; block += blocks.step) {
    const double* const of_eta = block + weights;
    const Lanes c = line(block, kCosine), w = line(of_eta, 0);
    one.t += w;
    cosine.t += c * w;
    if constexpr (Derivatives) {
      const Lanes n1 = line(block, kN1), n2 = line(block, kN2);
      Lanes side = w;
      if constexpr (Full) {
        const Lanes x = line(of_eta, 1), z = line(of_eta, 2);
        one.r += x;
        cosine.r += c * x;
        one.n1 -= z * n1;
        one.n2 -= z * n2;
        side -= c * z;
      }
      cosine.n1 += side * n1;
      cosine.n2 += side * n2;
    }
  }
  neighbor.put(one, pass.eta[0], pass.sum[0]);
  neighbor.put(cosine, pass.eta[0], pass.sum[1]);
}

// Uses the power that a pass is about.
template <class Pass, class Use>
void with_power(const Pass& pass, const Use& use) {
  if (pass.unrolled) switch (pass.exponent) {
      case 2:
        return use(WholePower<2>());
      case 4:
        return use(WholePower<4>());
      case 8:
        return use(WholePower<8>());
      case 16:
        return use(WholePower<16>());
    }
  const double factor = pass.scale * pass.zeta;
  if (pass.exponent > 0) return use(AnyWholePower{pass.exponent, factor});
  use(RealPower{pass.zeta, factor});
}

}  // namespace

// The blocks of the pairs of j with the k in `list`. Etas: how many there are, or 0.
template <bool Derivatives, bool Full, int Etas>
void SymmetryFunctions::tabulate_pairs(const Neighbors& near, Index j, const std::uint16_t* list,
                                       Index size, double* pairs) const {
  const Damping::Factor* const factors = damping_.factors.data();
  const Index n_etas = Etas > 0 ? Etas : static_cast<Index>(damping_.factors.size());
  const Index width = Etas > 0 ? Neighbors::record_width(Etas) : near.width;
  const Index step = block_size(n_etas);
  const double inverse = 1.0 / (cutoff_.radius * cutoff_.radius);
  const double* const own = near.of(j);
  const auto of_j = [&](Index column) { return own[column * kPairLanes]; };
  const double rj = of_j(near.kR), xj = of_j(near.kX), shrink = -2.0 * inverse * rj;
  const double ux = of_j(near.kU), uy = of_j(near.kU + 1), uz = of_j(near.kU + 2);
  const double tilt = of_j(near.kTilt), e1z = of_j(near.kE1 + 2), e2z = of_j(near.kE2 + 2);
  const double* const all_records = near.records;

  // u_k in the frame of u_j, then the weights. Those of one block are worked out while the next is
  // looked at: two short chains of operations side by side.
  struct Seen {
    Lanes t, r, c;  // t: 2 x_jk - 1
  };
  const auto look = [&](const std::uint16_t* k, double* block) {
    const double* records[kPairLanes];
    for (Index l = 0; l < kPairLanes; ++l) records[l] = all_records + k[l] * width;
    Lanes xy[2], zr[2], ak[2];
    load_columns(records, near.kRecordU, xy);
    load_columns(records, near.kRecordU + 2, zr);
    const auto [x, y] = xy;
    const auto [z, r] = zr;
    const Lanes h = ux * x + uy * y;
    const Lanes c = h + uz * z, w = tilt * h - z;
    set_line(block, kCosine, c);
    if (Derivatives) {
      set_line(block, kN1, x - e1z * w);
      set_line(block, kN2, y - e2z * w);
    }
    for (Index e = 0; e < n_etas; e += 2) {
      load_columns(records, near.kRecordA + e, ak);
      set_line(block + weights_of(e), 0, ak[0]);
      if (e + 1 < n_etas) set_line(block + weights_of(e + 1), 0, ak[1]);
    }
    const Lanes t = 2.0 * xj - 1.0 + r * (2.0 * inverse * r + 2.0 * shrink * c);
    return Seen{at_most(t, 1.0), r, c};
  };
  const auto weigh = [&](const Seen& seen, double* block) {
    const Lanes along = rj - seen.r * seen.c, across = -shrink * seen.r;
    const auto put = [&](Index e, Lanes a_k, ValueAndSlope of_jk) {
      double* const weights = block + weights_of(e);
      const Lanes q = a_k * of_jk.b;
      set_line(weights, 0, a_k * of_jk.a);
      if (Derivatives) {
        set_line(weights, 1, q * along);
        set_line(weights, 2, q * across);
      }
    };
    const auto a_k = [&](Index e) { return line(block + weights_of(e), 0); };
    if constexpr (Etas > 0) {
      const ValueAndSlope base = square_base(damping_, seen.t);
      put(0, a_k(0), base);
      if (Etas > 1)
        put(1, a_k(1) * smooth_exponential(factors[1], seen.t), undamped(factors[1], base));
    } else {
      const ValueAndSlope base = damping_base(damping_, seen.t);
      for (Index e = 0; e < n_etas; ++e) put(e, a_k(e), damping_factor(factors[e], seen.t, base));
    }
  };
  double* block = pairs;
  const std::uint16_t* const end = list + size;
  if constexpr (Full) {
    if (list == end) return;
    Seen seen = look(list, block);
    for (const std::uint16_t* k = list + kPairLanes; k != end; k += kPairLanes, block += step) {
      const Seen next = look(k, block + step);
      weigh(seen, block);
      seen = next;
    }
    weigh(seen, block);
  } else {
    for (const std::uint16_t* k = list; k != end; k += kPairLanes, block += step) look(k, block);
  }
}

template <bool Derivatives, FunctionKind Kind, int Etas>
void SymmetryFunctions::add_angular(const Center& center, const Angular& group,
                                    const Neighbors& near, const Slots& of_j, const Slots& of_k,
                                    Workspace& work) const {
  constexpr bool kFull = Kind == FunctionKind::kG4;
  const Index n_etas = Etas > 0 ? Etas : static_cast<Index>(damping_.factors.size());
  const Index step = block_size(n_etas);
  const double squared_radius = cutoff_.radius * cutoff_.radius, along = 4.0 / squared_radius;
  const float limit = static_cast<float>(squared_radius * (1.0 + 1e-5));
  const Numbers zeros = Numbers{} + static_cast<std::uint16_t>(near.slots);  // their record
  const Points points = near.points();
  const auto [x, y, z] = points;
  std::uint16_t* const list = work.list.data();
  double* const pairs = work.pairs.data();
  double* const totals = work.shares.data() + group.first;
  double* sums = work.angular.data() + of_j.first * center.most_sums * kAngularParts;
  for (Index j = of_j.first; j < of_j.last; ++j, sums += center.most_sums * kAngularParts) {
    // Where r_jk does not matter, those that only fill a block are told by their distance from the
    // central atom. A few that are too far count nothing in the end.
    const std::array<float, 3> place{kFull ? x[j] : 0.0F, kFull ? y[j] : 0.0F, kFull ? z[j] : 0.0F};
    const Index m = list_near(points, of_k.first, of_k.last, place, limit, j, list);
    std::memcpy(list + m, &zeros, sizeof zeros);
    const Index size = padded(m, kPairLanes);
    tabulate_pairs<Derivatives, kFull, Etas>(near, j, list, size, pairs);
    const Blocks blocks{pairs, pairs + size / kPairLanes * step, step};
    const double* const own = near.of(j);
    const double r_j = own[near.kR * kPairLanes], across = 2.0 / r_j;
    OfNeighbor neighbor;
    neighbor.damping = own + near.kDamping * kPairLanes;
    neighbor.units = Four{1.0, along, across, across};
    neighbor.slope = Four{0.0, along * r_j, 0.0, 0.0};
    neighbor.sums = sums;
    neighbor.totals = totals;
    for (const Pass& pass : group.passes) {
      if (pass.exponent == 1)
        sum_linear<Derivatives, kFull>(blocks, pass, neighbor);
      else
        with_power(pass, [&](const auto& to_power) {
          if (pass.sums == 2)
            sum_powers<Derivatives, kFull, true>(blocks, pass, to_power, neighbor);
          else
            sum_powers<Derivatives, kFull, false>(blocks, pass, to_power, neighbor);
        });
    }
  }
}

template <bool Derivatives>
void SymmetryFunctions::add_angular(const Center& center, const Neighbors& near,
                                    Workspace& work) const {
  const std::size_t ns = centers_.size(), n_etas = damping_.factors.size();
  // Blocks for all, for those that fill the last, and one whose power is worked out in vain.
  work.pairs.require((near.slots / kPairLanes + 2) * block_size(static_cast<Index>(n_etas)));
  work.list.resize(std::max(work.list.size(), static_cast<std::size_t>(near.slots) + 8));
  const auto add = [&](auto etas) {
    for (std::size_t s = 0; s < ns; ++s)
      for (std::size_t t = 0; t < ns; ++t) {
        const Slots of_j{work.slot[s], work.slot[s] + work.count[s]};
        const Slots of_k{work.slot[t], work.slot[t + 1]};
        const Angular &g4 = center.g4[s * ns + t], &g5 = center.g5[s * ns + t];
        if (!g4.terms.empty())
          add_angular<Derivatives, FunctionKind::kG4, etas()>(center, g4, near, of_j, of_k, work);
        if (!g5.terms.empty())
          add_angular<Derivatives, FunctionKind::kG5, etas()>(center, g5, near, of_j, of_k, work);
      }
  };
  // What most sets have, without choices in the loops: one small eta, or another one beside.
  const bool usual = damping_.kind == CutoffKind::kCosine && n_etas > 0 &&
                     damping_.factors[0].kind == Damping::Rest::kNone;
  if (usual && n_etas == 1)
    add(std::integral_constant<int, 1>());
  else if (usual && n_etas == 2 && damping_.factors[1].kind == Damping::Rest::kSmooth)
    add(std::integral_constant<int, 2>());
  else
    add(std::integral_constant<int, 0>());
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

template void SymmetryFunctions::add_angular<false>(const Center&, const Neighbors&,
                                                    Workspace&) const;
template void SymmetryFunctions::add_angular<true>(const Center&, const Neighbors&,
                                                   Workspace&) const;

}  // namespace nearsight
