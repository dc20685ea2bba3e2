// JSON as Python's json.dumps(content, sort_keys=True) writes it, to which a digest belongs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace nearsight {

using Json = nlohmann::json;

// Strict: throws std::invalid_argument, with the reason, for text that is not JSON, names an entry
// twice, or holds a number beyond all bounds or deep nesting.
Json parse_json(const std::string& text);

std::string canonical_text(const Json& content);

// The shortest digits that are read as the same number, as Python's repr(value).
std::string shortest_text(double value);

}  // namespace nearsight
