// Energy, forces and uncertainty of a structure by a potential of nearsight, without Python:
//     forces best.json structure.extxyz
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nearsight/potential_file.hpp>
#include <sstream>
#include <stdexcept>

int main(int argc, char** argv) try {
  using namespace nearsight;
  if (argc != 3) throw std::invalid_argument("expected a potential and a structure");
  const PotentialFile file = read_potential(argv[1]);

  // extended XYZ: number of atoms, comment with the cell, and then element and x y z of each (Å)
  std::ifstream in(argv[2]);
  std::string line, symbol;
  std::getline(in, line);
  Positions positions(std::stol(line), 3);
  std::vector<int> species;
  Eigen::Matrix3d cell = Eigen::Matrix3d::Zero();
  std::getline(in, line);
  const bool periodic = line.find("Lattice=\"") != std::string::npos;
  std::istringstream lattice(periodic ? line.substr(line.find("Lattice=\"") + 9) : "");
  for (int k = 0; periodic && k < 9; ++k) lattice >> cell(k / 3, k % 3);
  for (Index i = 0; i < positions.rows() && std::getline(in, line); ++i) {
    std::istringstream(line) >> symbol >> positions(i, 0) >> positions(i, 1) >> positions(i, 2);
    const auto known = std::find(file.elements.begin(), file.elements.end(), symbol);
    if (known == file.elements.end()) throw std::invalid_argument("no potential for " + symbol);
    species.push_back(static_cast<int>(known - file.elements.begin()));
  }

  const Structure structure(positions, species, cell, {periodic, periodic, periodic});
  const NeighborList neighbors(structure, file.potential.functions().cutoff().radius);
  const Evaluation found = file.potential.evaluate(structure, neighbors, Forces::kMembers, true);
  for (Index i = 0; i < structure.size(); ++i) {
    const double grade = found.extrapolation.size() > 0 ? found.extrapolation[i] : 0.0;
    std::printf("%.17g %.17g %.17g %.17g %.17g %.17g\n", found.mean_energies[i],
                found.mean_forces(i, 0), found.mean_forces(i, 1), found.mean_forces(i, 2),
                file.uncertainty(found.deviation[i], grade), grade);
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 2;
}
