// SPDX-License-Identifier: GPL-2.0-only
#include "pair_nearsight.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace {

// Lanes that are communicated at once. The size of the buffers must be known before the potential
// is: pair_style hybrid asks for it when the style is made.
constexpr nearsight::Index kSent = 4;

}  // namespace

PairNearsight::PairNearsight(LAMMPS* lmp) : Pair(lmp) {
  restartinfo = 0;
  single_enable = 0;
  one_coeff = 1;
  manybody_flag = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  comm_reverse = 3 * kSent;
}

PairNearsight::~PairNearsight() {
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairNearsight::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  map = new int[n];
  allocated = 1;
}

void PairNearsight::settings(int narg, char** /*arg*/) {
  if (narg != 0) error->all(FLERR, "pair_style nearsight takes no arguments");
}

// pair_coeff * * best.json Pt Cu ...: the element of every type, or NULL
void PairNearsight::coeff(int narg, char** arg) {
  if (!allocated) allocate();
  if (narg != 3 + atom->ntypes)
    error->all(FLERR,
               "pair_coeff of nearsight: expected * *, a file, and an element for every type");
  map_element2type(narg - 3, arg + 3);
  try {
    file = std::make_unique<nearsight::PotentialFile>(nearsight::read_potential(arg[2]));
  } catch (const std::exception& failure) {
    error->all(FLERR, std::string("pair_coeff of nearsight: ") + failure.what());
  }
  // from the index into the elements of the command to that into those of the file
  for (int type = 1; type <= atom->ntypes; ++type) {
    if (map[type] < 0) continue;
    const auto known = std::find(file->elements.begin(), file->elements.end(), arg[2 + type]);
    if (known == file->elements.end()) {
      std::string sentence =
          std::string("pair_coeff of nearsight: no potential for ") + arg[2 + type];
      sentence += std::string(" in ") + arg[2] + ", which is of";
      for (const std::string& element : file->elements) sentence += " " + element;
      error->all(FLERR, sentence);
    }
    map[type] = static_cast<int>(known - file->elements.begin());
  }
  lanes = file->potential.lanes(true);
}

void PairNearsight::init_style() {
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style nearsight needs units metal (eV, Angstrom)");
  if (!force->newton_pair) error->all(FLERR, "pair_style nearsight needs newton pair on");
  if (atom->tag_enable == 0) error->all(FLERR, "pair_style nearsight needs atom IDs");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

// What is known only when all of a run is: how it integrates, what the neighbour lists leave out.
void PairNearsight::setup() {
  const bool is_watched = uncertainty.asked || raw.asked || extrapolation.asked;
  if (is_watched && update->whichflag == 1 && std::strcmp(update->integrate_style, "respa") == 0)
    error->all(FLERR, "fix pair does nothing in run_style respa, so that nobody would be watching");
  const int hidden = hides_neighbours();
  int anywhere = 0;
  MPI_Allreduce(&hidden, &anywhere, 1, MPI_INT, MPI_MAX, world);
  if (anywhere != 0)
    error->all(FLERR,
               "pair_style nearsight: special_bonds hides bonded atoms from each other; give "
               "special_bonds lj/coul 1.0 1.0 1.0");
}

// Whether an atom has bonds, and LAMMPS leaves atoms out of its neighbours for that.
bool PairNearsight::hides_neighbours() const {
  const int* const kept = neighbor->special_flag + 1;
  if (atom->molecular == Atom::ATOMIC || std::count(kept, kept + 3, 0) == 0) return false;
  if (atom->nspecial == nullptr) return true;  // atom_style template
  for (int i = 0; i < atom->nlocal; ++i) {
    if (map[atom->type[i]] < 0) continue;
    const int* const up_to = atom->nspecial[i];  // bonds, angles, dihedrals away
    for (int k = 0, before = 0; k < 3; before = up_to[k++])
      if (kept[k] == 0 && up_to[k] > before) return true;
  }
  return false;
}

double PairNearsight::init_one(int i, int j) {
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  return file->potential.functions().cutoff().radius;
}

void PairNearsight::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const int nall = atom->nlocal + atom->nghost;
  species.resize(nall);
  for (int i = 0; i < nall; ++i) species[i] = map[atom->type[i]];
  rows.resize(nall);
  std::iota(rows.begin(), rows.end(), 0);
  needs_members = uncertainty.is_needed() || raw.is_needed();
  needs_grades =
      file->potential.has_domain() && (uncertainty.is_needed() || extrapolation.is_needed());
  for (Quantity* each : {&uncertainty, &raw, &extrapolation})
    each->values.assign(std::max(atom->nlocal, 1), 0.0);
  if (needs_members) member_forces.assign(3 * lanes * nall, 0.0);
  try {
    for (int ii = 0; ii < list->inum; ++ii) add_atom(list->ilist[ii]);
  } catch (const std::exception& failure) {
    error->one(FLERR, std::string("pair_style nearsight: ") + failure.what());
  }
  if (needs_members) find_uncertainty();
  if (vflag_fdotr) virial_fdotr_compute();
}

