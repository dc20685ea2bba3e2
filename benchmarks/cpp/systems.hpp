// What is timed: structures, and random networks on the paper's symmetry functions.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "nearsight/potential.hpp"

namespace nearsight::bench {

inline constexpr double kCutoff = 6.5;

struct System {
  Positions positions;
  std::vector<int> species;
  Eigen::Matrix3d cell = Eigen::Matrix3d::Zero();
  bool periodic = false;
  int n_species = 1;

  Structure structure() const { return {positions, species, cell, {periodic, periodic, periodic}}; }
};

inline System finish(const std::vector<Eigen::Vector3d>& sites, int n_species) {
  System system;
  system.n_species = n_species;
  system.positions.resize(static_cast<Index>(sites.size()), 3);
  std::mt19937 random(1);
  std::normal_distribution<double> rattle(0.0, 0.05);
  std::uniform_int_distribution<int> element(0, n_species - 1);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    for (int a = 0; a < 3; ++a)
      system.positions(static_cast<Index>(i), a) = sites[i][a] + rattle(random);
    system.species.push_back(element(random));
  }
  return system;
}

// Truncated octahedra of fcc sites, as ase.cluster.Octahedron(length, cut).
inline System octahedron(int length, int cut, int n_species = 1) {
  const int reach = length - 1;
  std::vector<Eigen::Vector3d> sites;
  for (int x = -reach; x <= reach; ++x)
    for (int y = -reach; y <= reach; ++y)
      for (int z = -reach; z <= reach; ++z)
        if ((x + y + z + reach) % 2 == 0 && std::abs(x) + std::abs(y) + std::abs(z) <= reach &&
            std::max({std::abs(x), std::abs(y), std::abs(z)}) <= reach - cut)
          sites.emplace_back(1.995 * x, 1.995 * y, 1.995 * z);
  return finish(sites, n_species);
}

inline System block(int nx, int ny, int nz, bool periodic) {
  std::vector<Eigen::Vector3d> sites;
  for (int x = 0; x < 2 * nx; ++x)
    for (int y = 0; y < 2 * ny; ++y)
      for (int z = 0; z < 2 * nz; ++z)
        if ((x + y + z) % 2 == 0) sites.emplace_back(1.995 * x, 1.995 * y, 1.995 * z);
  System system = finish(sites, 1);
  system.periodic = periodic;
  system.cell.diagonal() = 3.99 * Eigen::Vector3d(nx, ny, nz);
  return system;
}

// Table S2 of the paper for every neighbour element (pair): 20 functions for one element, 49 for
// each of two.
inline std::vector<SymmetryFunction> functions(int n_species) {
  const double radial[][2] = {{0.42813323987193913, 0},
                              {2.636650898730358, 0},
                              {16.23776739188721, 0},
                              {0.42813323987193913, 2},
                              {4.832930238571752, 2},
                              {54.555947811685144, 2},
                              {100, 2},
                              {0.001, 4},
                              {29.763514416313193, 4},
                              {54.555947811685144, 4},
                              {100, 4}};
  const double angular[][3] = {{0.005, 1, -1}, {0.005, 1, 1},   {0.005, 4, -1},
                               {0.005, 4, 1},  {0.005, 16, -1}, {1, 1, -1},
                               {1, 1, 1},      {1, 4, -1},      {1, 4, 1}};
  std::vector<SymmetryFunction> all;
  for (int center = 0; center < n_species; ++center) {
    for (int s = 0; s < n_species; ++s)
      for (const auto& f : radial)
        all.push_back({FunctionKind::kG2, center, s, 0, f[0], f[1], 1.0, 0.0});
    for (int s = 0; s < n_species; ++s)
      for (int t = s; t < n_species; ++t)
        for (const auto& f : angular)
          all.push_back({FunctionKind::kG4, center, s, t, f[0], 0.0, f[1], f[2]});
  }
  return all;
}

struct Model {
  Model(int n_species, Index members) : parameters(functions(n_species)), members(members) {
    SymmetryFunctions plan(n_species, Cutoff(CutoffKind::kCosine, kCutoff), parameters);
    const Index inputs = plan.size(0);
    const std::vector<Index> sizes{inputs, 5, 5, 1};
    std::mt19937 random(2);
    std::uniform_real_distribution<double> uniform(-0.4, 0.4);
    scale = Eigen::ArrayXd::Constant(inputs, 0.2);
    offset = Eigen::ArrayXd::Constant(inputs, -1.0);
    slope = Eigen::ArrayXd::Ones(members);
    intercept = Eigen::ArrayXd::Zero(members);
    std::vector<NetworkBatch> networks;
    for (int s = 0; s < n_species; ++s) {
      std::vector<Eigen::ArrayXd> arrays;
      for (std::size_t l = 0; l + 1 < sizes.size(); ++l)
        for (const Index n : {members * sizes[l + 1] * sizes[l], members * sizes[l + 1]}) {
          arrays.emplace_back(n);
          for (double& value : arrays.back()) value = uniform(random);
        }
      std::vector<LayerView> layers;
      for (std::size_t l = 0; l + 1 < sizes.size(); ++l)
        layers.push_back({sizes[l], sizes[l + 1], arrays[2 * l].data(), arrays[2 * l + 1].data(),
                          l + 2 < sizes.size() ? Activation::kTanh : Activation::kLinear});
      networks.emplace_back(members, layers, slope.data(), intercept.data(), scale.data(),
                            offset.data());
    }
    reference = networks;
    potential = std::make_unique<Potential>(std::move(plan), std::move(networks));
  }

  std::vector<SymmetryFunction> parameters;
  Index members;
  Eigen::ArrayXd scale, offset, slope, intercept;
  std::vector<NetworkBatch> reference;
  std::unique_ptr<Potential> potential;
};

}  // namespace nearsight::bench
