// The neighbours of one atom as columns, tabulated once per atom.
#pragma once

#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// Columns of one block.
struct SymmetryFunctions::Neighbors {
  Index n, stride;
  double* table;

  static constexpr Index columns(Index etas) { return 7 + 2 * etas; }
  double* column(Index c) const { return table + c * stride; }
  double* r() const { return column(0); }   // Å
  double* x() const { return column(1); }   // (r/Rc)^2
  double* ux() const { return column(2); }  // unit vector
  double* uy() const { return column(3); }
  double* uz() const { return column(4); }
  double* fc() const { return column(5); }                    // cutoff function
  double* dfc() const { return column(6); }                   // its derivative in r, 1/Å
  double* a(Index eta) const { return column(7 + 2 * eta); }  // exp(-eta x) fc
  double* b(Index eta) const { return column(8 + 2 * eta); }  // its derivative in x
};

}  // namespace nearsight
