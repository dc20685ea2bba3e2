// The digest and the numbers of potential files; what they hold is tested against Python.
#include "nearsight/potential_file.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "canonical_json.hpp"
#include "sha256.hpp"

namespace nearsight {
namespace {

// Examples of FIPS 180-4, and of NIST's for a million letters.
TEST(PotentialFile, Sha256) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// As Python prints them.
TEST(PotentialFile, ShortestText) {
  EXPECT_EQ(shortest_text(0.0), "0.0");
  EXPECT_EQ(shortest_text(-0.0), "-0.0");
  EXPECT_EQ(shortest_text(0.1), "0.1");
  EXPECT_EQ(shortest_text(1.0), "1.0");
  EXPECT_EQ(shortest_text(0.0001), "0.0001");
  EXPECT_EQ(shortest_text(0.00001), "1e-05");
  EXPECT_EQ(shortest_text(-1.25e-7), "-1.25e-07");
  EXPECT_EQ(shortest_text(1e15), "1000000000000000.0");
  EXPECT_EQ(shortest_text(1e16), "1e+16");
  EXPECT_EQ(shortest_text(9007199254740993.0), "9007199254740992.0");
  EXPECT_EQ(shortest_text(5e-324), "5e-324");
  EXPECT_EQ(shortest_text(1.7976931348623157e308), "1.7976931348623157e+308");
}

TEST(PotentialFile, CanonicalText) {
  EXPECT_EQ(
      canonical_text(parse_json(R"({"b": [1, 2.50, true, null], "Å": "é\n\u007f", "a": {}})")),
      R"({"a": {}, "b": [1, 2.5, true, null], "\u00c5": "\u00e9\n\u007f"})");
}

std::string reason(const std::string& text) {
  try {
    parse_potential(text, "best.json");
  } catch (const std::invalid_argument& refused) {
    return refused.what();
  }
  return "";
}

TEST(PotentialFile, RefusesWithOneSentence) {
  const auto begins = [](const std::string& text, const std::string& expected) {
    EXPECT_EQ(reason(text).substr(0, expected.size()), expected);
  };
  begins("", "best.json: not valid JSON (truncated or corrupted? syntax error at byte 1)");
  begins(R"({"a": 1, "a": 2})",
         "best.json: not valid JSON (truncated or corrupted? 'a' stands twice)");
  begins("[1e999]", "best.json: not valid JSON (truncated or corrupted? a number is beyond all");
  begins(std::string(200, '[') + std::string(200, ']'),
         "best.json: not valid JSON (truncated or corrupted? too many levels of brackets");
  begins("[]", "best.json: not a file of format 'nearsight-ensemble'");
  begins(R"({"format": 1})", "best.json: not a file of format 'nearsight-ensemble'");
  const std::string header = R"({"format": "nearsight-ensemble", "version": )";
  begins(header + "true}", "best.json: no valid version number");
  begins(header + "7}",
         "best.json: written by a newer nearsight (file version 7, this one reads up");
  begins(header + R"(2, "baseline": {}})", "best.json: has a baseline");
  begins(header + R"(1, "charges": {}})",
         "best.json: holds 'charges', which this version does not");
  begins(header + "1}", "best.json: incomplete or damaged (no 'units')");
  EXPECT_THROW(read_potential("no such file"), std::invalid_argument);
  EXPECT_THROW(read_potential("/"), std::invalid_argument);
}

}  // namespace
}  // namespace nearsight
