// One line per case, narrow enough for a terminal; --benchmark_out keeps every figure as JSON.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace nearsight::bench {

class Table : public benchmark::BenchmarkReporter {
 public:
  explicit Table(std::string level) : level_(std::move(level)) {}

  bool ReportContext(const Context& context) override {
    std::printf("%s on %d cores, one thread: medians of all calls, (the best call)\n\n",
                level_.c_str(), context.cpu_info.num_cpus);
    std::printf("%-20s %8s %15s %7s %7s %13s %13s %6s %8s %8s\n", "case", "atoms", "us/atom",
                "bonds/s", "trip./s", "of FMA peak", "list us/atom", "B/atom", "dE, eV",
                "dF, eV/A");
    return true;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      const auto value = [&](const char* name) { return run.counters.at(name).value; };
      std::printf(
          "%-20s %8.0f %6.1f (%6.1f) %6.2fM %6.1fM %3.0f %% (%3.0f %%) %5.2f (%5.2f) %6.0f %8.1e "
          "%8.1e\n",
          run.run_name.function_name.c_str(), value("atoms"), value("us/atom"),
          value("us/atom_least"), 1e-6 * value("bonds/s"), 1e-6 * value("triplets/s"),
          100.0 * value("of_peak"), 100.0 * value("of_peak_most"), value("list_us/atom"),
          value("list_least"), value("added_B/atom"), value("dE_eV"), value("dF_eV/A"));
      std::fflush(stdout);
      peak_ = value("GF_peak");
    }
  }

  void Finalize() override {
    std::printf("\nFMA peak between the calls of the last case: %.1f GFlop/s\n", peak_);
  }

 private:
  std::string level_;
  double peak_ = 0.0;
};

}  // namespace nearsight::bench
