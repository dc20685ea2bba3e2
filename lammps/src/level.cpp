// SPDX-License-Identifier: GPL-2.0-only
// What one level exports: the pair style compiled for it.
#include "pair_nearsight.hpp"

extern "C" __attribute__((visibility("default"))) void* nearsight_make_pair(void* lmp) {
  return new LAMMPS_NS::PairNearsight(static_cast<LAMMPS_NS::LAMMPS*>(lmp));
}
