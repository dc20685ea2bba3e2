// The shortest vectors that span a periodic lattice.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

#include "nearsight/types.hpp"

namespace nearsight {

using Integers3 = Eigen::Matrix<std::int64_t, 3, 3>;

// vectors = change . cell
struct ReducedCell {
  Eigen::Matrix3d vectors;
  Integers3 change;
  bool differs;
};

// Minkowski reduction of the periodic vectors of a cell, after I. Semaev, "A 3-dimensional lattice
// reduction algorithm" (2001), without its order by length: a vector is replaced by a shorter one
// of its class modulo the others, until there is none. What is reduced already stays as it is.
inline ReducedCell reduced_cell(const Eigen::Matrix3d& cell, const std::array<bool, 3>& periodic) {
  constexpr double kShorter = 1.0 - 1e-9;  // squared; less is rounding
  constexpr double kMost = 1e9;            // beyond it, rounding too
  ReducedCell result{cell, Integers3::Identity(), false};
  Eigen::Matrix3d& v = result.vectors;
  // Takes from vector a the whole multiples i of b and j of c.
  const auto take = [&](int a, int b, int c, double i, double j) {
    if (!(std::abs(i) < kMost && std::abs(j) < kMost)) return false;
    const Eigen::RowVector3d shorter = v.row(a) - i * v.row(b) - j * v.row(c);
    if (!(shorter.squaredNorm() < kShorter * v.row(a).squaredNorm())) return false;
    v.row(a) = shorter;
    result.change.row(a) -= static_cast<std::int64_t>(i) * result.change.row(b) +
                            static_cast<std::int64_t>(j) * result.change.row(c);
    return result.differs = true;
  };
  for (bool again = true; again;) {
    again = false;
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b)
        if (a != b && periodic[a] && periodic[b])
          while (take(a, b, b, std::round(v.row(a).dot(v.row(b)) / v.row(b).squaredNorm()), 0.0))
            again = true;
    if (again || !(periodic[0] && periodic[1] && periodic[2])) continue;
    for (int a = 0; a < 3; ++a) {
      const int b = (a + 1) % 3, c = (a + 2) % 3;
      const double bb = v.row(b).squaredNorm(), cc = v.row(c).squaredNorm();
      const double bc = v.row(b).dot(v.row(c)), ab = v.row(a).dot(v.row(b)),
                   ac = v.row(a).dot(v.row(c)), det = bb * cc - bc * bc;
      // the projection on the plane of b and c; the nearest point is a corner around it
      const double i = std::floor((ab * cc - ac * bc) / det),
                   j = std::floor((ac * bb - ab * bc) / det);
      for (int corner = 0; corner < 4; ++corner)
        again |= take(a, b, c, corner == 0 || corner == 1 ? i : i + 1.0,
                      corner == 0 || corner == 2 ? j : j + 1.0);
    }
  }
  return result;
}

}  // namespace nearsight
