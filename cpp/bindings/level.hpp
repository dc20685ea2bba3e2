// What the module of a SIMD level says of itself; the rest of the bindings is the same for all.
#pragma once

namespace nearsight {

struct Level {
  const char *name, *flags;
};
extern const Level kLevel;

}  // namespace nearsight
