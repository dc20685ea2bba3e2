#include "nearsight/symmetry_functions.hpp"

#include <optional>

#include "arrays.hpp"
#include "nearsight/fingerprints.hpp"

namespace nearsight {

namespace {

FunctionKind function_kind(const std::string& name) {
  if (name == "G2") return FunctionKind::kG2;
  if (name == "G4") return FunctionKind::kG4;
  if (name == "G5") return FunctionKind::kG5;
  if (name == "Radial") return FunctionKind::kRadial;
  if (name == "Angular") return FunctionKind::kAngular;
  throw std::invalid_argument("unknown kind of symmetry function '" + name + "'");
}

CutoffKind cutoff_kind(const std::string& name) {
  if (name == "cosine") return CutoffKind::kCosine;
  if (name == "polynomial") return CutoffKind::kPolynomial;
  throw std::invalid_argument("unknown cutoff function '" + name +
                              "', expected cosine or polynomial");
}

// (function, radius, gamma)
using CutoffTuple = std::tuple<std::string, double, double>;
// (shape, start, end, is_bump, is_asymmetric)
using WindowTuple = std::tuple<std::string, double, double, bool, bool>;

Window make_window(const WindowTuple& given) {
  const auto& [shape, start, end, is_bump, is_asymmetric] = given;
  return {window_shape(shape), start, end, is_bump, is_asymmetric};
}

// (window, is_closed, window of the angle or None, weights by species or an empty list)
using FormTuple = std::tuple<WindowTuple, bool, std::optional<WindowTuple>, std::vector<double>>;

GeneralForm make_form(const std::optional<FormTuple>& given) {
  if (!given) return {};
  const auto& [window, is_closed, angles, weights] = *given;
  return {make_window(window), is_closed, angles.has_value(),
          angles ? make_window(*angles) : Window(), weights};
}

// (kind, center, first, second, eta, r_s, zeta, gamma, form or None)
using FunctionTuple = std::tuple<std::string, int, int, int, double, double, double, double,
                                 std::optional<FormTuple>>;

Cutoff make_cutoff(const CutoffTuple& given) {
  const auto& [function, radius, gamma] = given;
  return Cutoff(cutoff_kind(function), radius, gamma);
}

SymmetryFunctions make_functions(int n_species, const CutoffTuple& cutoff,
                                 const CutoffTuple& angular_cutoff,
                                 const std::vector<FunctionTuple>& given) {
  std::vector<SymmetryFunction> functions;
  for (const auto& [name, center, first, second, eta, r_s, zeta, angular, form] : given)
    functions.push_back(
        {function_kind(name), center, first, second, eta, r_s, zeta, angular, make_form(form)});
  return SymmetryFunctions(n_species, make_cutoff(cutoff), functions, make_cutoff(angular_cutoff));
}

py::dict make_fingerprints(const SymmetryFunctions& self, const Structure& structure,
                           const std::vector<Index>& force_atoms, bool all_centers, int threads) {
  const auto made = [&] {
    py::gil_scoped_release release;
    return Fingerprints(self, structure, force_atoms, all_centers, threads);
  }();
  const py::ssize_t blocks = static_cast<py::ssize_t>(made.block_center.size());
  py::dict result;
  result["centers"] = vector_array(made.centers);
  result["features"] = matrix_array(made.features);
  result["nearest"] = vector_array(made.nearest);
  result["block_offsets"] = vector_array(made.block_offsets);
  result["block_center"] = vector_array(made.block_center);
  result["derivatives"] = Array<double>(
      {blocks, py::ssize_t{3}, static_cast<py::ssize_t>(padded(self.max_size(), kFeatureLanes))},
      made.derivatives.data());
  return result;
}

Array<double> make_features(const SymmetryFunctions& self, const Structure& structure,
                            int threads) {
  const Matrix made = [&] {
    py::gil_scoped_release release;
    return features(self, structure, threads);
  }();
  return matrix_array(made);
}

}  // namespace

void bind_symmetry_functions(py::module_& m) {
  py::class_<SymmetryFunctions>(m, "SymmetryFunctions", py::module_local())
      .def(py::init(&make_functions), py::arg("n_species"), py::arg("cutoff"),
           py::arg("angular_cutoff"), py::arg("functions"))
      .def("size", &SymmetryFunctions::size, py::arg("species"))
      .def("features", &make_features, py::arg("structure"), py::arg("threads") = 0)
      .def("fingerprints", &make_fingerprints, py::arg("structure"), py::arg("force_atoms"),
           py::arg("all_centers"), py::arg("threads") = 0);
}

}  // namespace nearsight
