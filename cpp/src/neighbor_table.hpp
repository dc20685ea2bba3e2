// The neighbours of one atom, tabulated once per atom.
//
// One neighbour has five layouts on its way to a feature, each for one reader:
//
//   CellList       float x, y, z in columns, by bin     neighbours are found eight at a time
//     | points_within
//   ListBlock      int atom [, packed shift]            kept between calls: 4 or 8 bytes a pair
//     | NeighborList::bonds
//   Bond           double x, y, z, distance; atom       one struct a bond, from present positions
//     | tabulate: by species, each padded to whole blocks of kPairLanes slots
//     |
//     +- table     block 0                 block 1           loops over j: one vector a row
//     |            ux ux ux ux             ux ux ux ux
//     |            uy uy uy uy             ...
//     |            ...   u, e1, e2, tilt, r, x, fc, dfc/dr, then A, dA/dx of every form
//     |
//     +- records   slot 0: ux uy uz r A0 A1 ..               k picked one by one from a list: what
//     a |            slot 1: ux uy uz r A0 A1 ..               pair needs lies in one cache line |
//     ...                                       (and one record of zeros, to pad lists)
//     +- points    float x x x ..  y y y ..  z z z ..        which k are within Rc of j, eight at a
//                                                            time
#pragma once

#include "distance_filter.hpp"
#include "nearsight/types.hpp"
#include "simd.hpp"

namespace nearsight {

// Coordinate of the padding, Å in every direction: beyond every range, so that it counts nothing.
inline constexpr float kFarAway = 1e6F;

// Slots for neighbours, in blocks of kPairLanes; the neighbours of every species begin a block.
struct NeighborTable {
  // Rows of a block. u: unit vector; e1, e2: two more, orthonormal with it, from the tilt of their
  // frame (Duff et al., J. Comput. Graph. Tech. 6, 1 (2017)); r: Å; x: (r/Rc)^2 with the
  // angular cutoff; cutoff function of G2 and its derivative in r, 1/Å; then by form A and dA/dx.
  enum Row { kU = 0, kE1 = 3, kE2 = 6, kTilt = 9, kR, kX, kCutoff, kSlope, kRadial };
  // Columns of a record: u, r, A by form.
  enum Record { kRecordU = 0, kRecordR = 3, kRecordA };
  static constexpr Index record_width(Index n_forms) { return padded(kRecordA + n_forms, 4); }

  // pair_forms: the first of all forms, which records hold.
  NeighborTable(Index slots, Index n_forms, Index pair_forms, Scratch& scratch)
      : slots(slots),
        rows(kRadial + 2 * n_forms),
        width(record_width(pair_forms)),
        places(padded(slots, 8) + 8),
        table(scratch.require(slots * rows + (slots + 1) * width + padded(3 * places, 2) / 2)),
        records(table + slots * rows),
        place(reinterpret_cast<float*>(records + (slots + 1) * width)) {}

  double* block(Index slot) const { return table + slot * rows; }  // slot: the first of a block
  double* row(Index slot, Index n) const { return block(slot) + n * kPairLanes; }
  // Of one slot; its rows lie kPairLanes apart.
  const double* of(Index slot) const {
    const Index lane = slot & (kPairLanes - 1);
    return block(slot - lane) + lane;
  }
  Points points() const { return {place, place + places, place + 2 * places}; }

  Index slots;
  Index rows;   // of a block: (rows, kPairLanes)
  Index width;  // of a record
  Index places;
  double* table;
  double* records;  // (slots + 1, width)
  float* place;     // (3, places) Å from the central atom
};

// Results of the kernels in the workspace, for `contract`:
// slopes:  (functions, slots) dG2/dr of the functions of the slot's species
// angular: (slots, max_sums, 4) the part of j in the sum over j, its derivative along u, e1, e2
inline constexpr Index kAngularParts = 4;

}  // namespace nearsight
