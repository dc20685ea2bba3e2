// Force calls of the core, one SIMD level per program (benchmarks/README.md says how to run it).
//
// Every case states its rates, the CPU time per atom and the fraction of the FMA peak measured
// between the calls (medians and the best call), the memory the call added, and the errors of
// energies and of a force against a plain scalar evaluation, written here from the formulas and
// differentiated exactly by dual numbers.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fma_peak.hpp"
#include "systems.hpp"
#include "table.hpp"

namespace {

using namespace nearsight;
using namespace nearsight::bench;

// A number and its derivative: plain formulas give exact derivatives.
struct Dual {
  double value = 0.0, slope = 0.0;
};
Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.slope + b.slope}; }
Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.slope - b.slope}; }
Dual operator*(Dual a, Dual b) {
  return {a.value * b.value, a.slope * b.value + a.value * b.slope};
}
Dual operator*(double a, Dual b) { return {a * b.value, a * b.slope}; }
Dual operator/(Dual a, Dual b) {
  const double q = a.value / b.value;
  return {q, (a.slope - q * b.slope) / b.value};
}
Dual exp(Dual a) {
  const double e = std::exp(a.value);
  return {e, e * a.slope};
}
Dual sqrt(Dual a) {
  const double root = std::sqrt(a.value);
  return {root, 0.5 * a.slope / root};
}
Dual power(Dual a, double n) {
  if (!(a.value > 0.0)) return {};
  return {std::pow(a.value, n), n * std::pow(a.value, n - 1.0) * a.slope};
}
Dual fc(Dual d) {
  if (d.value >= kCutoff) return {};
  const double k = 3.14159265358979323846 / kCutoff;
  return {0.5 * (1.0 + std::cos(k * d.value)), -0.5 * k * std::sin(k * d.value) * d.slope};
}
using Dual3 = std::array<Dual, 3>;
Dual dot(const Dual3& a, const Dual3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

struct Plain {
  double energy, slope;
};

// Energy of one atom (mean over members) and its derivative, from plain loops with exp, cos and
// pow for every pair; `r` its neighbours, relative.
Plain plain_energy(const Model& model, int center, const std::vector<Dual3>& r,
                   const std::vector<int>& species) {
  const double square = kCutoff * kCutoff;
  std::vector<Dual> features;
  for (const SymmetryFunction& f : model.parameters) {
    if (f.center != center) continue;
    Dual total;
    for (std::size_t j = 0; j < r.size(); ++j) {
      const Dual dj = sqrt(dot(r[j], r[j]));
      if (f.kind == FunctionKind::kG2) {
        const Dual from = dj - Dual{f.r_s};
        if (species[j] == f.first) total = total + exp((-f.eta / square) * from * from) * fc(dj);
        continue;
      }
      for (std::size_t k = j + 1; k < r.size(); ++k) {
        const bool counted = (species[j] == f.first && species[k] == f.second) ||
                             (species[j] == f.second && species[k] == f.first);
        if (!counted) continue;
        const Dual3 side{r[k][0] - r[j][0], r[k][1] - r[j][1], r[k][2] - r[j][2]};
        const Dual dk = sqrt(dot(r[k], r[k])), djk = sqrt(dot(side, side));
        if (djk.value >= kCutoff) continue;
        const Dual q = Dual{1.0} + f.gamma * (dot(r[j], r[k]) / (dj * dk));
        total = total + std::pow(2.0, 1.0 - f.zeta) * power(q, f.zeta) *
                            exp((-f.eta / square) * (dj * dj + dk * dk + djk * djk)) * fc(dj) *
                            fc(dk) * fc(djk);
      }
    }
    features.push_back(total);
  }
  const NetworkBatch& network = model.reference[center];
  std::vector<double> values, energy(network.lanes()), gradient(network.lanes() * network.inputs());
  for (const Dual& feature : features) values.push_back(feature.value);
  NetworkBatch::Workspace work;
  network.evaluate(values.data(), energy.data(), gradient.data(), work);
  Plain mean{0.0, 0.0};
  const double share = 1.0 / static_cast<double>(model.members);
  for (Index m = 0; m < model.members; ++m) {
    mean.energy += share * energy[m];
    for (std::size_t f = 0; f < features.size(); ++f)
      mean.slope += share * gradient[f * network.lanes() + m] * features[f].slope;
  }
  return mean;
}

struct Errors {
  double energy = 0.0, force = 0.0;  // eV, eV/Å
};

// Largest differences of per-atom energies and of forces (means over members) to plain loops: the
// force on one atom needs the energies of all that see it. No atom may be its own neighbour.
Errors errors_of(const Model& model, const System& system, const NeighborList& list,
                 const Evaluation& found) {
  const Structure structure = system.structure();
  const Index moved = system.positions.rows() / 2;
  std::vector<Bond> around, bonds;
  list.bonds(structure, moved, around);
  Errors worst;
  std::set<Index> centers{moved};
  for (const Bond& bond : around) centers.insert(bond.atom);
  for (int axis = 0; axis < 3; ++axis) {
    double force = 0.0;
    for (const Index i : centers) {
      list.bonds(structure, i, bonds);
      std::vector<Dual3> r;
      std::vector<int> species;
      for (const Bond& bond : bonds) {
        r.push_back({Dual{bond.x}, Dual{bond.y}, Dual{bond.z}});
        r.back()[axis].slope = (bond.atom == moved) - (i == moved);
        species.push_back(system.species[bond.atom]);
      }
      const Plain plain = plain_energy(model, system.species[i], r, species);
      force -= plain.slope;
      if (axis == 0)
        worst.energy =
            std::max(worst.energy, std::abs(found.energies.col(i).mean() - plain.energy));
    }
    worst.force = std::max(worst.force, std::abs(found.mean_forces(moved, axis) - force));
  }
  return worst;
}

struct Counts {
  double bonds = 0.0, pairs = 0.0;
};

// Ordered bonds, and ordered pairs (i; j, k) with all three sides within the cutoff.
Counts count(const System& system, const NeighborList& list) {
  const Structure structure = system.structure();
  Counts counts;
  std::vector<Bond> bonds;
  const Index step = list.atoms() / 2000 + 1;  // pairs are counted on a part
  double counted = 0.0;
  for (Index i = 0; i < list.atoms(); ++i) {
    list.bonds(structure, i, bonds);
    counts.bonds += static_cast<double>(bonds.size());
    if (i % step != 0) continue;
    counted += 1.0;
    for (const Bond& a : bonds)
      for (const Bond& b : bonds) {
        const double x = a.x - b.x, y = a.y - b.y, z = a.z - b.z;
        if (&a != &b && x * x + y * y + z * z < kCutoff * kCutoff) counts.pairs += 1.0;
      }
  }
  counts.pairs *= static_cast<double>(list.atoms()) / counted;
  return counts;
}

// Floating-point operations of the algorithm, counted by hand from its formulas (an FMA is two):
// what must be done per ordered pair and bond, not what a build happens to do.
double operations(const Counts& counts, Index atoms, int n_species, Index members) {
  const double functions = n_species == 1 ? 20.0 : 49.0;
  const double radial_per_bond = 11.0;
  // A pair belongs to one pair of elements: nine functions, two eta, zeta 1, 4 and 16.
  const double pair = 17.0                              // frame, angle, x_jk
                      + 1.0 + 2.0 * 2 * 8 + 2.0         // fc with the smaller eta, its derivative
                      + 2.0 * 8 + 2.0 + 3.0             // the other exponential
                      + 3.0 + 2.0 * 4                   // W, X, Z for both
                      + 2.0 * 16                        // sums of 1 and c, for both
                      + 2.0 * (5 + 2 * 11) + (9 + 11);  // and of the powers, with derivatives
  const double angular_per_bond = n_species == 1 ? 9.0 : 18.0;
  const double bond =
      32.0 * radial_per_bond + 20.0 * angular_per_bond +
      2.0 * (radial_per_bond + 3.0 * angular_per_bond + 9.0) * static_cast<double>(members);
  const double atom = static_cast<double>(members) * 4.0 * (functions * 5 + 25 + 5);
  return counts.pairs * pair + counts.bonds * bond + static_cast<double>(atoms) * atom;
}

double peak_memory() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

double median(const std::vector<double>& sorted) { return sorted[sorted.size() / 2]; }

void force_call(benchmark::State& state, const System& system, const Model& model, Forces mode) {
  const double memory = peak_memory();
  const Structure structure = system.structure();
  const Index atoms = structure.size();
  const NeighborList list(structure, kCutoff, 0.0, 1);
  std::vector<double> seconds, list_seconds, peaks;
  Evaluation found;
  for (auto _ : state) {
    peaks.push_back(fma_peak());
    const double begin = cpu_seconds();
    found = model.potential->evaluate(structure, list, mode, false, 1);
    const double taken = cpu_seconds() - begin;
    const double list_begin = cpu_seconds();
    benchmark::DoNotOptimize(NeighborList(structure, kCutoff, 0.0, 1));
    list_seconds.push_back(cpu_seconds() - list_begin);
    state.SetIterationTime(taken);
    seconds.push_back(taken);
  }
  const double returned =
      8.0 * static_cast<double>(found.energies.size() + found.mean_forces.size()) +
      8.0 * static_cast<double>(found.forces.size());
  const double added = peak_memory() - memory;
  const Counts counts = count(system, list);
  for (auto* values : {&seconds, &list_seconds, &peaks}) std::sort(values->begin(), values->end());
  const double n = static_cast<double>(atoms);
  const double typical = median(seconds), least = seconds.front(), peak = median(peaks);
  const double flops =
      operations(counts, atoms, system.n_species, mode == Forces::kMembers ? model.members : 1);
  state.counters["atoms"] = n;
  state.counters["atoms/s"] = n / typical;
  state.counters["bonds/s"] = counts.bonds / typical;
  state.counters["triplets/s"] = 0.5 * counts.pairs / typical;
  state.counters["triplets/atom"] = 0.5 * counts.pairs / n;
  state.counters["us/atom"] = 1e6 * typical / n;
  state.counters["us/atom_least"] = 1e6 * least / n;
  state.counters["list_us/atom"] = 1e6 * median(list_seconds) / n;
  state.counters["list_least"] = 1e6 * list_seconds.front() / n;
  state.counters["GF_peak"] = 1e-9 * peak;
  state.counters["of_peak"] = flops / typical / peak;
  state.counters["of_peak_most"] = flops / least / peak;
  state.counters["added_B/atom"] = std::max(added - returned, 0.0) / static_cast<double>(atoms);
  const Errors errors = errors_of(model, system, list, found);
  state.counters["dE_eV"] = errors.energy;
  state.counters["dF_eV/A"] = errors.force;
}

// Wall time with one thread and with two, five calls after another as in a relaxation.
void compare_threads(const std::string& name, const System& system, const Model& model) {
  using Clock = std::chrono::steady_clock;
  const Structure structure = system.structure();
  const NeighborList list(structure, kCutoff, 0.0, 1);
  std::vector<double> milliseconds[2];
  for (Index round = 0; round < std::max<Index>(3, 10000 / structure.size()); ++round)
    for (int threads = 1; threads <= 2; ++threads)
      for (int call = 0; call < 6; ++call) {
        const auto begin = Clock::now();
        model.potential->evaluate(structure, list, Forces::kMembers, false, threads);
        const std::chrono::duration<double, std::milli> taken = Clock::now() - begin;
        if (call > 0) milliseconds[threads - 1].push_back(taken.count());  // the first wakes them
      }
  for (auto& values : milliseconds) std::sort(values.begin(), values.end());
  const auto& [one, two] = milliseconds;
  std::printf("%-10s %8.2f ms (%8.2f) with one thread, %8.2f (%8.2f) with two: %.2f x (%.2f)\n",
              name.c_str(), median(one), one.front(), median(two), two.front(),
              median(one) / median(two), one.front() / two.front());
}

}  // namespace

