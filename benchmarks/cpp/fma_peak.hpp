#pragma once

namespace nearsight::bench {

// CPU time of this thread.
double cpu_seconds();

// Floating-point operations per second of CPU time in a loop of independent fused
// multiply-adds on the vector registers of this build: the peak of one core as it is just now.
double fma_peak();

}  // namespace nearsight::bench
