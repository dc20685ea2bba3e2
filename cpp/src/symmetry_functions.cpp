#include "nearsight/symmetry_functions.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "neighbors.hpp"
#include "polynomial.hpp"

namespace nearsight {

namespace {

template <class Container, class Value>
int index_of(Container& known, const Value& value, bool (*same)(const Value&, const Value&)) {
  for (std::size_t i = 0; i < known.size(); ++i)
    if (same(known[i], value)) return static_cast<int>(i);
  known.push_back(value);
  return static_cast<int>(known.size()) - 1;
}

// Up to this exponent exp(-eta x) on [0, 1] is a polynomial of low degree.
constexpr double kSmoothEta = 4.0;

void check(const SymmetryFunction& f, int n_species) {
  const auto known = [&](int s) { return s >= 0 && s < n_species; };
  const bool angular = f.kind != FunctionKind::kG2;
  if (!known(f.center) || !known(f.first) || (angular && !known(f.second)))
    throw std::invalid_argument("a symmetry function names a species that does not exist");
  if (!(f.eta >= 0.0 && std::isfinite(f.eta)))
    throw std::invalid_argument("eta of a symmetry function must not be negative");
  if (!angular && !std::isfinite(f.r_s))
    throw std::invalid_argument("R_s of a G2 symmetry function must be finite");
  if (angular && !(f.zeta >= 1.0 && std::isfinite(f.zeta)))
    throw std::invalid_argument("zeta of an angular symmetry function must be at least 1");
  if (angular && !(std::abs(f.gamma) <= 1.0))
    throw std::invalid_argument("gamma of an angular symmetry function must lie in [-1, 1]");
}

}  // namespace

SymmetryFunctions::SymmetryFunctions(int n_species, const Cutoff& cutoff,
                                     const std::vector<SymmetryFunction>& functions)
    : cutoff_(cutoff) {
  if (n_species < 1) throw std::invalid_argument("at least one species is needed");
  centers_.resize(n_species);
  for (Center& center : centers_) {
    center.radial.resize(n_species);
    center.g4.resize(static_cast<std::size_t>(n_species) * n_species);
    center.g5.resize(static_cast<std::size_t>(n_species) * n_species);
  }
  std::vector<std::vector<std::vector<SymmetryFunction>>> radial(
      n_species, std::vector<std::vector<SymmetryFunction>>(n_species));
  for (const SymmetryFunction& f : functions) {
    check(f, n_species);
    Center& center = centers_[f.center];
    const Index column = center.size++;
    if (f.kind == FunctionKind::kG2) {
      radial[f.center][f.first].push_back(f);
      center.radial[f.first].columns.push_back(column);
      continue;
    }
    center.angular = true;
    const double whole = std::round(f.zeta);
    const Power power{f.zeta, f.gamma,
                      whole == f.zeta && whole < 1e6 ? static_cast<int>(whole) - 1 : -1};
    const int eta = index_of<std::vector<double>, double>(
        etas_, f.eta, [](const double& a, const double& b) { return a == b; });
    auto& groups = f.kind == FunctionKind::kG4 ? center.g4 : center.g5;
    const auto add = [&](int j, int k) {
      Angular& group = groups[static_cast<std::size_t>(j) * n_species + k];
      const int p = index_of<std::vector<Power>, Power>(
          group.powers, power,
          [](const Power& a, const Power& b) { return a.zeta == b.zeta && a.gamma == b.gamma; });
      group.terms.push_back({eta, p, column});
    };
    add(f.first, f.second);
    if (f.first != f.second) add(f.second, f.first);
  }
  const double square = cutoff.radius * cutoff.radius;
  for (int c = 0; c < n_species; ++c) {
    for (int s = 0; s < n_species; ++s) {
      Radial& plan = centers_[c].radial[s];
      const auto& given = radial[c][s];
      plan.size = static_cast<Index>(given.size());
      plan.eta.setZero(padded(plan.size));
      plan.r_s.setZero(padded(plan.size));
      for (Index f = 0; f < plan.size; ++f) {
        plan.eta[f] = given[f].eta / square;
        plan.r_s[f] = given[f].r_s;
      }
    }
    for (auto* groups : {&centers_[c].g4, &centers_[c].g5})
      for (Angular& group : *groups)
        std::stable_sort(group.terms.begin(), group.terms.end(),
                         [](const Term& a, const Term& b) { return a.eta < b.eta; });
    max_size_ = std::max(max_size_, centers_[c].size);
  }
  for (const double eta : etas_) {
    squarings_.push_back(0);
    while (std::ldexp(eta, -squarings_.back()) > kSmoothEta) ++squarings_.back();
    const double part = std::ldexp(eta, -squarings_.back());
    exponential_.push_back(fit_unit([part](long double x) { return std::exp(-part * x); }));
  }
  if (cutoff.kind == CutoffKind::kCosine) {
    constexpr long double pi = 3.14159265358979323846264338327950288L;
    fc_ = fit_unit([](long double x) { return 0.5L * (1.0L + std::cos(pi * std::sqrt(x))); });
    dfc_ = fit_unit([](long double x) {
      const long double u = std::sqrt(x);
      return x > 0.0L ? -0.25L * pi * std::sin(pi * u) / u : -0.25L * pi * pi;
    });
  }
  // `horner` takes them two at a time: pairs are brought to one degree.
  const auto level = [](std::vector<double>& a, std::vector<double>& b) {
    const std::size_t size = std::max(a.size(), b.size());
    a.resize(size, 0.0);
    b.resize(size, 0.0);
  };
  level(fc_, dfc_);
  for (std::size_t e = 0; e + 1 < exponential_.size(); e += 2)
    level(exponential_[e], exponential_[e + 1]);
}

SymmetryFunctions::Neighbors SymmetryFunctions::tabulate(Workspace& work) const {
  const Index n = static_cast<Index>(work.bonds.size());
  const Index stride = padded(n);
  const Index n_etas = static_cast<Index>(etas_.size());
  const Neighbors near{n, stride, work.neighbors.require(stride * Neighbors::columns(n_etas))};
  const double square = cutoff_.radius * cutoff_.radius;
  for (Index k = 0; k < n; ++k) {
    const Bond& bond = work.bonds[k];
    const double r = bond.distance;
    const double x = r * r / square;
    near.r()[k] = r;
    near.x()[k] = x;
    near.ux()[k] = bond.x / r;
    near.uy()[k] = bond.y / r;
    near.uz()[k] = bond.z / r;
    const Cutoff::Value fc = cutoff_(r);
    near.fc()[k] = fc.f;
    near.dfc()[k] = fc.df_dr;
    const double dfc_dx = fc.df_dr * square / (2.0 * r);
    for (Index e = 0; e < n_etas; ++e) {
      const double exponential = std::exp(-etas_[e] * x);
      near.a(e)[k] = exponential * fc.f;
      near.b(e)[k] = exponential * (dfc_dx - etas_[e] * fc.f);
    }
  }
  // The padding is far away, so that no list of pairs takes it up.
  for (Index k = n; k < stride; ++k)
    for (Index column = 0; column < Neighbors::columns(n_etas); ++column)
      near.table[column * stride + k] = column == 1 ? 10.0 : 0.0;
  return near;
}

template <bool Derivatives>
void SymmetryFunctions::evaluate(int center, const int* species, Workspace& work) const {
  const Center& plan = centers_[center];
  const int ns = n_species();
  const Index n = static_cast<Index>(work.bonds.size());
  std::vector<Index>& group = work.species_begin;
  group.assign(ns + 1, 0);
  if (ns == 1) {
    group[1] = n;
  } else {
    for (const Bond& bond : work.bonds) ++group[species[bond.atom] + 1];
    for (int s = 0; s < ns; ++s) group[s + 1] += group[s];
    work.fill.assign(group.begin(), group.end());
    work.unsorted.swap(work.bonds);
    work.bonds.resize(n);
    for (const Bond& bond : work.unsorted) work.bonds[work.fill[species[bond.atom]]++] = bond;
  }
  work.features.setZero(plan.size);
  if constexpr (Derivatives) work.derivatives.setZero(3 * n, plan.size);

  const Neighbors near = tabulate(work);
  for (int s = 0; s < ns; ++s)
    add_radial(plan.radial[s], near, group[s], group[s + 1], Derivatives, work);
  if (!plan.angular) return;
  for (int s = 0; s < ns; ++s)
    for (int t = 0; t < ns; ++t) {
      const std::size_t pair = static_cast<std::size_t>(s) * ns + t;
      for (Index j = group[s]; j < group[s + 1]; ++j) {
        if (!plan.g4[pair].terms.empty())
          add_angular<Derivatives, FunctionKind::kG4>(plan.g4[pair], near, j, group[t],
                                                      group[t + 1], work);
        if (!plan.g5[pair].terms.empty())
          add_angular<Derivatives, FunctionKind::kG5>(plan.g5[pair], near, j, group[t],
                                                      group[t + 1], work);
      }
    }
}

template void SymmetryFunctions::evaluate<false>(int, const int*, Workspace&) const;
template void SymmetryFunctions::evaluate<true>(int, const int*, Workspace&) const;

}  // namespace nearsight
