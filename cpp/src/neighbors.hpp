// The neighbours of one atom as columns, tabulated once per atom for the angular functions.
#pragma once

#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// Column pointers into one block; padding is zero.
struct SymmetryFunctions::Neighbors {
  Index n, stride;
  double* table;

  double* r() const { return table; }                // Å
  double* x() const { return table + stride; }       // (r/Rc)^2
  double* ux() const { return table + 2 * stride; }  // unit vector
  double* uy() const { return table + 3 * stride; }
  double* uz() const { return table + 4 * stride; }
  double* a(Index eta) const { return table + (5 + 2 * eta) * stride; }  // exp(-eta x) fc
  double* b(Index eta) const { return table + (6 + 2 * eta) * stride; }  // its derivative in x
};

}  // namespace nearsight
