#include "parallel.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "simd.hpp"

namespace nearsight {
namespace {

TEST(ParallelBlocks, VisitsEveryItemOnce) {
  for (const int threads : {1, 2, 3, 8})
    for (const Index n : {0, 1, 7, 16, 1000})
      for (const Index grain : {1, 16, 2000}) {
        std::vector<int> visits(n, 0);
        parallel_blocks(n, grain, threads, [&](Index first, Index last, int) {
          ASSERT_LE(last - first, grain);
          for (Index i = first; i < last; ++i) ++visits[i];
        });
        for (const int count : visits) ASSERT_EQ(count, 1);
      }
}

TEST(ParallelBlocks, WhoDoesWhatIsAlwaysTheSame) {
  std::vector<int> before;
  for (int round = 0; round < 5; ++round) {
    std::vector<int> owner(100, -1);
    parallel_blocks(100, 3, 3, [&](Index first, Index last, int thread) {
      for (Index i = first; i < last; ++i) owner[i] = thread;
    });
    if (round > 0) {
      EXPECT_EQ(owner, before);
    }
    before = owner;
  }
}

TEST(ParallelBlocks, AnExceptionReachesTheCaller) {
  for (const int threads : {1, 2, 4}) {
    std::atomic<int> others{0};
    try {
      parallel_blocks(64, 1, threads, [&](Index first, Index, int) {
        if (first == 37) throw std::invalid_argument("atom 37");
        ++others;
      });
      FAIL() << "nothing was thrown";
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()), "atom 37");
    }
    EXPECT_LE(others, 63);
    if (threads == 1) {
      EXPECT_EQ(others, 37);
    }
    // and the next region is fine
    std::atomic<int> count{0};
    parallel_blocks(64, 1, threads, [&](Index, Index, int) { ++count; });
    EXPECT_EQ(count, 64);
  }
}

TEST(ParallelBlocks, OfManyExceptionsOneReachesTheCaller) {
  EXPECT_THROW(parallel_blocks(64, 1, 4, [](Index, Index, int) { throw std::runtime_error("x"); }),
               std::runtime_error);
}

// GNU's OpenMP would wait for threads that a forked process does not have.
TEST(ParallelBlocks, AForkedProcessWorksWithOneThread) {
  const auto count = [] {
    std::atomic<int> visits{0};
    parallel_blocks(64, 1, thread_count(4), [&](Index, Index, int) { ++visits; });
    return visits.load();
  };
  ASSERT_EQ(count(), 64);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(count() == 64 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ParallelBlocks, AnInterruptEndsTheWorkOfAllThreads) {
  for (const int threads : {1, 4}) {
    check_interrupt.store([] { throw std::runtime_error("interrupted"); });
    std::atomic<int> others{0};
    const auto work = [&](Index, Index, int thread) {
      look_for_interrupt(thread);
      ++others;
    };
    EXPECT_THROW(parallel_blocks(64, 1, threads, work), std::runtime_error);
    EXPECT_LE(others, threads == 1 ? 0 : 63);
    check_interrupt.store(nullptr);
    others = 0;
    parallel_blocks(64, 1, threads, work);
    EXPECT_EQ(others, 64);
  }
}

TEST(ThreadCount, IsWhatWasAskedFor) {
  EXPECT_GE(thread_count(0), 1);
#ifdef _OPENMP
  EXPECT_EQ(thread_count(3), 3);
#endif
}

TEST(Scratch, IsAlignedForTheVectorsOfThisBuild) {
  Scratch scratch;
  for (const Index n : {1, 5, 64, 1000}) {
    const auto address = reinterpret_cast<std::uintptr_t>(scratch.require(n));
    EXPECT_EQ(address % (kPairLanes * sizeof(double)), 0U);
  }
}

TEST(Scratch, HasRoomAndIsKeptWhileItSuffices) {
  Scratch scratch;
  double* const first = scratch.require(100);
  for (Index i = 0; i < 100; ++i) first[i] = static_cast<double>(i);
  EXPECT_EQ(scratch.require(50), first);
  EXPECT_EQ(scratch.require(100), first);
  double* const more = scratch.require(100000);
  more[99999] = 1.0;  // the sanitizer objects if there is no room
  EXPECT_EQ(scratch.require(100), more);
}

TEST(Padded, RoundsUp) {
  EXPECT_EQ(padded(0), 0);
  EXPECT_EQ(padded(1), kLanes);
  EXPECT_EQ(padded(8), 8);
  EXPECT_EQ(padded(9, 4), 12);
}

}  // namespace
}  // namespace nearsight
