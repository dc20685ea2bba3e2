// What the processor can run, asked before a module built for it is imported.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "nearsight/levels.hpp"

PYBIND11_MODULE(_cpu, m, pybind11::mod_gil_not_used()) {
  m.doc() = "x86-64 levels of this processor.";
  m.def("levels", &nearsight::levels);
}
