// SPDX-License-Identifier: GPL-2.0-only
// pair_style nearsight: an ensemble of neural networks with its uncertainty.
#ifndef LMP_PAIR_NEARSIGHT_H
#define LMP_PAIR_NEARSIGHT_H

#include <memory>
#include <vector>

#include "nearsight/potential_file.hpp"
#include "pair.h"

namespace LAMMPS_NS {

class PairNearsight : public Pair {
 public:
  explicit PairNearsight(class LAMMPS* lmp);
  ~PairNearsight() override;

  void settings(int narg, char** arg) override;
  void coeff(int narg, char** arg) override;
  void init_style() override;
  void setup() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;
  double memory_usage() override;

  // for fix pair: per-atom "uncertainty" (eV/Å, calibrated), "uncertainty_raw" and "extrapolation"
  void* extract(const char* name, int& dim) override;
  void* extract_peratom(const char* name, int& columns) override;

  int pack_reverse_comm(int n, int first, double* buffer) override;
  void unpack_reverse_comm(int n, int* list, double* buffer) override;

 private:
  // What fix pair may ask for: it sets the flag before the steps at which it reads.
  struct Quantity {
    const char* name;
    bool asked = false;
    int flag = 1;
    std::vector<double> values = {0.0};  // of the atoms of this process

    bool is_needed() const { return asked && flag != 0; }
  };

  void allocate();
  bool hides_neighbours() const;
  void find_bonds(int i);
  void add_atom(int i);
  void find_uncertainty();
  double* forces_of(int i) { return member_forces.data() + 3 * lanes * i; }

  std::unique_ptr<nearsight::PotentialFile> file;
  nearsight::Potential::Workspace work;
  std::vector<int> species, rows;     // of all atoms, ghosts too
  nearsight::Index lanes = 0;         // columns of the forces of all members
  std::vector<double> member_forces;  // (nall, 3, lanes)
  nearsight::Index sent = 0;          // first of the lanes that are communicated
  Quantity uncertainty{"uncertainty"}, raw{"uncertainty_raw"}, extrapolation{"extrapolation"};
  bool needs_members = false, needs_grades = false;  // at this step
};

}  // namespace LAMMPS_NS

#endif
