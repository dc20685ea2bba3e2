// Converts and checks arrays, releases the GIL, and does nothing else. The classes are local to
// the module, so that modules of several SIMD levels can be loaded side by side.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "nearsight/fingerprints.hpp"
#include "nearsight/levenberg_marquardt.hpp"
#include "nearsight/parallel.hpp"
#include "nearsight/potential.hpp"
#include "nearsight/residuals.hpp"

namespace py = pybind11;
using namespace nearsight;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using Shape = std::vector<py::ssize_t>;

template <class T>
void expect(const Array<T>& array, const char* name, const Shape& shape) {
  const Shape found(array.shape(), array.shape() + array.ndim());
  bool same = found.size() == shape.size();
  for (std::size_t a = 0; same && a < shape.size(); ++a)
    same = shape[a] < 0 || shape[a] == found[a];
  if (same) return;
  const auto text = [](const Shape& values) {
    std::string line = "(";
    for (const py::ssize_t v : values)
      line += (line.size() > 1 ? ", " : "") + (v < 0 ? std::string("n") : std::to_string(v));
    return line + ")";
  };
  throw std::invalid_argument(std::string(name) + " must have shape " + text(shape) + ", got " +
                              text(found));
}

Array<double> matrix_array(const Matrix& m) {
  return Array<double>({m.rows(), m.cols()}, m.data());
}

template <class T>
Array<T> vector_array(const std::vector<T>& v) {
  return Array<T>(static_cast<py::ssize_t>(v.size()), v.data());
}

struct StructureArguments {
  StructureArguments(const Array<double>& positions, const Array<int>& species,
                     const Array<double>& cell, const Array<bool>& pbc, int n_species)
      : view(make(positions, species, cell, pbc, n_species)) {}
  StructureView view;

 private:
  static StructureView make(const Array<double>& positions, const Array<int>& species,
                            const Array<double>& cell, const Array<bool>& pbc, int n_species) {
    expect(positions, "positions", {-1, 3});
    expect(species, "species", {positions.shape(0)});
    expect(cell, "cell", {3, 3});
    expect(pbc, "pbc", {3});
    const bool* periodic = pbc.data();
    return {Eigen::Map<const Positions>(positions.data(), positions.shape(0), 3),
            species.data(),
            n_species,
            Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(cell.data()),
            {periodic[0], periodic[1], periodic[2]}};
  }
};

py::tuple neighbor_list(const Array<double>& positions, const Array<double>& cell,
                        const Array<bool>& pbc, double cutoff, int threads) {
  expect(positions, "positions", {-1, 3});
  if (!(cutoff > 0.0)) throw std::invalid_argument("cutoff must be a positive number of Å");
  Array<int> species(positions.shape(0));
  std::fill_n(species.mutable_data(), species.size(), 0);
  const StructureArguments structure(positions, species, cell, pbc, 1);
  std::vector<Index> offsets{0};
  std::vector<Bond> bonds;
  {
    py::gil_scoped_release release;
    const NeighborList list(structure.view, cutoff, 0.0, threads);
    std::vector<Bond> found;
    for (Index i = 0; i < list.atoms(); ++i) {
      list.bonds(structure.view, i, found);
      bonds.insert(bonds.end(), found.begin(), found.end());
      offsets.push_back(static_cast<Index>(bonds.size()));
    }
  }
  const py::ssize_t n = static_cast<py::ssize_t>(bonds.size());
  Array<int> atom(n), shift({n, py::ssize_t{3}});
  Array<double> vector({n, py::ssize_t{3}});
  for (py::ssize_t b = 0; b < n; ++b) {
    atom.mutable_at(b) = bonds[b].atom;
    for (int a = 0; a < 3; ++a) shift.mutable_at(b, a) = bonds[b].shift[a];
    vector.mutable_at(b, 0) = bonds[b].x;
    vector.mutable_at(b, 1) = bonds[b].y;
    vector.mutable_at(b, 2) = bonds[b].z;
  }
  return py::make_tuple(vector_array(offsets), atom, shift, vector);
}

FunctionKind function_kind(const std::string& name) {
  if (name == "G2") return FunctionKind::kG2;
  if (name == "G4") return FunctionKind::kG4;
  if (name == "G5") return FunctionKind::kG5;
  throw std::invalid_argument("unknown kind of symmetry function '" + name + "'");
}

// (kind, center, first, second, eta, r_s, zeta, gamma)
using FunctionTuple = std::tuple<std::string, int, int, int, double, double, double, double>;

