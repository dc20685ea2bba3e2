// The extension module, compiled once and linked with the core of each SIMD level.
#include <chrono>

#include "arrays.hpp"
#include "level.hpp"
#include "parallel.hpp"

namespace nearsight {

namespace {

// What the core refuses is a mistake of the user: nearsight.errors.InputError, a ValueError.
void translate_errors(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const std::invalid_argument& refused) {
    const py::object type = py::module_::import("nearsight.errors").attr("InputError");
    PyErr_SetString(type.ptr(), refused.what());
  }
}

// Lets Ctrl-C end a long call; often enough for a person, too seldom to cost time.
void check_signals() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kPause{200};
  thread_local Clock::time_point last = Clock::now();
  const Clock::time_point now = Clock::now();
  if (now - last < kPause) return;
  last = now;
  const py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

py::dict build_info() {
  py::dict info;
  info["version"] = NEARSIGHT_VERSION;
  info["level"] = kLevel.name;
  info["compiler"] = NEARSIGHT_COMPILER;
  info["flags"] = kLevel.flags;
  info["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) +
                  "." + std::to_string(EIGEN_MINOR_VERSION);
#ifdef _OPENMP
  info["openmp"] = true;
#else
  info["openmp"] = false;
#endif
  info["threads"] = thread_count(0);
  return info;
}

}  // namespace

}  // namespace nearsight

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.attr("__name__") = std::string("nearsight._core._") + nearsight::kLevel.name;
  m.doc() = "The compiled core of nearsight; see _core/__init__.pyi.";
  nearsight::check_interrupt.store(&nearsight::check_signals);
  pybind11::register_local_exception_translator(&nearsight::translate_errors);
  nearsight::bind_structure(m);
  nearsight::bind_neighbor_list(m);
  nearsight::bind_symmetry_functions(m);
  nearsight::bind_baseline(m);
  nearsight::bind_potential(m);
  nearsight::bind_training_set(m);
  m.def("build_info", &nearsight::build_info);
}