int main(int argc, char** argv) {
#if defined(__AVX512F__) && defined(__GNUC__)
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl")) {
    std::fputs("This processor cannot run " NEARSIGHT_LEVEL ".\n", stderr);
    return 1;
  }
#endif
  benchmark::Initialize(&argc, argv);
  const Model ten(1, 10), one(1, 1), alloy(2, 10);
  std::vector<std::pair<std::string, System>> systems{
      {"Pt260", octahedron(8, 3)},       {"Pt1415", octahedron(15, 7)},
      {"bulk256", block(4, 4, 4, true)}, {"PtCu309", octahedron(9, 4, 2)},
      {"Pt10179", octahedron(29, 14)},   {"Pt100000", block(25, 25, 40, false)},
  };
  for (int a = 1; a < argc; ++a) {
    if (std::string(argv[a]) == "--large")  // a minute, and 4 GB
      systems.emplace_back("Pt1000000", block(50, 50, 100, false));
    if (std::string(argv[a]) == "--threads") {
      for (const auto& [name, system] : systems)
        if (system.n_species == 1) compare_threads(name, system, ten);
      return 0;
    }
  }
  const auto add = [](const std::string& name, const System& system, const Model& model,
                      Forces mode) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [&system, &model, mode](benchmark::State& state) {
                                   force_call(state, system, model, mode);
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const auto& [name, system] : systems) {
    const Model& model = system.n_species == 2 ? alloy : ten;
    add(name + "/ten_members", system, model, Forces::kMembers);
    if (name != "Pt1415") continue;
    add(name + "/one_member", system, one, Forces::kMembers);
    add(name + "/mean_of_ten", system, model, Forces::kMean);
  }
  Table table(NEARSIGHT_LEVEL);
  benchmark::RunSpecifiedBenchmarks(&table);
  benchmark::Shutdown();
}