SymmetryFunctions make_functions(int n_species, const std::string& cutoff, double radius,
                                 double gamma, const std::vector<FunctionTuple>& given) {
  CutoffKind kind = CutoffKind::kCosine;
  if (cutoff == "polynomial")
    kind = CutoffKind::kPolynomial;
  else if (cutoff != "cosine")
    throw std::invalid_argument("unknown cutoff function '" + cutoff +
                                "', expected cosine or polynomial");
  std::vector<SymmetryFunction> functions;
  for (const auto& [name, center, first, second, eta, r_s, zeta, angular] : given)
    functions.push_back({function_kind(name), center, first, second, eta, r_s, zeta, angular});
  return SymmetryFunctions(n_species, Cutoff(kind, radius, gamma), functions);
}

py::dict fingerprints(const SymmetryFunctions& functions, const Array<double>& positions,
                      const Array<int>& species, const Array<double>& cell, const Array<bool>& pbc,
                      const std::vector<Index>& rows, bool all_centers, int threads) {
  const StructureArguments structure(positions, species, cell, pbc, functions.n_species());
  const auto made = [&] {
    py::gil_scoped_release release;
    return Fingerprints(functions, structure.view, rows, all_centers, threads);
  }();
  const py::ssize_t blocks = static_cast<py::ssize_t>(made.block_center.size());
  py::dict result;
  result["centers"] = vector_array(made.centers);
  result["features"] = matrix_array(made.features);
  result["row_offsets"] = vector_array(made.row_offsets);
  result["block_center"] = vector_array(made.block_center);
  result["derivatives"] =
      Array<double>({blocks, py::ssize_t{3}, static_cast<py::ssize_t>(functions.max_size())},
                    made.derivatives.data());
  return result;
}

// One network of all members: (weights of every layer (M, out, in), biases (M, out), activations,
// slope (M), intercept (M), scale (in), offset (in))
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

py::dict evaluate(const Potential& potential, const Array<double>& positions,
                  const Array<int>& species, const Array<double>& cell, const Array<bool>& pbc,
                  const std::string& forces, bool virial, int threads,
                  const NeighborList* neighbors) {
  const StructureArguments structure(positions, species, cell, pbc,
                                     potential.functions().n_species());
  Forces mode = Forces::kMembers;
  if (forces == "mean")
    mode = Forces::kMean;
  else if (forces == "none")
    mode = Forces::kNone;
  else if (forces != "members")
    throw std::invalid_argument("forces must be 'members', 'mean' or 'none'");
  const Evaluation found = [&] {
    py::gil_scoped_release release;
    if (neighbors != nullptr)
      return potential.evaluate(structure.view, *neighbors, mode, virial, threads);
    const NeighborList list(structure.view, potential.functions().cutoff().radius, 0.0, threads);
    return potential.evaluate(structure.view, list, mode, virial, threads);
  }();
  const py::ssize_t n = positions.shape(0);
  py::dict result;
  result["energies"] = matrix_array(found.energies);
  result["mean_energies"] = matrix_array(found.energies.colwise().mean());
  if (mode != Forces::kNone) result["mean_forces"] = matrix_array(found.mean_forces);
  if (mode == Forces::kMembers) {
    result["forces"] = Array<double>({potential.members(), n, py::ssize_t{3}}, found.forces.data());
    result["deviation"] = Array<double>(n, found.deviation.data());
  }
  if (virial) result["virial"] = matrix_array(found.virial);
  return result;
}

// A training set: the arrays are kept alive and handed to the core as they are.
struct PythonTrainingSet {
  PythonTrainingSet(const std::vector<std::vector<Index>>& sizes,
                    const std::vector<std::string>& activations, Array<Index> image_centers,
                    Array<Index> image_rows, Array<int> center_element, Array<double> features,
                    Array<Index> row_offsets, Array<int> block_center, Array<double> derivatives,
                    Array<double> energies, Array<double> forces)
      : shape(sizes, names(activations)),
        image_centers(std::move(image_centers)),
        image_rows(std::move(image_rows)),
        center_element(std::move(center_element)),
        features(std::move(features)),
        row_offsets(std::move(row_offsets)),
        block_center(std::move(block_center)),
        derivatives(std::move(derivatives)),
        energies(std::move(energies)),
        forces(std::move(forces)) {
    expect(this->energies, "energies", {-1});
    expect(this->forces, "forces", {-1, 3});
    expect(this->features, "features", {-1, -1});
    const py::ssize_t images = this->energies.shape(0), rows = this->forces.shape(0);
    const py::ssize_t centers = this->features.shape(0), width = this->features.shape(1);
    expect(this->image_centers, "image_centers", {images + 1});
    expect(this->image_rows, "image_rows", {images + 1});
    expect(this->center_element, "center_element", {centers});
    expect(this->row_offsets, "row_offsets", {rows + 1});
    expect(this->block_center, "block_center", {-1});
    const py::ssize_t blocks = this->block_center.shape(0);
    expect(this->derivatives, "derivatives", {3 * blocks, width});
    set = {images,
           centers,
           rows,
           blocks,
           width,
           this->image_centers.data(),
           this->image_rows.data(),
           this->center_element.data(),
           this->features.data(),
           this->row_offsets.data(),
           this->block_center.data(),
           this->derivatives.data(),
           this->energies.data(),
           this->forces.data()};
    set.check(shape);
  }

