#include "canonical_json.hpp"

#include <charconv>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <vector>

namespace nearsight {

namespace {

constexpr int kMaxLevels = 100;  // of brackets; files of nearsight have about ten

std::string number_text(double value, std::chars_format format) {
  char digits[400];
  return {digits, std::to_chars(digits, digits + sizeof digits, value, format).ptr};
}

std::string quoted(const std::string& text) { return Json(text).dump(-1, ' ', true); }

void write(const Json& value, std::string& out) {
  const char* separator = "";
  switch (value.type()) {
    case Json::value_t::object:
      out += '{';
      for (const auto& [key, each] : value.items()) {
        out += separator + quoted(key) + ": ";
        write(each, out);
        separator = ", ";
      }
      out += '}';
      return;
    case Json::value_t::array:
      out += '[';
      for (const Json& each : value) {
        out += separator;
        write(each, out);
        separator = ", ";
      }
      out += ']';
      return;
    case Json::value_t::string:
      out += quoted(value.get_ref<const std::string&>());
      return;
    case Json::value_t::number_float:
      out += shortest_text(value.get<double>());
      return;
    default:
      out += value.dump();
  }
}

}  // namespace

Json parse_json(const std::string& text) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&keys](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxLevels)
      throw std::invalid_argument("too many levels of brackets, more than " +
                                  std::to_string(kMaxLevels));
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        throw std::invalid_argument("'" + key.substr(0, 40) + "' stands twice");
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    throw std::invalid_argument("syntax error at byte " + std::to_string(error.byte));
  } catch (const Json::exception&) {
    throw std::invalid_argument("a number is beyond all bounds");
  }
}

std::string canonical_text(const Json& content) {
  std::string text;
  write(content, text);
  return text;
}

std::string shortest_text(double value) {
  const std::string scientific = number_text(value, std::chars_format::scientific);
  const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
  if (value != 0.0 && (exponent < -4 || exponent >= 16)) return scientific;
  const std::string plain = number_text(value, std::chars_format::fixed);
  return plain.find('.') == std::string::npos ? plain + ".0" : plain;
}

}  // namespace nearsight
