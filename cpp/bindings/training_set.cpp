#include "nearsight/training_set.hpp"

#include <algorithm>

#include "arrays.hpp"
#include "nearsight/levenberg_marquardt.hpp"
#include "nearsight/residuals.hpp"

namespace nearsight {

namespace {

// Keeps the arrays of derivatives, which the set borrows.
struct KeptSet : TrainingSet {
  using TrainingSet::TrainingSet;
  std::vector<Array<double>> kept;
};

// (center_element (C), features (C, S), block_offsets (F + 1), block_center (B),
// derivatives (B, 3, S padded to kFeatureLanes), energy, forces (F, 3))
using ImageTuple = std::tuple<Array<int>, Array<double>, Array<Index>, Array<int>, Array<double>,
                              double, Array<double>>;

LabelledImage labelled_image(const ImageTuple& given, Index n_features) {
  const auto& [element, features, offsets, block_center, derivatives, energy, forces] = given;
  expect(element, "center_element", {-1});
  expect(features, "features", {element.size(), n_features});
  expect(block_center, "block_center", {-1});
  expect(derivatives, "derivatives", {block_center.size(), 3, padded(n_features, kFeatureLanes)});
  expect(forces, "forces", {-1, 3});
  expect(offsets, "block_offsets", {forces.shape(0) + 1});
  return {element.size(), forces.shape(0),     block_center.size(), element.data(), features.data(),
          offsets.data(), block_center.data(), derivatives.data(),  energy,         forces.data()};
}

KeptSet make_set(const std::vector<std::vector<Index>>& sizes,
                 const std::vector<std::string>& activations, const Array<double>& scale,
                 const Array<double>& offset, const std::vector<ImageTuple>& images) {
  std::vector<Activation> kinds;
  for (const std::string& name : activations) kinds.push_back(activation_from_name(name));
  expect(scale, "scale", {static_cast<py::ssize_t>(sizes.size()), -1});
  expect(offset, "offset", {scale.shape(0), scale.shape(1)});
  KeptSet set(NetworkShape(sizes, kinds), matrix(scale), matrix(offset));
  for (const ImageTuple& image : images) {
    set.add(labelled_image(image, scale.shape(1)));
    set.kept.push_back(std::get<4>(image));
  }
  return set;
}

Vector vector_of(const KeptSet& set, const Array<double>& weights) {
  expect(weights, "weights", {set.shape.n_weights});
  return Eigen::Map<const Vector>(weights.data(), set.shape.n_weights);
}

ResidualWeights residual_weights(const KeptSet& set, const Array<double>& energies,
                                 const Array<double>& forces) {
  expect(energies, "energy_weights", {set.n_images()});
  expect(forces, "force_weights", {set.n_force_atoms()});
  return {energies.data(), forces.data()};
}

py::tuple predictions(const KeptSet& set, const Array<double>& weights) {
  const Vector at = vector_of(set, weights);
  const Predictions made = [&] {
    py::gil_scoped_release release;
    return predict(set, at);
  }();
  return py::make_tuple(vector_array(made.energies), matrix_array(made.forces));
}

Array<double> residuals(const KeptSet& set, const Array<double>& weights,
                        const Array<double>& energy_weights, const Array<double>& force_weights) {
  Residuals at(set, residual_weights(set, energy_weights, force_weights));
  return vector_array(at.evaluate(vector_of(set, weights)));
}

py::tuple jacobian(const KeptSet& set, const Array<double>& weights,
                   const Array<double>& energy_weights, const Array<double>& force_weights) {
  Residuals at(set, residual_weights(set, energy_weights, force_weights));
  const Vector& values = at.evaluate(vector_of(set, weights));
  return py::make_tuple(vector_array(values), matrix_array(at.jacobian()));
}

// J^T J
Array<double> curvature(const KeptSet& set, const Array<double>& weights,
                        const Array<double>& energy_weights, const Array<double>& force_weights) {
  Residuals at(set, residual_weights(set, energy_weights, force_weights));
  at.move_to(vector_of(set, weights));
  Matrix upper;
  Vector unused;
  at.curvature(Vector::Zero(at.size()), upper, unused);
  Matrix result(upper.rows(), upper.rows());
  for (Index i = 0; i < result.rows(); ++i)
    for (Index j = 0; j < result.cols(); ++j) result(i, j) = upper(std::min(i, j), std::max(i, j));
  return matrix_array(result);
}

// J^T v
Array<double> pull_back(const KeptSet& set, const Array<double>& weights,
                        const Array<double>& energy_weights, const Array<double>& force_weights,
                        const Array<double>& v) {
  Residuals at(set, residual_weights(set, energy_weights, force_weights));
  at.move_to(vector_of(set, weights));
  expect(v, "v", {at.size()});
  return vector_array(at.pull_back(Eigen::Map<const Vector>(v.data(), v.size())));
}

py::tuple fit(const KeptSet& set, const Array<double>& start, const Array<double>& energy_weights,
              const Array<double>& force_weights, double l2, Index iterations, double tolerance) {
  const ResidualWeights weights = residual_weights(set, energy_weights, force_weights);
  const Vector from = vector_of(set, start);
  const Fit made = [&] {
    py::gil_scoped_release release;
    return levenberg_marquardt(set, weights, from, l2, iterations, tolerance);
  }();
  return py::make_tuple(vector_array(made.weights), made.loss, made.iterations, made.trials);
}

}  // namespace

void bind_training_set(py::module_& m) {
  py::class_<KeptSet>(m, "TrainingSet", py::module_local())
      .def(py::init(&make_set), py::arg("sizes"), py::arg("activations"), py::arg("scale"),
           py::arg("offset"), py::arg("images"))
      .def_property_readonly("n_weights", [](const KeptSet& self) { return self.shape.n_weights; })
      .def("predict", &predictions, py::arg("weights"))
      .def("residuals", &residuals, py::arg("weights"), py::arg("energy_weights"),
           py::arg("force_weights"))
      .def("jacobian", &jacobian, py::arg("weights"), py::arg("energy_weights"),
           py::arg("force_weights"))
      .def("curvature", &curvature, py::arg("weights"), py::arg("energy_weights"),
           py::arg("force_weights"))
      .def("pull_back", &pull_back, py::arg("weights"), py::arg("energy_weights"),
           py::arg("force_weights"), py::arg("v"))
      .def("levenberg_marquardt", &fit, py::arg("start"), py::arg("energy_weights"),
           py::arg("force_weights"), py::arg("l2"), py::arg("iterations"),
           py::arg("tolerance") = 0.0);
}

}  // namespace nearsight
