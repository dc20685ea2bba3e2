// The neighbours of one atom, tabulated once per atom.
#pragma once

#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// (r / Rc)^2 of what fills blocks.
inline constexpr double kFarAway = 1e3;

// Slots for neighbours, in blocks of kPairLanes; the neighbours of every species begin a block.
// What fills the last block of a species lies beyond every range and counts nothing.
struct SymmetryFunctions::Neighbors {
  enum Column { kU = 0, kE1 = 3, kE2 = 6, kR = 9, kX, kCutoff, kSlope, kDamping };

  Neighbors(Index slots, Index n_etas, Scratch& scratch)
      : slots(slots),
        rows(kDamping + 2 * n_etas),
        width(padded(kRecordA + n_etas, 4)),
        table(scratch.require(slots * rows + (slots + 1) * width)),
        records(table + slots * rows) {}

  Index slots;
  Index rows;   // of a block: (rows, kPairLanes)
  Index width;  // of a record
  double* table;
  // What pairs need, for every slot and one more of zeros: (slots + 1, width) u, r, A by eta.
  double* records;
  enum Record { kRecordU = 0, kRecordR = 3, kRecordA };

  // u: unit vector; e1, e2: two more, orthonormal with it; r: Å; x: (r/Rc)^2; cutoff function and
  // its derivative in r, 1/Å; then by eta A and dA/dx.
  double* block(Index slot) const { return table + slot * rows; }  // slot: the first of a block
  double* row(Index slot, Index column) const { return block(slot) + column * kPairLanes; }
  double at(Index slot, Index column) const {
    const Index lane = slot % kPairLanes;
    return row(slot - lane, column)[lane];
  }
};

// Rows of the workspace that hold the result for `contract`.
// slopes:  (functions, slots) dG2/dr of the functions of the slot's species
// angular: (slots, most_angular, 3) dG/dr_j along u, e1, e2
inline constexpr Index kAngularParts = 3;

}  // namespace nearsight
