// The only place that knows OpenMP.
#pragma once

#include <exception>

#include "nearsight/types.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace nearsight {

// Threads to use: `requested`, or OpenMP's own choice (OMP_NUM_THREADS) when that is 0.
inline int thread_count(int requested) {
#ifdef _OPENMP
  return requested > 0 ? requested : omp_get_max_threads();
#else
  (void)requested;
  return 1;
#endif
}

// Calls body(first, last, thread) for blocks of `grain` items. Blocks are dealt to the threads in
// turn, so who does what depends on n and the thread count alone: results are reproducible.
// The first exception of any thread is thrown to the caller after all threads are done.
template <class Body>
void parallel_blocks(Index n, Index grain, int threads, const Body& body) {
  const Index blocks = (n + grain - 1) / grain;
  if (blocks == 0) return;
  if (threads > blocks) threads = static_cast<int>(blocks);  // none without work to wake up
  std::exception_ptr failure;
#ifdef _OPENMP
#pragma omp parallel num_threads(threads) if (threads > 1)
#endif
  {
#ifdef _OPENMP
    const int thread = omp_get_thread_num();
    const int team = omp_get_num_threads();
#else
    const int thread = 0;
    const int team = 1;
#endif
    try {
      for (Index b = thread; b < blocks; b += team) {
        const Index first = b * grain;
        const Index last = first + grain < n ? first + grain : n;
        body(first, last, thread);
      }
    } catch (...) {
#ifdef _OPENMP
#pragma omp critical(nearsight_failure)
#endif
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace nearsight
