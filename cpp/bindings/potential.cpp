#include "nearsight/potential.hpp"

#include "arrays.hpp"

namespace nearsight {

namespace {

// One element's networks of all members: (weights of every layer (M, out, in), biases (M, out),
// activations, slope (M), intercept (M), scale (in), offset (in))
using BatchTuple =
    std::tuple<std::vector<Array<double>>, std::vector<Array<double>>, std::vector<std::string>,
               Array<double>, Array<double>, Array<double>, Array<double>>;

NetworkBatch make_batch(const BatchTuple& given) {
  const auto& [weights, biases, activations, slope, intercept, scale, offset] = given;
  if (weights.empty() || weights.size() != biases.size() || weights.size() != activations.size())
    throw std::invalid_argument("a network needs weights, bias and activation for every layer");
  expect(weights[0], "weights", {-1, -1, -1});
  const py::ssize_t members = weights[0].shape(0);
  expect(slope, "slope", {members});
  expect(intercept, "intercept", {members});
  expect(scale, "scale", {weights[0].shape(2)});
  expect(offset, "offset", {weights[0].shape(2)});
  std::vector<LayerView> layers;
  for (std::size_t l = 0; l < weights.size(); ++l) {
    expect(weights[l], "weights", {members, -1, -1});
    expect(biases[l], "bias", {members, weights[l].shape(1)});
    layers.push_back({weights[l].shape(2), weights[l].shape(1), weights[l].data(), biases[l].data(),
                      activation_from_name(activations[l])});
  }
  return NetworkBatch(members, layers, slope.data(), intercept.data(), scale.data(), offset.data());
}

// (center (S), factor (S, S), minimum (S), maximum (S), least, spacing) of one element
using DomainTuple =
    std::tuple<Array<double>, Array<double>, Array<double>, Array<double>, double, double>;

Vector vector(const Array<double>& array, const char* name) {
  expect(array, name, {-1});
  return Eigen::Map<const Vector>(array.data(), array.size());
}

py::tuple scale_features(const Array<double>& minimum, const Array<double>& maximum,
                         const Array<double>& mean, const Array<double>& sigma,
                         const std::string& kind, double low, double high) {
  const Scaling made = linear_scaling({vector(minimum, "minimum"), vector(maximum, "maximum"),
                                       vector(mean, "mean"), vector(sigma, "sigma")},
                                      {scaling_kind(kind), low, high});
  return py::make_tuple(vector_array(made.scale), vector_array(made.offset));
}

Potential make_potential(const SymmetryFunctions& functions, const std::vector<BatchTuple>& given,
                         const std::vector<DomainTuple>& known, const Baseline* baseline) {
  if (given.empty()) throw std::invalid_argument("a potential needs a network");
  std::vector<NetworkBatch> networks;
  for (const BatchTuple& batch : given) networks.push_back(make_batch(batch));
  std::vector<Domain> domains;
  if (known.size() > given.size())
    throw std::invalid_argument("a potential needs a domain for every element, or none");
  for (std::size_t s = 0; s < known.size(); ++s) {
    const auto& [center, factor, minimum, maximum, least, spacing] = known[s];
    expect(factor, "factor", {-1, -1});
    const Environments environments{
        vector(center, "center"),   matrix(factor), vector(minimum, "minimum"),
        vector(maximum, "maximum"), least,          spacing};
    domains.emplace_back(environments, Scaling{vector(std::get<5>(given[s]), "scale"),
                                               vector(std::get<6>(given[s]), "offset")});
  }
  return {functions, std::move(networks), std::move(domains),
          baseline == nullptr ? std::nullopt : std::optional<Baseline>(*baseline)};
}

Forces forces_mode(const std::string& name) {
  if (name == "members") return Forces::kMembers;
  if (name == "mean") return Forces::kMean;
  if (name == "none") return Forces::kNone;
  throw std::invalid_argument("forces must be 'members', 'mean' or 'none'");
}

py::dict evaluate(const Potential& potential, const Structure& structure, const std::string& forces,
                  bool virial, int threads, const NeighborList* neighbors) {
  const Forces mode = forces_mode(forces);
  const Evaluation made = [&] {
    py::gil_scoped_release release;
    if (neighbors != nullptr)
      return potential.evaluate(structure, *neighbors, mode, virial, threads);
    const NeighborList list(structure, potential.functions().cutoff().radius, 0.0, threads);
    return potential.evaluate(structure, list, mode, virial, threads);
  }();
  py::dict result;
  result["energy"] = made.energy;
  result["member_energies"] = vector_array(made.member_energies);
  result["energy_deviation"] = made.energy_deviation;
  result["energies"] = matrix_array(made.energies);
  result["mean_energies"] = vector_array(made.mean_energies);
  if (mode != Forces::kNone) result["mean_forces"] = matrix_array(made.mean_forces);
  if (mode == Forces::kMembers) {
    result["forces"] =
        Array<double>({potential.members(), structure.size(), Index{3}}, made.forces.data());
    result["deviation"] = vector_array(made.deviation);
  }
  result["isolated"] =
      Array<bool>(structure.size(), reinterpret_cast<const bool*>(made.isolated.data()));
  if (made.extrapolation.size() > 0) result["extrapolation"] = vector_array(made.extrapolation);
  if (virial) result["virial"] = matrix_array(made.virial);
  if (virial && mode == Forces::kMembers) {
    result["virials"] =
        Array<double>({potential.members(), Index{3}, Index{3}}, made.virials.data());
    result["virial_deviation"] = vector_array(made.virial_deviation);
  }
  return result;
}

}  // namespace

void bind_potential(py::module_& m) {
  m.def("linear_scaling", &scale_features, py::arg("minimum"), py::arg("maximum"), py::arg("mean"),
        py::arg("sigma"), py::arg("kind"), py::arg("low"), py::arg("high"));
  m.attr("DOMAIN_SPREAD") = Domain::kSpread;
  m.attr("DOMAIN_BOX") = Domain::kBox;
  py::class_<Potential>(m, "Potential", py::module_local())
      .def(py::init(&make_potential), py::arg("functions"), py::arg("networks"),
           py::arg("domains") = std::vector<DomainTuple>(), py::arg("baseline") = nullptr)
      .def("evaluate", &evaluate, py::arg("structure"), py::arg("forces") = "members",
           py::arg("virial") = false, py::arg("threads") = 0, py::arg("neighbors") = nullptr);
}

}  // namespace nearsight