  static std::vector<Activation> names(const std::vector<std::string>& given) {
    std::vector<Activation> result;
    for (const std::string& name : given) result.push_back(activation_from_name(name));
    return result;
  }
  Vector vector(const Array<double>& weights) const {
    expect(weights, "weights", {shape.n_weights});
    return Eigen::Map<const Vector>(weights.data(), shape.n_weights);
  }
  ResidualWeights residual_weights(const Array<double>& e, const Array<double>& f) const {
    expect(e, "energy_weights", {set.n_images});
    expect(f, "force_weights", {set.n_rows});
    return {e.data(), f.data()};
  }

  NetworkShape shape;
  TrainingSet set;
  Array<Index> image_centers, image_rows;
  Array<int> center_element;
  Array<double> features;
  Array<Index> row_offsets;
  Array<int> block_center;
  Array<double> derivatives, energies, forces;
};

}  // namespace

PYBIND11_MODULE(NEARSIGHT_MODULE, m) {
  m.doc() = "The compiled core of nearsight; see _core/__init__.pyi.";

  py::class_<SymmetryFunctions>(m, "SymmetryFunctions", py::module_local())
      .def(py::init(&make_functions), py::arg("n_species"), py::arg("cutoff"), py::arg("radius"),
           py::arg("gamma"), py::arg("functions"))
      .def("size", &SymmetryFunctions::size, py::arg("species"))
      .def(
          "features",
          [](const SymmetryFunctions& self, const Array<double>& positions,
             const Array<int>& species, const Array<double>& cell, const Array<bool>& pbc,
             int threads) {
            const StructureArguments structure(positions, species, cell, pbc, self.n_species());
            const Matrix found = [&] {
              py::gil_scoped_release release;
              return features(self, structure.view, threads);
            }();
            return matrix_array(found);
          },
          py::arg("positions"), py::arg("species"), py::arg("cell"), py::arg("pbc"),
          py::arg("threads") = 0)
      .def("fingerprints", &fingerprints, py::arg("positions"), py::arg("species"), py::arg("cell"),
           py::arg("pbc"), py::arg("rows"), py::arg("all_centers"), py::arg("threads") = 0);

  py::class_<NeighborList>(m, "NeighborList", py::module_local())
      .def(
          "serves",
          [](const NeighborList& self, const Array<double>& positions, const Array<double>& cell,
             const Array<bool>& pbc) {
            expect(positions, "positions", {-1, 3});
            expect(cell, "cell", {3, 3});
            expect(pbc, "pbc", {3});
            const bool* periodic = pbc.data();
            return self.serves(
                Eigen::Map<const Positions>(positions.data(), positions.shape(0), 3),
                Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(cell.data()),
                {periodic[0], periodic[1], periodic[2]});
          },
          py::arg("positions"), py::arg("cell"), py::arg("pbc"));

  py::class_<Potential>(m, "Potential", py::module_local())
      .def(py::init([](const SymmetryFunctions& functions, const std::vector<BatchTuple>& given) {
             std::vector<NetworkBatch> networks;
             for (const BatchTuple& batch : given) networks.push_back(make_batch(batch));
             if (networks.empty()) throw std::invalid_argument("a potential needs a network");
             return Potential(functions, std::move(networks));
           }),
           py::arg("functions"), py::arg("networks"))
      .def("evaluate", &evaluate, py::arg("positions"), py::arg("species"), py::arg("cell"),
           py::arg("pbc"), py::arg("forces") = "members", py::arg("virial") = false,
           py::arg("threads") = 0, py::arg("neighbors") = nullptr)
      .def(
          "neighbors",
          [](const Potential& self, const Array<double>& positions, const Array<int>& species,
             const Array<double>& cell, const Array<bool>& pbc, double skin, int threads) {
            const StructureArguments structure(positions, species, cell, pbc,
                                               self.functions().n_species());
            py::gil_scoped_release release;
            return NeighborList(structure.view, self.functions().cutoff().radius, skin, threads);
          },
          py::arg("positions"), py::arg("species"), py::arg("cell"), py::arg("pbc"),
          py::arg("skin"), py::arg("threads") = 0);

  py::class_<PythonTrainingSet>(m, "TrainingSet", py::module_local())
      .def(py::init<const std::vector<std::vector<Index>>&, const std::vector<std::string>&,
                    Array<Index>, Array<Index>, Array<int>, Array<double>, Array<Index>, Array<int>,
                    Array<double>, Array<double>, Array<double>>(),
           py::arg("sizes"), py::arg("activations"), py::arg("image_centers"),
           py::arg("image_rows"), py::arg("center_element"), py::arg("features"),
           py::arg("row_offsets"), py::arg("block_center"), py::arg("derivatives"),
           py::arg("energies"), py::arg("forces"))
      .def_property_readonly("n_weights",
                             [](const PythonTrainingSet& self) { return self.shape.n_weights; })
      .def(
          "predict",
          [](const PythonTrainingSet& self, const Array<double>& weights) {
            const Vector at = self.vector(weights);
            const Predictions found = [&] {
              py::gil_scoped_release release;
              return predict(self.shape, at, self.set);
            }();
            return py::make_tuple(Array<double>(found.energies.size(), found.energies.data()),
                                  matrix_array(found.forces));
          },
          py::arg("weights"))
      .def(
          "residuals",
          [](const PythonTrainingSet& self, const Array<double>& weights, const Array<double>& e,
             const Array<double>& f) {
            Residuals residuals(self.shape, self.set, self.residual_weights(e, f));
            const Vector& found = residuals.evaluate(self.vector(weights));
            return Array<double>(found.size(), found.data());
          },
          py::arg("weights"), py::arg("energy_weights"), py::arg("force_weights"))
      .def(
          "jacobian",
          [](const PythonTrainingSet& self, const Array<double>& weights, const Array<double>& e,
             const Array<double>& f) {
            Residuals residuals(self.shape, self.set, self.residual_weights(e, f));
            const Vector& found = residuals.evaluate(self.vector(weights));
            const Matrix& jacobian = residuals.differentiate();
            return py::make_tuple(Array<double>(found.size(), found.data()),
                                  matrix_array(jacobian));
          },
          py::arg("weights"), py::arg("energy_weights"), py::arg("force_weights"))
      .def(
          "curvature",
          [](const PythonTrainingSet& self, const Array<double>& weights, const Array<double>& e,
             const Array<double>& f) {
            Residuals residuals(self.shape, self.set, self.residual_weights(e, f));
            residuals.evaluate(self.vector(weights));
            residuals.differentiate();
            Eigen::MatrixXd product;
            residuals.curvature(product);
            return matrix_array(product.selfadjointView<Eigen::Lower>());
          },
          py::arg("weights"), py::arg("energy_weights"), py::arg("force_weights"))
      .def(
          "levenberg_marquardt",
          [](const PythonTrainingSet& self, const Array<double>& start, const Array<double>& e,
             const Array<double>& f, double l2, Index iterations) {
            const ResidualWeights w = self.residual_weights(e, f);
            const Vector from = self.vector(start);
            const Fit fit = [&] {
              py::gil_scoped_release release;
              return levenberg_marquardt(self.shape, self.set, w, from, l2, iterations);
            }();
            return py::make_tuple(Array<double>(fit.weights.size(), fit.weights.data()), fit.loss,
                                  fit.iterations, fit.trials);
          },
          py::arg("start"), py::arg("energy_weights"), py::arg("force_weights"), py::arg("l2"),
          py::arg("iterations"));

  m.def("neighbor_list", &neighbor_list, py::arg("positions"), py::arg("cell"), py::arg("pbc"),
        py::arg("cutoff"), py::arg("threads") = 0);
  m.def("build_info", [] {
    py::dict info;
    info["version"] = NEARSIGHT_VERSION;
    info["level"] = NEARSIGHT_LEVEL;
    info["compiler"] = NEARSIGHT_COMPILER;
    info["flags"] = NEARSIGHT_FLAGS;
    info["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." +
                    std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION);
#ifdef _OPENMP
    info["openmp"] = true;
#else
    info["openmp"] = false;
#endif
    info["threads"] = thread_count(0);
    return info;
  });
}
