#include "fma_peak.hpp"

#include <ctime>

#include "simd.hpp"

namespace nearsight::bench {

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double fma_peak() {
  using Vec = double __attribute__((vector_size(sizeof(double) * kPairLanes)));
  constexpr int kChains = 12;  // more than latency times ports, fewer than there are registers
  constexpr long kRounds = 2'000'000;
  Vec a[kChains];
  for (int c = 0; c < kChains; ++c) a[c] = Vec{} + (1.0 + 1e-3 * c);
  const Vec x = Vec{} + 0.999999, y = Vec{} + 1e-9;
  const double begin = cpu_seconds();
  for (long r = 0; r < kRounds; ++r)
    for (int c = 0; c < kChains; ++c) a[c] = a[c] * x + y;
  const double seconds = cpu_seconds() - begin;
  volatile double keep = 0.0;
  for (int c = 0; c < kChains; ++c) keep = keep + a[c][0];
  return 2.0 * kPairLanes * kChains * static_cast<double>(kRounds) / seconds;
}

}  // namespace nearsight::bench
