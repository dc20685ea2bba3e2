// What the processor can run, asked before a module built for it is imported.
#include <pybind11/pybind11.h>

#include "nearsight/levels.hpp"

PYBIND11_MODULE(_cpu, m, pybind11::mod_gil_not_used()) {
  m.doc() = "x86-64 levels of this processor.";
  m.def("levels", [] {
    pybind11::list found;
    for (const std::string& level : nearsight::levels()) found.append(level);
    return found;
  });
}
