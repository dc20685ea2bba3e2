#include "nearsight/potential_file.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "canonical_json.hpp"
#include "json_entry.hpp"
#include "sha256.hpp"

namespace nearsight {

namespace {

constexpr const char* kFormat = "nearsight-ensemble";
// 1 has no baseline, 2 no functions of other programs and one cutoff, 3 no least sum of features,
// 4 no spacing of neighbours and no knee of a bound, 5 no R_s of G4 and G5
constexpr int kVersion = 6;
// Of a factor of a bound, and of an uncertainty in eV/A: their products are finite.
constexpr double kLargestBound = 1e50;

using Elements = std::vector<std::string>;

int species_of(const Entry& symbol, const Elements& elements) {
  const auto found = std::find(elements.begin(), elements.end(), symbol.text());
  if (found == elements.end()) symbol.refuse("not one of the elements");
  return static_cast<int>(found - elements.begin());
}

Cutoff read_cutoff(const Entry& entry) {
  entry.check_keys({"radius", "function", "gamma"});
  const std::string name = entry.get("function", "cosine").text();
  if (name != "cosine" && name != "polynomial")
    throw std::invalid_argument("unknown cutoff function '" + name.substr(0, 40) +
                                "', expected cosine or polynomial");
  return {name == "cosine" ? CutoffKind::kCosine : CutoffKind::kPolynomial,
          entry["radius"].number(), entry.get("gamma", 4.0).number()};
}

Window read_window(const Entry& entry) {
  entry.check_keys({"shape", "start", "end", "bump", "asymmetric"});
  return {window_shape(entry["shape"].text()), entry["start"].number(), entry["end"].number(),
          entry["bump"].flag(), entry["asymmetric"].flag()};
}

// A function of other programs: of one neighbour, or of two.
SymmetryFunction read_general(const Entry& entry, FunctionKind kind, int center, double eta,
                              const Elements& elements) {
  const bool angular = kind == FunctionKind::kAngular;
  entry.check_keys(angular ? Elements{"type", "elements", "eta", "r_s", "window", "weights", "zeta",
                                      "gamma", "closed", "angles"}
                           : Elements{"type", "elements", "eta", "r_s", "window", "weights"});
  SymmetryFunction made{kind, center, 0, 0, eta, entry["r_s"].number(), 1.0, 0.0};
  made.form.window = read_window(entry["window"]);
  const std::vector<Entry> named = entry["elements"].list();
  const bool weighted = entry.has("weights");
  const std::size_t expected = weighted ? 0 : angular ? 2 : 1;
  if (named.size() != expected)
    entry["elements"].refuse("expected " + std::to_string(expected) + " elements");
  if (!weighted) {
    made.first = species_of(named.front(), elements);
    made.second = species_of(named.back(), elements);
  } else {
    entry["weights"].check_keys(elements);
    if (entry["weights"].keys().empty()) entry["weights"].refuse("expected at least one");
    for (const std::string& element : elements)
      made.form.weights.push_back(entry["weights"].has(element) ? entry["weights"][element].number()
                                                                : 0.0);
  }
  if (!angular) return made;
  made.zeta = entry["zeta"].number();
  made.gamma = entry["gamma"].number();
  made.form.is_closed = entry["closed"].flag();
  made.form.by_angle = entry.has("angles");
  if (made.form.by_angle) made.form.angles = read_window(entry["angles"]);
  return made;
}

SymmetryFunction read_function(const Entry& entry, int center, const Elements& elements) {
  const std::string type = entry["type"].text();
  const double eta = entry["eta"].number();
  if (type == "Radial") return read_general(entry, FunctionKind::kRadial, center, eta, elements);
  if (type == "Angular") return read_general(entry, FunctionKind::kAngular, center, eta, elements);
  if (type == "G2") {
    entry.check_keys({"type", "element", "eta", "r_s"});
    const int first = species_of(entry["element"], elements);
    return {FunctionKind::kG2, center, first, 0, eta, entry.get("r_s", 0.0).number(), 1.0, 0.0};
  }
  if (type != "G4" && type != "G5") entry["type"].refuse("expected G2, G4, G5, Radial or Angular");
  entry.check_keys({"type", "elements", "eta", "zeta", "gamma", "r_s"});
  const std::vector<Entry> pair = entry["elements"].list();
  if (pair.size() != 2) entry["elements"].refuse("expected two elements");
  return {type == "G4" ? FunctionKind::kG4 : FunctionKind::kG5,
          center,
          species_of(pair[0], elements),
          species_of(pair[1], elements),
          eta,
          entry.has("r_s") ? entry["r_s"].number() : 0.0,  // left out where it is 0
          entry["zeta"].number(),
          entry["gamma"].number()};
}

SymmetryFunctions read_functions(const Entry& entry, const Elements& elements) {
  entry.check_keys({"cutoff", "angular_cutoff", "functions"});
  const Cutoff cutoff = read_cutoff(entry["cutoff"]);
  std::optional<Cutoff> angular;
  if (entry.value().contains("angular_cutoff")) angular = read_cutoff(entry["angular_cutoff"]);
  const Entry by_element = entry["functions"];
  by_element.check_keys(elements);
  std::vector<SymmetryFunction> functions;
  for (std::size_t s = 0; s < elements.size(); ++s)
    if (by_element.value().contains(elements[s]))
      for (const Entry& each : by_element[elements[s]].list())
        functions.push_back(read_function(each, static_cast<int>(s), elements));
  return {static_cast<int>(elements.size()), cutoff, functions, angular};
}

void check_range(const Entry& entry, const Vector& minimum, const Vector& maximum) {
  if (minimum.size() != maximum.size() || (maximum.array() < minimum.array()).any())
    entry.refuse("expected a maximum for every minimum, at least as large");
}

ScalingForm read_scaling_form(const Entry& entry) {
  entry.check_keys({"kind", "low", "high"});
  return {scaling_kind(entry["kind"].text()), entry["low"].number(), entry["high"].number()};
}

std::vector<Scaling> read_scaling(const Entry& entry, const Elements& elements,
                                  const ScalingForm& form) {
  std::vector<Scaling> found;
  entry.check_keys(elements);
  for (const std::string& element : elements) {
    const Entry of = entry[element];
    of.check_keys({"minimum", "maximum", "mean", "sigma"});
    FeatureStatistics known{of["minimum"].vector(), of["maximum"].vector(), {}, {}};
    check_range(of, known.minimum, known.maximum);
    if (of.has("mean")) known.mean = of["mean"].vector();
    if (of.has("sigma")) known.sigma = of["sigma"].vector();
    found.push_back(linear_scaling(known, form));
  }
  return found;
}

std::vector<Domain> read_domain(const Entry& entry, const Elements& elements,
                                const std::vector<Scaling>& scaling) {
  std::vector<Domain> found;
  entry.check_keys({"largest_uncertainty", "environments"});
  const Entry all = entry["environments"];
  all.check_keys(elements);
  for (std::size_t s = 0; s < elements.size(); ++s) {
    const Entry of = all[elements[s]];
    of.check_keys({"center", "factor", "minimum", "maximum", "least", "spacing"});
    const Environments environments{of["center"].vector(),
                                    of["factor"].matrix(),
                                    of["minimum"].vector(),
                                    of["maximum"].vector(),
                                    of.has("least") ? of["least"].number() : 0.0,
                                    of.has("spacing") ? of["spacing"].number() : 0.0};
    if (of.has("least") && !(environments.least > 0.0)) of["least"].refuse("expected more than 0");
    if (of.has("spacing") && !(environments.spacing > 0.0))
      of["spacing"].refuse("expected more than 0");
    check_range(of, environments.minimum, environments.maximum);
    found.emplace_back(environments, scaling[s]);
  }
  return found;
}

// One layer of an element, of every member that was read.
struct Layer {
  Index inputs, outputs;
  Activation activation;
  std::vector<double> weights, bias;
};

struct Network {
  std::vector<Layer> layers;
  std::vector<double> slope, intercept;
};

void append(const double* values, Index n, std::vector<double>& to) {
  to.insert(to.end(), values, values + n);
}

// Adds the network of one more member.
void read_network(const Entry& entry, Network& network) {
  const bool is_first = network.slope.empty();
  entry.check_keys({"slope", "intercept", "layers"});
  network.slope.push_back(entry["slope"].number());
  network.intercept.push_back(entry["intercept"].number());
  const std::vector<Entry> layers = entry["layers"].list();
  if (is_first) network.layers.resize(layers.size());
  if (layers.size() != network.layers.size()) entry.refuse("the members differ in shape");
  for (std::size_t l = 0; l < layers.size(); ++l) {
    layers[l].check_keys({"activation", "weights", "bias"});
    const Activation activation = activation_from_name(layers[l]["activation"].text());
    const Matrix weights = layers[l]["weights"].matrix();
    const Vector bias = layers[l]["bias"].vector();
    Layer& layer = network.layers[l];
    if (is_first) layer = {weights.cols(), weights.rows(), activation, {}, {}};
    if (weights.cols() != layer.inputs || weights.rows() != layer.outputs ||
        bias.size() != layer.outputs || activation != layer.activation)
      layers[l].refuse("the members differ in shape, or the bias does not fit");
    append(weights.data(), weights.size(), layer.weights);
    append(bias.data(), bias.size(), layer.bias);
  }
}

std::vector<NetworkBatch> read_networks(const Entry& members, const Elements& elements,
                                        const std::vector<Scaling>& scaling) {
  std::vector<Network> networks(elements.size());
  const std::vector<Entry> all = members.list();
  if (all.empty()) members.refuse("expected at least one");
  for (const Entry& member : all) {
    member.check_keys(elements);
    for (std::size_t s = 0; s < elements.size(); ++s)
      read_network(member[elements[s]], networks[s]);
  }
  std::vector<NetworkBatch> found;
  for (std::size_t s = 0; s < elements.size(); ++s) {
    const Network& network = networks[s];
    if (network.layers.empty() || network.layers.front().inputs != scaling[s].scale.size())
      members.refuse("the network of " + elements[s] + " does not fit its scaling");
    std::vector<LayerView> views;
    for (const Layer& layer : network.layers)
      views.push_back(
          {layer.inputs, layer.outputs, layer.weights.data(), layer.bias.data(), layer.activation});
    found.emplace_back(static_cast<Index>(network.slope.size()), views, network.slope.data(),
                       network.intercept.data(), scaling[s].scale.data(), scaling[s].offset.data());
  }
  return found;
}

void check_multiplicities(const Entry& entry, std::size_t members) {
  if (entry.is_null()) return;
  const std::vector<Entry> rows = entry.list();
  if (rows.size() != members) entry.refuse("expected those of every member");
  for (const Entry& row : rows) {
    const std::vector<Entry> counts = row.list();
    if (counts.size() != rows[0].list().size()) entry.refuse("expected rows of one length");
    for (const Entry& count : counts) count.count();
  }
}

// A bound of errors: `factor` times the raw uncertainty, but no more above it than `excess`.
struct Bound {
  double factor, floor, excess;
};

Bound read_bound(const Entry& entry) {
  entry.check_keys({"factor", "factor_95", "floor", "knee", "labels", "images"});
  const double factor = entry["factor"].number(), beside = entry["factor_95"].number();
  const double floor = entry.get("floor", 0.0).number();
  if (!(factor >= beside && beside > 0.0 && floor >= 0.0))
    entry.refuse("expected factors above 0, factor_95 the smaller, and a floor of 0 or more");
  if (!(factor <= kLargestBound && floor <= kLargestBound)) entry.refuse("expected at most 1e50");
  entry["labels"].count();
  entry["images"].count();
  const Entry knee = entry.get("knee", nullptr);
  if (knee.is_null()) return {factor, floor, std::numeric_limits<double>::infinity()};
  const double from = knee.number();
  if (!(from >= floor && from <= kLargestBound))
    knee.refuse("expected no less than the floor, at most 1e50");
  return {factor, floor, std::max(factor - 1.0, 0.0) * from};
}

// The bound of forces.
Bound read_bounds(const Entry& entry, double calibration) {
  entry.check_keys({"forces", "energy", "virial"});
  for (const char* key : {"energy", "virial"})
    if (const Entry bound = entry.get(key, nullptr); !bound.is_null()) read_bound(bound);
  const Bound forces = read_bound(entry["forces"]);
  if (forces.factor != calibration)
    entry.refuse("calibration must be the factor of the bound of forces");
  return forces;
}

void check_header(const Json& content) {
  if (!content.is_object() || content.value("format", Json()) != kFormat)
    throw std::invalid_argument("not a file of format '" + std::string(kFormat) + "'");
  const Json version = content.value("version", Json());
  if (!version.is_number_integer() || version < 1)
    throw std::invalid_argument("no valid version number");
  if (version > kVersion)
    throw std::invalid_argument("written by a newer nearsight (file version " + version.dump() +
                                ", this one reads up to " + std::to_string(kVersion) +
                                "); update nearsight");
}

PotentialFile read_content(Json& content) {
  check_header(content);
  content.erase("format");
  content.erase("version");
  for (const char* key : {"digest", "domain", "baseline", "bounds", "scaling_form"})
    if (content.contains(key) && content[key].is_null()) content.erase(key);
  if (content.contains("baseline"))
    throw std::invalid_argument("has a baseline, which only the Python package computes as yet");
  const Entry root(content, "");
  std::optional<std::string> digest;
  if (content.contains("digest")) {
    digest = root["digest"].text();
    content.erase("digest");
  }
  root.check_keys({"units", "elements", "provenance", "calibration", "symmetry_functions",
                   "scaling", "scaling_form", "domain", "bounds", "multiplicities", "members"});
  if (root["units"].value() != Json{{"energy", "eV"}, {"length", "Å"}})
    root["units"].refuse("units must be eV and Å");
  if (!root["provenance"].value().is_object()) root["provenance"].refuse("expected an object");
  const double calibration = root["calibration"].number();
  if (!(calibration > 0.0 && calibration <= kLargestBound))
    root["calibration"].refuse("expected more than 0, at most 1e50");
  Elements elements;
  for (const Entry& symbol : root["elements"].list()) {
    if (std::find(elements.begin(), elements.end(), symbol.text()) != elements.end())
      symbol.refuse("stands twice");
    elements.push_back(symbol.text());
  }
  if (elements.empty()) root["elements"].refuse("expected at least one");
  SymmetryFunctions functions = read_functions(root["symmetry_functions"], elements);
  const ScalingForm form =
      root.has("scaling_form") ? read_scaling_form(root["scaling_form"]) : ScalingForm();
  const std::vector<Scaling> scaling = read_scaling(root["scaling"], elements, form);
  std::vector<Domain> domains;
  double largest = 0.0;
  if (content.contains("domain")) {
    domains = read_domain(root["domain"], elements, scaling);
    largest = root["domain"]["largest_uncertainty"].number();
    if (!(largest >= 0.0 && largest <= kLargestBound))
      root["domain"].refuse("expected an uncertainty of 0 or more, at most 1e50");
  }
  const Bound bound = content.contains("bounds")
                          ? read_bounds(root["bounds"], calibration)
                          : Bound{calibration, 0.0, std::numeric_limits<double>::infinity()};
  std::vector<NetworkBatch> networks = read_networks(root["members"], elements, scaling);
  check_multiplicities(root["multiplicities"], root["members"].value().size());
  const std::string found = sha256(canonical_text(content));
  if (digest.value_or(found) != found)
    throw std::invalid_argument("changed or damaged: its digest is that of another content");
  return {std::move(elements),
          Potential(std::move(functions), std::move(networks), std::move(domains)),
          calibration,
          bound.floor,
          bound.excess,
          largest,
          found};
}

}  // namespace

double PotentialFile::uncertainty(double deviation, double extrapolation) const {
  const double least = extrapolation > 1.0 ? extrapolation * largest_uncertainty : 0.0;
  const double raw = std::max({kConfidence * deviation, least, floor});
  return std::min(calibration * raw, raw + excess);
}

PotentialFile parse_potential(const std::string& text, const std::string& name) {
  Json content;
  try {
    content = parse_json(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(name + ": not valid JSON (truncated or corrupted? " + error.what() +
                                ")");
  }
  try {
    return read_content(content);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(name + ": " + error.what());
  }
}

PotentialFile read_potential(const std::string& path) {
  std::error_code failure;
  if (!std::filesystem::is_regular_file(path, failure))
    throw std::invalid_argument(path + ": cannot be read (not a file)");
  std::ifstream stream(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)),
                         std::istreambuf_iterator<char>());
  if (!stream) throw std::invalid_argument(path + ": cannot be read");
  return parse_potential(text, path);
}

}  // namespace nearsight
