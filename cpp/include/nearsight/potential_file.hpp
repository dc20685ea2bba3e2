// Potentials as the Python package saves them (best.json, ensemble.json), without Python.
#pragma once

#include <string>
#include <vector>

#include "nearsight/potential.hpp"

namespace nearsight {

// Half width of the central 99 % of a normal distribution, in standard deviations: the raw
// uncertainty is this times Evaluation::deviation.
inline constexpr double kConfidence = 2.58;

struct PotentialFile {
  std::vector<std::string> elements;  // symbols, by species
  Potential potential;
  double calibration;          // from raw to calibrated uncertainty
  double floor;                // eV/Å, raw, below which no uncertainty is
  double excess;               // eV/Å, of the calibrated above the raw uncertainty, at most
  double largest_uncertainty;  // eV/Å, raw, of a labelled force; 0 without a domain
  std::string digest;          // SHA-256 of the content, that of Python's Ensemble.digest

  // Calibrated uncertainty, eV/Å, from Evaluation::deviation and ::extrapolation (0 without a
  // domain): no smaller, outside, than that of the labelled force of which it is largest, times the
  // grade.
  double uncertainty(double deviation, double extrapolation) const;
};

// Throws std::invalid_argument, in one sentence that begins with the path, if the file is missing,
// truncated, changed, of another kind, incomplete, from a newer version, or holds what this library
// cannot compute. Nothing in a file is executed.
PotentialFile read_potential(const std::string& path);

// The same of the text of a file; `name` is what messages call it.
PotentialFile parse_potential(const std::string& text, const std::string& name);

}  // namespace nearsight
