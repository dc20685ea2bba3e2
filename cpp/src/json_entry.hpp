// The values of a JSON file, read strictly: a mistake is refused with its place.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "canonical_json.hpp"
#include "nearsight/types.hpp"

namespace nearsight {

// A value of the file and its place in it, for messages. Reading makes the content canonical:
// numbers that may have a fraction become floating-point numbers, defaults are filled in.
class Entry {
 public:
  Entry(Json& value, std::string place) : value_(value), place_(std::move(place)) {}

  [[noreturn]] void refuse(const std::string& expected) const {
    const std::string place = place_.empty() ? "" : place_ + ": ";
    throw std::invalid_argument("incomplete or damaged (" + place + expected + ")");
  }

  Entry operator[](const std::string& key) const {
    if (!value_.is_object()) refuse("expected an object");
    if (!value_.contains(key)) refuse("no '" + key + "'");
    return {value_[key], place_.empty() ? key : place_ + "." + key};
  }
  Entry get(const std::string& key, const Json& otherwise) const {
    if (!value_.is_object()) refuse("expected an object");
    if (!value_.contains(key)) value_[key] = otherwise;
    return (*this)[key];
  }
  bool has(const std::string& key) const { return value_.is_object() && value_.contains(key); }
  // Refuses an object with any other key: it may mean what this library does not compute.
  void check_keys(const std::vector<std::string>& known) const {
    for (const std::string& key : keys())
      if (std::find(known.begin(), known.end(), key) == known.end())
        throw std::invalid_argument("holds '" + key.substr(0, 40) +
                                    "', which this version does not know; update nearsight");
  }
  std::vector<std::string> keys() const {
    if (!value_.is_object()) refuse("expected an object");
    std::vector<std::string> found;
    for (const auto& item : value_.items()) found.push_back(item.key());
    return found;
  }
  std::vector<Entry> list() const {
    if (!value_.is_array()) refuse("expected a list");
    std::vector<Entry> found;
    for (std::size_t i = 0; i < value_.size(); ++i)
      found.emplace_back(value_[i], place_ + "." + std::to_string(i));
    return found;
  }

  bool is_null() const { return value_.is_null(); }
  const Json& value() const { return value_; }
  std::string text() const {
    if (!value_.is_string()) refuse("expected text");
    return value_.get<std::string>();
  }
  bool flag() const {
    if (!value_.is_boolean()) refuse("expected true or false");
    return value_.get<bool>();
  }
  double number() const {
    if (!value_.is_number()) refuse("expected a number");
    value_ = value_.get<double>();
    return value_.get<double>();
  }
  void count() const {
    const double found = number();
    if (found != std::rint(found) || found < 0.0 || found > 9007199254740992.0)
      refuse("expected a whole number, not negative");
    value_ = static_cast<std::int64_t>(found);
  }
  Vector vector() const {
    const std::vector<Entry> entries = list();
    Vector found(static_cast<Index>(entries.size()));
    for (Index i = 0; i < found.size(); ++i) found[i] = entries[i].number();
    return found;
  }
  Matrix matrix() const {
    const std::vector<Entry> rows = list();
    Matrix found;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const Vector row = rows[r].vector();
      if (r == 0) found.resize(static_cast<Index>(rows.size()), row.size());
      if (row.size() != found.cols()) refuse("expected rows of one length");
      found.row(static_cast<Index>(r)) = row;
    }
    return found;
  }

 private:
  Json& value_;
  std::string place_;
};

}  // namespace nearsight
