// The SIMD levels this processor can run, best first. Compiled without any of them.
#pragma once

#include <string>
#include <vector>

namespace nearsight {

// Feature names: "x86-64-v3" as an argument is unknown to GCC 11 and to Clang up to 16. Every
// processor with AVX2 and FMA has the rest of its level (F16C, LZCNT, MOVBE).
inline std::vector<std::string> levels() {
  std::vector<std::string> found;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) found.push_back("x86_64_v4");
  if (v3) found.push_back("x86_64_v3");
#endif
  found.push_back("baseline");
  return found;
}

}  // namespace nearsight