void PairNearsight::find_bonds(int i) {
  std::vector<nearsight::Bond>& bonds = work.functions.bonds;
  const double cutoff = file->potential.functions().cutoff().radius;
  double** x = atom->x;
  bonds.clear();
  for (int jj = 0; jj < list->numneigh[i]; ++jj) {
    const int j = list->firstneigh[i][jj] & NEIGHMASK;
    if (species[j] < 0) continue;
    const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
    const double square = dx * dx + dy * dy + dz * dz;
    if (square >= cutoff * cutoff) continue;
    const double distance = std::sqrt(square);
    if (distance < nearsight::kOverlap)
      throw std::runtime_error("atoms " + std::to_string(atom->tag[i]) + " and " +
                               std::to_string(atom->tag[j]) + " overlap");
    bonds.push_back({dx, dy, dz, distance, j, {}});
  }
}

void PairNearsight::add_atom(int i) {
  const nearsight::Potential& potential = file->potential;
  const int s = species[i];
  if (s < 0) return;
  find_bonds(i);
  potential.evaluate_atom(s, species, true, work);
  const double energy = work.energies.head(potential.members()).mean();
  if (!std::isfinite(energy))
    throw std::runtime_error("no finite energy of atom " + std::to_string(atom->tag[i]));
  if (eflag_global) eng_vdwl += energy;
  if (eflag_atom) eatom[i] += energy;
  if (needs_grades) extrapolation.values[i] = potential.extrapolation(s, work);
  potential.add_forces(s, false, rows.data(), i, work, atom->f[0]);
  // of the mean too, so that the trajectory does not depend on what is asked for
  if (needs_members) potential.add_forces(s, true, rows.data(), i, work, member_forces.data());
  if (!vflag_either) return;
  const double* pull = potential.bond_gradients(s, false, work);
  for (const nearsight::Bond& bond : work.functions.bonds) {
    ev_tally_xyz(i, bond.atom, atom->nlocal, 1, 0.0, 0.0, pull[0], pull[1], pull[2], -bond.x,
                 -bond.y, -bond.z);
    pull += 3;
  }
}

void PairNearsight::find_uncertainty() {
  for (sent = 0; sent < lanes; sent += kSent) comm->reverse_comm(this);
  const nearsight::Index members = file->potential.members();
  for (int i = 0; i < atom->nlocal; ++i) {
    const Eigen::Map<const nearsight::Matrix> forces(forces_of(i), 3, lanes);
    double square = 0.0;
    for (int a = 0; a < 3; ++a) {
      const auto along = forces.row(a).head(members);
      square += (along.array() - along.mean()).square().sum();
    }
    const double count = static_cast<double>(std::max<nearsight::Index>(members - 1, 1));
    const double deviation = std::sqrt(square / count);
    raw.values[i] = nearsight::kConfidence * deviation;
    uncertainty.values[i] = file->uncertainty(deviation, extrapolation.values[i]);
  }
}

int PairNearsight::pack_reverse_comm(int n, int first, double* buffer) {
  const nearsight::Index count = std::min(kSent, lanes - sent);
  for (int i = first; i < first + n; ++i)
    for (int a = 0; a < 3; ++a)
      buffer = std::copy_n(forces_of(i) + a * lanes + sent, count, buffer);
  return static_cast<int>(3 * count * n);
}

void PairNearsight::unpack_reverse_comm(int n, int* list, double* buffer) {
  const nearsight::Index count = std::min(kSent, lanes - sent);
  for (int k = 0; k < n; ++k)
    for (int a = 0; a < 3; ++a)
      for (nearsight::Index m = 0; m < count; ++m)
        forces_of(list[k])[a * lanes + sent + m] += *buffer++;
}

void* PairNearsight::extract(const char* name, int& dim) {
  dim = 0;
  for (Quantity* each : {&uncertainty, &raw, &extrapolation})
    if (std::string(each->name) + "_flag" == name) return &each->flag;
  return nullptr;
}

void* PairNearsight::extract_peratom(const char* name, int& columns) {
  columns = 0;
  for (Quantity* each : {&uncertainty, &raw, &extrapolation}) {
    if (std::strcmp(each->name, name) != 0) continue;
    if (each == &extrapolation && !(file && file->potential.has_domain())) return nullptr;
    each->asked = true;
    return each->values.data();
  }
  return nullptr;
}

double PairNearsight::memory_usage() {
  const std::size_t doubles = member_forces.size() + 3 * uncertainty.values.size();
  return static_cast<double>(doubles * sizeof(double) + 2 * rows.size() * sizeof(int)) +
         Pair::memory_usage();
}
