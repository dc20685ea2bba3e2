// G4, and G5 that are not made of moments: for one neighbour j of the central atom, all sums over
// the other neighbours k at once, k in the lanes. With c = cos(theta), u the unit vectors, x =
// (r/Rc)^2, A = exp(-eta (r - R_s)^2 / Rc^2) fc and B = dA/dx, the sum over k of P(c) A_j A_k A_jk
// and its derivative with respect to r_j need
//   T  = sum P W                       W = A_k A_jk
//   R  = sum P X                       X = A_k B_jk (r_j - r_k c)
//   N  = sum (P' W - P Z) (u_k - c u_j)  Z = A_k B_jk 2 r_j r_k / Rc^2
// (N in a frame of two vectors orthogonal to u_j); G5 has A_jk = 1, B_jk = 0. docs/theory.md
// derives them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels.hpp"

namespace nearsight {

namespace {

// SoA block of kPairLanes neighbours k: rows c, u_k . e1, u_k . e2, then W, X, Z for each form
// (before, A_k in the place of W).
enum PairRow { kCosine, kN1, kN2, kWeights, kRowsPerForm = 3 };

// Where W, X, Z of a form begin.
constexpr Index weights_offset(Index form) { return (kWeights + kRowsPerForm * form) * kPairLanes; }
constexpr Index block_size(Index n_forms) { return weights_offset(n_forms); }

inline Vec row(const double* block, Index n) { return load(block + n * kPairLanes); }
inline void set_row(double* block, Index n, Vec value) { store(block + n * kPairLanes, value); }

// A power of p = scale c + offset and its derivative with respect to c.
struct Power {
  Vec value, slope;
};

// p^N with scale = 1 / N: the derivative is p^(N-1).
template <int N>
struct WholePower {
  Power operator()(Vec p) const {
    if constexpr (N == 1) {
      return {p, broadcast(1.0)};
    } else {
      const Power half = WholePower<N / 2>()(p);
      const Vec square = half.value * half.value;
      if constexpr (N % 2 == 1) return {square * p, square};
      return {square, half.value * half.slope};
    }
  }
};

struct AnyWholePower {
  int exponent;
  double factor;
  Power operator()(Vec p) const {
    Vec lower = broadcast(1.0), square = p;
    for (int n = exponent - 1; n > 0; n >>= 1, square *= square)
      if (n & 1) lower *= square;
    return {p * lower, factor * lower};
  }
};

struct RealPower {
  double exponent, factor;
  Power operator()(Vec p) const {
    Vec lower{};
    for (Index l = 0; l < kPairLanes; ++l)
      lower[l] = p[l] > 0.0 ? std::pow(p[l], exponent - 1.0) : 0.0;
    return {p * lower, factor * lower};
  }
};

// Pairs of one j: blocks of kPairLanes neighbours k.
struct LaneBlocks {
  const double *first, *last;
  Index step;
};

// T, R and N of one function.
struct Sums {
  Vec t{}, r{}, n1{}, n2{};
};

// Factors of j in its sums over k.
struct NeighborContext {
  const double* radial;  // A and dA/dx by form, kPairLanes apart
  Vec4 units, slope;
  double *sums, *totals;

