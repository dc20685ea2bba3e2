#include "nearsight/baseline.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "parallel.hpp"

namespace nearsight {

namespace {

constexpr double kCoulomb = 14.3996454784;  // e^2 / (4 pi epsilon_0), eV Å
constexpr double kTwoOverRootPi = 1.1283791670955126;
constexpr std::array<std::array<double, 2>, 4> kScreening = {
    {{0.18175, 3.19980}, {0.50986, 0.94229}, {0.28022, 0.40290}, {0.02817, 0.20162}}};

constexpr Index kVirialBlock = 256;  // atoms whose virials are added up, then the blocks in order

}  // namespace

Baseline::Baseline(PairTerms terms) : terms_(std::move(terms)) {
  const Index n = n_species();
  const auto natural = [](double value) { return std::isfinite(value) && value >= 0.0; };
  if (static_cast<Index>(terms_.charges.size()) != n || terms_.outer.rows() != n ||
      terms_.outer.cols() != n || terms_.outer != terms_.outer.transpose())
    throw std::invalid_argument("a baseline needs values for every element and pair of elements");
  bool valid = natural(terms_.damping) && natural(terms_.cutoff);
  for (const double number : terms_.numbers) valid = valid && natural(number);
  for (const double charge : terms_.charges) valid = valid && std::isfinite(charge);
  for (const double outer : terms_.outer.reshaped()) valid = valid && natural(outer);
  if (!valid) throw std::invalid_argument("the values of a baseline must be finite, not negative");
  if (n > 0) cutoff_ = terms_.outer.maxCoeff();
  const auto charged = [](double charge) { return charge != 0.0; };
  if (terms_.cutoff > 0.0 && std::any_of(terms_.charges.begin(), terms_.charges.end(), charged)) {
    cutoff_ = std::max(cutoff_, terms_.cutoff);
    edge_ = screened(terms_.cutoff);
  }
  if (cutoff_ <= 0.0) throw std::invalid_argument("a baseline needs repulsion or charges");
}

Baseline::Value Baseline::screened(double r) const {
  const double x = terms_.damping * r, value = std::erfc(x) / r;
  return {value, -(value + kTwoOverRootPi * terms_.damping * std::exp(-x * x)) / r};
}

Baseline::Value Baseline::pair(int a, int b, double r) const {
  Value sum{0.0, 0.0};
  const double outer = terms_.outer(a, b);
  if (r < outer) {
    const double za = terms_.numbers[a], zb = terms_.numbers[b];
    const double x = r * (std::pow(za, 0.23) + std::pow(zb, 0.23)) / 0.46850;
    double screening = 0.0, slope = 0.0;  // phi, and r phi'
    for (const auto& [part, rate] : kScreening) {
      const double value = part * std::exp(-rate * x);
      screening += value;
      slope -= rate * x * value;
    }
    const double bare = kCoulomb * za * zb / r;
    const double energy = bare * screening, change = bare * (slope - screening) / r;
    const double t = std::max(2.0 * r / outer - 1.0, 0.0);
    const double on = 1.0 - t * t * t * (10.0 + t * (6.0 * t - 15.0));
    const double falls = -60.0 * t * t * (1.0 - t) * (1.0 - t) / outer;
    sum.energy += on * energy;
    sum.slope += on * change + falls * energy;
  }
  const double charges = kCoulomb * terms_.charges[a] * terms_.charges[b];
  if (charges != 0.0 && r < terms_.cutoff) {
    const auto [value, slope] = screened(r);
    sum.energy += charges * (value - edge_.energy - edge_.slope * (r - terms_.cutoff));
    sum.slope += charges * (slope - edge_.slope);
  }
  return sum;
}

PairEvaluation Baseline::evaluate(const Structure& structure, const NeighborList& list,
                                  int threads) const {
  const Index n = structure.size();
  if (structure.n_species() > n_species())
    throw std::invalid_argument("the structure has elements that the baseline does not know");
  if (list.atoms() != n || list.cutoff() < cutoff_)
    throw std::invalid_argument("the neighbour list belongs to another structure or cutoff");
  PairEvaluation result;
  result.energies.setZero(n);
  result.forces.setZero(n, 3);
  result.virial.setZero();
  std::vector<Eigen::Matrix3d> virials((n + kVirialBlock - 1) / kVirialBlock,
                                       Eigen::Matrix3d::Zero());
  const std::vector<int>& species = structure.species();
  parallel_blocks(n, kVirialBlock, thread_count(threads), [&](Index first, Index last, int) {
    std::vector<Bond> bonds;
    Eigen::Matrix3d& virial = virials[first / kVirialBlock];
    for (Index position = first; position < last; ++position) {
      const int i = list.order()[position];
      list.bonds(structure, i, bonds);
      for (const Bond& bond : bonds) {
        if (bond.distance >= cutoff_) continue;
        const auto [energy, slope] = pair(species[i], species[bond.atom], bond.distance);
        const double along[] = {bond.x, bond.y, bond.z}, pull = slope / bond.distance;
        result.energies[i] += 0.5 * energy;
        for (int a = 0; a < 3; ++a) {
          result.forces(i, a) += pull * along[a];
          for (int b = 0; b < 3; ++b) virial(a, b) += 0.5 * pull * along[a] * along[b];
        }
      }
    }
  });
  for (const Eigen::Matrix3d& virial : virials) result.virial += virial;
  return result;
}

PairEvaluation Baseline::evaluate(const Structure& structure, int threads) const {
  return evaluate(structure, NeighborList(structure, cutoff_, 0.0, threads), threads);
}

}  // namespace nearsight
