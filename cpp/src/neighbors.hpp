// The neighbours of one atom, tabulated once per atom.
#pragma once

#include "near_points.hpp"
#include "nearsight/symmetry_functions.hpp"

namespace nearsight {

// Å in every direction, of what fills blocks.
inline constexpr float kFarAway = 1e6F;

// Slots for neighbours, in blocks of kPairLanes; the neighbours of every species begin a block.
// What fills the last block of a species lies beyond every range and counts nothing.
struct SymmetryFunctions::Neighbors {
  enum Column { kU = 0, kE1 = 3, kE2 = 6, kTilt = 9, kR, kX, kCutoff, kSlope, kDamping };

  Neighbors(Index slots, Index n_etas, Scratch& scratch)
      : slots(slots),
        rows(kDamping + 2 * n_etas),
        width(record_width(n_etas)),
        places(padded(slots, 8) + 8),
        table(scratch.require(slots * rows + (slots + 1) * width + padded(3 * places, 2) / 2)),
        records(table + slots * rows),
        place(reinterpret_cast<float*>(records + (slots + 1) * width)) {}

  Index slots;
  Index rows;   // of a block: (rows, kPairLanes)
  Index width;  // of a record
  Index places;
  double* table;
  // What pairs need, for every slot and one more of zeros: (slots + 1, width) u, r, A by eta.
  double* records;
  enum Record { kRecordU = 0, kRecordR = 3, kRecordA };
  static constexpr Index record_width(Index n_etas) { return padded(kRecordA + n_etas, 4); }
  // (3, places) Å from the central atom: enough to tell who may count.
  float* place;
  Points points() const { return {place, place + places, place + 2 * places}; }

  // u: unit vector; e1, e2: two more, orthonormal with it, from the tilt of their frame (Duff et
  // al., J. Comput. Graph. Tech. 6, 1 (2017)); r: Å; x: (r/Rc)^2; cutoff function and its
  // derivative in r, 1/Å; then by eta A and dA/dx.
  double* block(Index slot) const { return table + slot * rows; }  // slot: the first of a block
  double* row(Index slot, Index column) const { return block(slot) + column * kPairLanes; }
  // Of one slot; the columns lie kPairLanes apart.
  const double* of(Index slot) const {
    const Index lane = slot & (kPairLanes - 1);
    return block(slot - lane) + lane;
  }
};

// Rows of the workspace that hold the result for `contract`.
// slopes:  (functions, slots) dG2/dr of the functions of the slot's species
// angular: (slots, most_sums, 4) the share of j in the sum over j, its derivative along u, e1, e2
inline constexpr Index kAngularParts = 4;

}  // namespace nearsight