  // Stores the part of j in the sum over all j, and its derivatives.
  void put(const Sums& over_k, Index form, Index sum) const {
    const double a = radial[2 * form * kPairLanes], b = radial[(2 * form + 1) * kPairLanes];
    Vec4 parts;
    reduce_add4(over_k.t, over_k.r, over_k.n1, over_k.n2, parts);
    const Vec4 part = a * units * parts + b * parts[0] * slope;
    std::memcpy(sums + sum * kAngularParts, &part, sizeof part);
    totals[sum] += part[0];
  }
};

// Sums of one power for one or two forms.
template <bool Derivatives, bool Full, bool Two, class ToPower>
void sum_powers(const LaneBlocks& blocks, const AngularPass& pass, const ToPower& to_power,
                const NeighborContext& neighbor) {
  const Index weights[2] = {weights_offset(pass.form[0]), weights_offset(pass.form[1])};
  Sums first, second;
  // The power of the next k is computed while that of these is used, if one too many costs
  // little.
  constexpr bool kAhead = !std::is_same_v<ToPower, RealPower>;
  const auto power_of = [&](const double* block) {
    return to_power(pass.scale * row(block, kCosine) + pass.offset);
  };
  Power next{};
  if constexpr (kAhead) next = power_of(blocks.first);
  for (const double* block = blocks.first; block != blocks.last; block += blocks.step) {
    const Power power = kAhead ? next : power_of(block);
    if constexpr (kAhead) next = power_of(block + blocks.step);
    const auto add = [&](const double* of_form, Sums& sums) {
      const Vec w = row(of_form, 0);
      sums.t += power.value * w;
      if constexpr (Derivatives) {
        Vec side = power.slope * w;
        if constexpr (Full) {
          sums.r += power.value * row(of_form, 1);
          side -= power.value * row(of_form, 2);
        }
        sums.n1 += side * row(block, kN1);
        sums.n2 += side * row(block, kN2);
      }
    };
    add(block + weights[0], first);
    if constexpr (Two) add(block + weights[1], second);
  }
  neighbor.put(first, pass.form[0], pass.sum[0]);
  if constexpr (Two) neighbor.put(second, pass.form[1], pass.sum[1]);
}

// Sums of 1 and of c, for one form.
template <bool Derivatives, bool Full>
void sum_linear(const LaneBlocks& blocks, const AngularPass& pass,
                const NeighborContext& neighbor) {
  const Index weights = weights_offset(pass.form[0]);
  Sums one, cosine;
  for (const double* block = blocks.first; block != blocks.last; block += blocks.step) {
    const double* const of_form = block + weights;
    const Vec c = row(block, kCosine), w = row(of_form, 0);
    one.t += w;
    cosine.t += c * w;
    if constexpr (Derivatives) {
      const Vec n1 = row(block, kN1), n2 = row(block, kN2);
      Vec side = w;
      if constexpr (Full) {
        const Vec x = row(of_form, 1), z = row(of_form, 2);
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
  neighbor.put(one, pass.form[0], pass.sum[0]);
  neighbor.put(cosine, pass.form[0], pass.sum[1]);
}

// Calls `use` with the power of a pass.
template <class Use>
void with_power(const AngularPass& pass, const Use& use) {
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

// Blocks of the pairs of j with the k in `list`. Forms: their number, or 0 for any. Not inlined:
// two loops in one function do not fit the registers (3 % of a force call).
template <bool Derivatives, bool Full, int Forms>
[[gnu::noinline]] void tabulate_pairs(const SymmetryPlan& plan, const NeighborTable& table, Index j,
                                      const std::uint16_t* list, Index size, double* pairs) {
  const RadialFactors& radial = plan.radial;
  const RadialFactors::Factor* const factors = radial.factors.data();
  const Index n_forms = Forms > 0 ? Forms : plan.pair_forms;
  const Index width = Forms > 0 ? NeighborTable::record_width(Forms) : table.width;
  const Index step = block_size(n_forms);
  const double inverse = 1.0 / (plan.angular.radius * plan.angular.radius);
  const double* const own = table.of(j);
  const auto of_j = [&](Index column) { return own[column * kPairLanes]; };
  const double rj = of_j(table.kR), xj = of_j(table.kX), shrink = -2.0 * inverse * rj;
  const double ux = of_j(table.kU), uy = of_j(table.kU + 1), uz = of_j(table.kU + 2);
  const double tilt = of_j(table.kTilt), e1z = of_j(table.kE1 + 2), e2z = of_j(table.kE2 + 2);
  const double* const all_records = table.records;

  // u_k in the frame of u_j, then the weights. Those of one block are computed while the next is
  // looked at: two short chains of operations side by side.
  struct Seen {
    Vec t, r, c;  // t: 2 x_jk - 1
  };
  const auto look = [&](const std::uint16_t* k, double* block) {
    const double* records[kPairLanes];
    for (Index l = 0; l < kPairLanes; ++l) records[l] = all_records + k[l] * width;
    Vec xy[2], zr[2], ak[2];
    load_columns(records, table.kRecordU, xy);
    load_columns(records, table.kRecordU + 2, zr);
    const auto [x, y] = xy;
    const auto [z, r] = zr;
    const Vec h = ux * x + uy * y;
    const Vec c = h + uz * z, w = tilt * h - z;
    set_row(block, kCosine, c);
    if (Derivatives) {
      set_row(block, kN1, x - e1z * w);
      set_row(block, kN2, y - e2z * w);
    }
    for (Index e = 0; e < n_forms; e += 2) {
      load_columns(records, table.kRecordA + e, ak);
      set_row(block + weights_offset(e), 0, ak[0]);
      if (e + 1 < n_forms) set_row(block + weights_offset(e + 1), 0, ak[1]);
    }
    const Vec t = 2.0 * xj - 1.0 + r * (2.0 * inverse * r + 2.0 * shrink * c);
    return Seen{min(t, 1.0), r, c};
  };
  const auto weigh = [&](const Seen& seen, double* block) {
    const Vec along = rj - seen.r * seen.c, across = -shrink * seen.r;
    const auto put = [&](Index e, Vec a_k, ValueAndSlope of_jk) {
      double* const weights = block + weights_offset(e);
      const Vec q = a_k * of_jk.b;
      set_row(weights, 0, a_k * of_jk.a);
      if (Derivatives) {
        set_row(weights, 1, q * along);
        set_row(weights, 2, q * across);
      }
    };
    const auto a_k = [&](Index e) { return row(block + weights_offset(e), 0); };
    if constexpr (Forms > 0) {
      const ValueAndSlope base = cosine_base(radial, seen.t);
      put(0, a_k(0), base);
      if (Forms > 1) put(1, a_k(1) * smooth_exp(factors[1], seen.t), without_exp(factors[1], base));
    } else {
      const ValueAndSlope base = base_factor(radial, seen.t);
      const Distance distance = distance_of(radial, seen.t);
      for (Index e = 0; e < n_forms; ++e)
        put(e, a_k(e), radial_factor(radial, factors[e], seen.t, distance, base));
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

struct Slots {
  Index first, last;
};

// Sums of all G4 (Full), or all G5, of one pair of species.
template <bool Derivatives, bool Full, int Forms>
[[gnu::noinline]] void add_group(const SymmetryPlan& plan, const CenterPlan& center,
                                 const AngularPlan& group, const NeighborTable& table,
                                 const Slots& of_j, const Slots& of_k, Workspace& work) {
  const Index n_forms = Forms > 0 ? Forms : plan.pair_forms;
  const Index step = block_size(n_forms);
  const double squared_radius = plan.angular.radius * plan.angular.radius,
               along = 4.0 / squared_radius;
  const float limit = static_cast<float>(squared_radius * (1.0 + 1e-5));
  const Index16x8 zeros = Index16x8{} + static_cast<std::uint16_t>(table.slots);  // their record
  const Points points = table.points();
  const auto [x, y, z] = points;
  std::uint16_t* const list = work.list.data();
  double* const pairs = work.pairs.data();
  double* const totals = work.per_sum.data() + group.first;
  double* sums = work.angular.data() + of_j.first * center.max_sums * kAngularParts;
  for (Index j = of_j.first; j < of_j.last; ++j, sums += center.max_sums * kAngularParts) {
    // Where r_jk does not matter, all k are within the cutoff of the central atom. A few that are
    // too far count nothing in the end.
    const std::array<float, 3> center_of_k{Full ? x[j] : 0.0F, Full ? y[j] : 0.0F,
                                           Full ? z[j] : 0.0F};
    const Index m = points_within(points, of_k.first, of_k.last, center_of_k, limit, j, list);
    std::memcpy(list + m, &zeros, sizeof zeros);
    const Index size = padded(m, kPairLanes);
    tabulate_pairs<Derivatives, Full, Forms>(plan, table, j, list, size, pairs);
    const LaneBlocks blocks{pairs, pairs + size / kPairLanes * step, step};
    const double* const own = table.of(j);
    const double r_j = own[table.kR * kPairLanes], across = 2.0 / r_j;
    NeighborContext neighbor;
    neighbor.radial = own + table.kRadial * kPairLanes;
    neighbor.units = Vec4{1.0, along, across, across};
    neighbor.slope = Vec4{0.0, along * r_j, 0.0, 0.0};
    neighbor.sums = sums;
    neighbor.totals = totals;
    for (const AngularPass& pass : group.passes) {
      if (pass.exponent == 1)
        sum_linear<Derivatives, Full>(blocks, pass, neighbor);
      else
        with_power(pass, [&](const auto& to_power) {
          if (pass.sums == 2)
            sum_powers<Derivatives, Full, true>(blocks, pass, to_power, neighbor);
          else
            sum_powers<Derivatives, Full, false>(blocks, pass, to_power, neighbor);
        });
    }
  }
}

}  // namespace

template <bool Derivatives>
void add_angular(const SymmetryPlan& plan, const CenterPlan& center, const NeighborTable& table,
                 Workspace& work) {
  const RadialFactors& radial = plan.radial;
  const std::size_t ns = plan.centers.size();
  const Index n_forms = plan.pair_forms;
  // Blocks for all, for those that fill the last, and one whose power is computed in vain.
  work.pairs.require((table.slots / kPairLanes + 2) * block_size(n_forms));
  work.list.resize(std::max(work.list.size(), static_cast<std::size_t>(table.slots) + 8));
  const auto add = [&](auto forms) {
    for (std::size_t s = 0; s < ns; ++s)
      for (std::size_t t = 0; t < ns; ++t) {
        const Slots of_j{work.slot[s], work.slot[s] + work.inner[s]};
        const Slots of_k{work.slot[t], work.slot[t] + work.inner[t]};
        const AngularPlan &g4 = center.g4[s * ns + t], &g5 = center.g5[s * ns + t];
        if (!g4.passes.empty())
          add_group<Derivatives, true, forms()>(plan, center, g4, table, of_j, of_k, work);
        if (!g5.passes.empty())
          add_group<Derivatives, false, forms()>(plan, center, g5, table, of_j, of_k, work);
      }
  };
  // Most sets, without choices in the loops: one small eta, or another smooth one beside.
  const bool usual =
      radial.kind == CutoffKind::kCosine && radial.factors[0].kind == RadialFactors::Extra::kNone;
  if (usual && n_forms == 1)
    add(std::integral_constant<int, 1>());
  else if (usual && n_forms == 2 && radial.factors[1].kind == RadialFactors::Extra::kSmooth)
    add(std::integral_constant<int, 2>());
  else
    add(std::integral_constant<int, 0>());
}

template void add_angular<false>(const SymmetryPlan&, const CenterPlan&, const NeighborTable&,
                                 Workspace&);
template void add_angular<true>(const SymmetryPlan&, const CenterPlan&, const NeighborTable&,
                                Workspace&);

}  // namespace nearsight
