// What the processor can run, asked before a module built for it is imported.
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "x86-64 levels of this processor.";
  m.def("levels", [] {
    pybind11::list levels;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) levels.append("x86_64_v4");
    if (__builtin_cpu_supports("x86-64-v3")) levels.append("x86_64_v3");
#endif
    levels.append("baseline");
    return levels;
  });
}
