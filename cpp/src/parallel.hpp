// The only place that knows OpenMP.
#pragma once

#include <atomic>
#include <exception>

#include "nearsight/types.hpp"

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#endif

namespace nearsight {

#ifdef _OPENMP
// A forked child has none of its parent's threads, but GNU's OpenMP would wait for them.
inline std::atomic<bool> forked{false};
inline const bool watches_forks = pthread_atfork(nullptr, nullptr, [] { forked.store(true); }) == 0;
#endif

// Called by the thread that asked for the work, if set; may throw to end it.
inline std::atomic<void (*)()> check_interrupt{nullptr};

// For the items of long work: lets it be interrupted.
inline void look_for_interrupt(int thread) {
  void (*const check)() = check_interrupt.load(std::memory_order_relaxed);
  if (thread == 0 && check != nullptr) check();
}

// Threads to use: `requested`, or OpenMP's own choice (OMP_NUM_THREADS) when that is 0. One in a
// forked process.
inline int thread_count(int requested) {
#ifdef _OPENMP
  if (forked.load()) return 1;
  return requested > 0 ? requested : omp_get_max_threads();
#else
  (void)requested;
  return 1;
#endif
}

// Calls body(first, last, thread) for blocks of `grain` items. Blocks are dealt to the threads in
// turn, so who does what depends on n and the thread count alone: results are reproducible.
// The first exception of any thread ends the work of all and is thrown to the caller.
template <class Body>
void parallel_blocks(Index n, Index grain, int threads, const Body& body) {
  const Index blocks = (n + grain - 1) / grain;
  if (blocks == 0) return;
  if (threads > blocks) threads = static_cast<int>(blocks);  // none without work to wake up
  std::exception_ptr failure;
  std::atomic<bool> failed{false};
  const auto work = [&](int thread, int team) {
    try {
      for (Index b = thread; b < blocks && !failed.load(std::memory_order_relaxed); b += team) {
        const Index first = b * grain;
        const Index last = first + grain < n ? first + grain : n;
        body(first, last, thread);
      }
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  };
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    work(omp_get_thread_num(), omp_get_num_threads());
  } else {
    work(0, 1);
  }
#else
  work(0, 1);
#endif
  if (failure) std::rethrow_exception(failure);
}

}  // namespace nearsight
