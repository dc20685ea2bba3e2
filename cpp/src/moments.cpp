// G5 of small whole zeta without a loop over pairs. With the moments M_l = sum_j A_j u_j x ... x
// u_j (l times) of the unit vectors of one species, A_j = exp(-eta (r_j - R_s)^2 / Rc^2) fc(r_j),
// and c = u_j . u_k,
//   sum over j, k of A_j A_k c^l = <M_l, M_l>,
// so the powers of 1 + gamma c need one pass over the neighbours for the moments, and one for the
// derivatives. Neighbours are in the lanes. docs/theory.md derives it.
//
// A symmetric tensor of rank l has (l + 1) (l + 2) / 2 different components x^a y^b z^c. That one
// stands at m (m + 1) / 2 + c with m = b + c, whatever l: one more x leaves the place as it is, one
// more y or z adds m + 1 or m + 2.
#include <algorithm>

#include "kernels.hpp"

namespace nearsight {

namespace {

constexpr int rank_size(int rank) { return (rank + 1) * (rank + 2) / 2; }
// Components of all ranks below.
constexpr int rank_begin(int rank) { return rank * (rank + 1) * (rank + 2) / 6; }

// In memory, every component is repeated for all lanes; then the sum of A^2.
constexpr Index kSquares = rank_begin(kMaxRank + 1);
constexpr Index kSetSize = (kSquares + 1) * kPairLanes;

// Components of a symmetric tensor as sums or products of those lower by one, and of u.
struct Direction {
  Vec x, y, z;
};

// u x ... x u from that of a rank less.
template <int Rank>
inline void raise(const Vec* lower, const Direction& u, Vec* product) {
  constexpr int size = rank_size(Rank - 1);
  for (int i = 0; i < size; ++i) product[i] = u.x * lower[i];
  for (int n = 0; n < Rank; ++n) product[size + n] = u.y * lower[size - Rank + n];
  product[size + Rank] = u.z * lower[size - 1];
}

// A tensor of this rank times u: one of a rank less.
template <int Rank, class Component>
inline void lower(const Component& component, const Direction& u, Vec* product) {
  for (int m = 0, i = 0; m < Rank; ++m)
    for (int n = 0; n <= m; ++n, ++i)
      product[i] = u.x * component(i) + u.y * component(i + m + 1) + u.z * component(i + m + 2);
}

// Times u until a vector is left.
template <int Rank, class Component>
inline Direction lower_to_vector(const Component& component, const Direction& u) {
  if constexpr (Rank == 1) {
    return {component(0), component(1), component(2)};
  } else {
    Vec product[rank_size(Rank - 1)];
    lower<Rank>(component, u, product);
    return lower_to_vector<Rank - 1>([&](int i) { return product[i]; }, u);
  }
}

inline Direction unit_vectors(const NeighborTable& table, Index block) {
  return {load(table.row(block, table.kU)), load(table.row(block, table.kU + 1)),
          load(table.row(block, table.kU + 2))};
}

// Moments of the ranks from First to Last: as many as fit the registers.
template <int First, int Last>
[[gnu::noinline]] void add_up(const NeighborTable& table, Index first, Index last, Index form,
                              double* set) {
  constexpr int begin = rank_begin(First), count = rank_begin(Last + 1) - begin;
  Vec sum[count]{}, squares{};
  for (Index b = first; b < last; b += kPairLanes) {
    const Direction u = unit_vectors(table, b);
    Vec product[Last + 1][rank_size(Last)];
    product[0][0] = load(table.row(b, table.kRadial + 2 * form));
    if constexpr (First == 0) squares += product[0][0] * product[0][0];
    if constexpr (Last >= 1) raise<1>(product[0], u, product[1]);
    if constexpr (Last >= 2) raise<2>(product[1], u, product[2]);
    if constexpr (Last >= 3) raise<3>(product[2], u, product[3]);
    if constexpr (Last >= 4) raise<4>(product[3], u, product[4]);
    for (int rank = First; rank <= Last; ++rank)
      for (int i = 0; i < rank_size(rank); ++i)
        sum[rank_begin(rank) - begin + i] += product[rank][i];
  }
  for (int i = 0; i < count; ++i)
    store(set + (begin + i) * kPairLanes, broadcast(reduce_add(sum[i])));
  if constexpr (First == 0) store(set + kSquares * kPairLanes, broadcast(reduce_add(squares)));
}

void make_set(const MomentSet& of, const NeighborTable& table, const Workspace& work, double* set) {
  const Index first = work.slot[of.species];
  const Index last = first + padded(work.inner[of.species], kPairLanes);
  add_up<0, 2>(table, first, last, of.form, set);
  if (of.rank >= 3) add_up<3, 3>(table, first, last, of.form, set);
  if (of.rank >= 4) add_up<4, 4>(table, first, last, of.form, set);
}

// <A_l, B_l> of two sets.
double product_of(int rank, const double* a, const double* b) {
  double total = 0.0;
  for (int m = 0, i = rank_begin(rank), row = 1; m <= rank; ++m) {
    // how often a component occurs: rank! / ((rank - m)! (m - n)! n!)
    int occurs = row;
    for (int n = 0; n <= m; ++n, ++i) {
      total += occurs * a[i * kPairLanes] * b[i * kPairLanes];
      occurs = occurs * (m - n) / (n + 1);
    }
    row = row * (rank - m) / (m + 1);
  }
  return total;
}

// Sums over j of one species and k of the other.
void add_values(const MomentPass& pass, const double* own, const double* other, double* totals) {
  double powers[kMaxRank + 1];
  for (int rank = 0; rank <= pass.rank; ++rank) powers[rank] = product_of(rank, own, other);
  for (const MomentSum& sum : pass.sums) {
    double total = -sum.self * own[kSquares * kPairLanes];
    for (int rank = pass.rank; rank >= 0; --rank) total += sum.coefficient[rank] * powers[rank];
    totals[sum.sum] = total;
  }
}

// Derivatives of these sums with respect to the position of every j.
template <int Rank>
[[gnu::noinline]] void add_slopes(const CenterPlan& center, const MomentPass& pass,
                                  const NeighborTable& table, Index first, Index last,
                                  double squared_radius, const double* other, double* sums) {
  const Vec one = load(other);
  const auto moment = [&](int rank) {
    return [=](int i) { return load(other + (rank_begin(rank) + i) * kPairLanes); };
  };
  const Index step = center.max_sums * kAngularParts;
  for (Index b = first; b < last; b += kPairLanes, sums += kPairLanes * step) {
    const Direction u = unit_vectors(table, b);
    const Direction e1{load(table.row(b, table.kE1)), load(table.row(b, table.kE1 + 1)),
                       load(table.row(b, table.kE1 + 2))};
    const Direction e2{load(table.row(b, table.kE2)), load(table.row(b, table.kE2 + 1)),
                       load(table.row(b, table.kE2 + 2))};
    // M_l times u l times, and l - 1 times and once the vectors across it
    Vec along[Rank + 1], across1[Rank + 1], across2[Rank + 1];
    along[0] = one;
    const auto set = [&](int rank, const Direction& vector) {
      const auto [x, y, z] = vector;
      along[rank] = u.x * x + u.y * y + u.z * z;
      across1[rank] = e1.x * x + e1.y * y + e1.z * z;
      across2[rank] = e2.x * x + e2.y * y + e2.z * z;
    };
    set(1, lower_to_vector<1>(moment(1), u));
    if constexpr (Rank >= 2) set(2, lower_to_vector<2>(moment(2), u));
    if constexpr (Rank >= 3) set(3, lower_to_vector<3>(moment(3), u));
    if constexpr (Rank >= 4) set(4, lower_to_vector<4>(moment(4), u));
    const Vec a = load(table.row(b, table.kRadial + 2 * pass.form)),
              slope = load(table.row(b, table.kRadial + 2 * pass.form + 1)),
              r = load(table.row(b, table.kR));
    const Vec radial = 4.0 / squared_radius * r * slope, turning = 2.0 * a / r;
    for (const MomentSum& sum : pass.sums) {
      Vec d = -sum.self * a + sum.coefficient[0] * along[0], d1{}, d2{};
      for (int rank = 1; rank <= Rank; ++rank) {
        d += sum.coefficient[rank] * along[rank];
        const double factor = sum.slope[rank];
        d1 += factor * across1[rank];
        d2 += factor * across2[rank];
      }
      store_rows(sums + sum.sum * kAngularParts, step, Vec{}, radial * d, turning * d1,
                 turning * d2);
    }
  }
}

// The same sums and derivatives of a few neighbours of one species, pair by pair. What moments
// give, the sum over all j and k less that of every j with itself, would be right to 1e-16 of the
// latter only: of one neighbour alone 1e-17 instead of nothing, which scaling to [-1, 1] would blow
// up. The same where one neighbour is in a shell and all others count little.
constexpr Index kFew = 4;

bool is_for_pairs(const MomentPass& pass, Index neighbors, const double* own) {
  if (pass.own != pass.other) return false;  // nothing is taken away
  // twice the sum over pairs of A_j A_k, beside that of A^2: to 1e-13 of it from moments
  constexpr double kLeast = 1e-3;
  const double squares = own[kSquares * kPairLanes], pairs = own[0] * own[0] - squares;
  return neighbors <= kFew || (pass.is_shifted && pairs < kLeast * squares);
}

template <bool Derivatives>
void add_few(const CenterPlan& center, const MomentPass& pass, const NeighborTable& table,
             Index first, Index last, double squared_radius, double* totals, double* sums) {
  const Index step = center.max_sums * kAngularParts;
  const Index a = (table.kRadial + 2 * pass.form) * kPairLanes;
  for (const MomentSum& sum : pass.sums) {
    totals[sum.sum] = 0.0;
    for (Index j = first; j < last; ++j) {
      const double* const own = table.of(j);
      double total = 0.0, across[2]{};  // of 2^-zeta (1 + gamma c)^zeta A_k, and its gradient
      for (Index k = first; k < last; ++k) {
        if (k == j) continue;
        const double* const other = table.of(k);
        const auto times_u = [&](Index row) {
          double product = 0.0;
          for (Index i = 0; i < 3; ++i)
            product += own[(row + i) * kPairLanes] * other[(table.kU + i) * kPairLanes];
          return product;
        };
        const double half = 0.5 + 0.5 * sum.gamma * times_u(table.kU);
        double lower = other[a];
        for (int n = 1; n < sum.power; ++n) lower *= half;
        total += lower * half;
        const double slope = 0.5 * sum.gamma * sum.power * lower;
        across[0] += slope * times_u(table.kE1);
        across[1] += slope * times_u(table.kE2);
      }
      totals[sum.sum] += own[a] * total;
      if (!Derivatives) continue;
      const double r = own[table.kR * kPairLanes], turning = 2.0 * own[a] / r;
      const double parts[] = {0.0, 4.0 / squared_radius * r * own[a + kPairLanes] * total,
                              turning * across[0], turning * across[1]};
      std::copy_n(parts, kAngularParts, sums + (j - first) * step + sum.sum * kAngularParts);
    }
  }
}

}  // namespace

template <bool Derivatives>
void add_moments(const SymmetryPlan& plan, const CenterPlan& center, const NeighborTable& table,
                 Workspace& work) {
  double* const sets = work.moments.require(static_cast<Index>(center.moments.size()) * kSetSize);
  for (std::size_t n = 0; n < center.moments.size(); ++n)
    make_set(center.moments[n], table, work, sets + n * kSetSize);
  const double squared_radius = plan.angular.radius * plan.angular.radius;
  for (const AngularPlan& group : center.g5)
    for (const MomentPass& pass : group.moments) {
      const double *const own = sets + pass.own * kSetSize, *other = sets + pass.other * kSetSize;
      const int species = center.moments[pass.own].species;
      const Index first = work.slot[species],
                  last = first + padded(work.inner[species], kPairLanes);
      double* const sums = work.angular.data() + first * center.max_sums * kAngularParts;
      double* const totals = work.per_sum.data() + group.first;
      if (is_for_pairs(pass, work.inner[species], own)) {
        add_few<Derivatives>(center, pass, table, first, first + work.inner[species],
                             squared_radius, totals, sums);
        continue;
      }
      add_values(pass, own, other, totals);
      if (!Derivatives) continue;
      const auto add = [&](auto rank) {
        add_slopes<rank()>(center, pass, table, first, last, squared_radius, other, sums);
      };
      switch (pass.rank) {
        case 1:
          add(std::integral_constant<int, 1>());
          break;
        case 2:
          add(std::integral_constant<int, 2>());
          break;
        case 3:
          add(std::integral_constant<int, 3>());
          break;
        default:
          add(std::integral_constant<int, kMaxRank>());
      }
    }
}

template void add_moments<false>(const SymmetryPlan&, const CenterPlan&, const NeighborTable&,
                                 Workspace&);
template void add_moments<true>(const SymmetryPlan&, const CenterPlan&, const NeighborTable&,
                                Workspace&);

}  // namespace nearsight
