// Structures that several tests use, open to change before they are checked.
#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "nearsight/structure.hpp"

namespace nearsight {

struct StructureData {
  Positions positions;
  std::vector<int> species;
  Eigen::Matrix3d cell = Eigen::Matrix3d::Zero();
  std::array<bool, 3> periodic{false, false, false};

  Structure checked() const { return {positions, species, cell, periodic}; }
};

inline StructureData cluster(const std::vector<std::array<double, 3>>& places) {
  StructureData made;
  made.positions.resize(static_cast<Index>(places.size()), 3);
  for (std::size_t i = 0; i < places.size(); ++i)
    for (int a = 0; a < 3; ++a) made.positions(static_cast<Index>(i), a) = places[i][a];
  made.species.assign(places.size(), 0);
  return made;
}

// The cubic face-centred cell of four atoms, repeated n times in every direction.
inline StructureData fcc(double a, int n) {
  std::vector<std::array<double, 3>> places;
  for (int x = 0; x < n; ++x)
    for (int y = 0; y < n; ++y)
      for (int z = 0; z < n; ++z)
        for (const auto& [u, v, w] : std::vector<std::array<double, 3>>{
                 {0.0, 0.0, 0.0}, {0.0, 0.5, 0.5}, {0.5, 0.0, 0.5}, {0.5, 0.5, 0.0}})
          places.push_back({(x + u) * a, (y + v) * a, (z + w) * a});
  StructureData made = cluster(places);
  made.cell = n * a * Eigen::Matrix3d::Identity();
  made.periodic = {true, true, true};
  return made;
}

}  // namespace nearsight
