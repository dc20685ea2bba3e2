// SHA-256 (FIPS 180-4).
#pragma once

#include <string>

namespace nearsight {

// In hexadecimal digits.
std::string sha256(const std::string& text);

}  // namespace nearsight
