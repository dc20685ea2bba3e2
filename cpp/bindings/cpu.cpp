// What the processor can run, asked before a module built for it is imported.
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace {

// Feature names: "x86-64-v3" as an argument is unknown to GCC 11 and to Clang up to 16. Every
// processor with AVX2 and FMA has the rest of its level (F16C, LZCNT, MOVBE).
py::list levels() {
  py::list found;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) found.append("x86_64_v4");
  if (v3) found.append("x86_64_v3");
#endif
  found.append("baseline");
  return found;
}

}  // namespace

PYBIND11_MODULE(_cpu, m, py::mod_gil_not_used()) {
  m.doc() = "x86-64 levels of this processor.";
  m.def("levels", &levels);
}
