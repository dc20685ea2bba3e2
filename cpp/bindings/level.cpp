// The entry of the module of one SIMD level: all of the bindings that is compiled for each level.
#include "level.hpp"

#include <Python.h>

namespace nearsight {
const Level kLevel{NEARSIGHT_LEVEL, NEARSIGHT_FLAGS};
}

extern "C" PyObject* PyInit__core();  // module.cpp

PyMODINIT_FUNC NEARSIGHT_INIT() { return PyInit__core(); }
