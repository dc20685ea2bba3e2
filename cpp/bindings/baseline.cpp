#include "nearsight/baseline.hpp"

#include "arrays.hpp"

namespace nearsight {

namespace {

Baseline make_baseline(std::vector<double> numbers, const Array<double>& outer,
                       std::vector<double> charges, double damping, double cutoff) {
  const auto n = static_cast<py::ssize_t>(numbers.size());
  expect(outer, "outer", {n, n});
  return Baseline({std::move(numbers), matrix(outer), std::move(charges), damping, cutoff});
}

py::dict evaluate_baseline(const Baseline& baseline, const Structure& structure, int threads) {
  const PairEvaluation made = [&] {
    py::gil_scoped_release release;
    return baseline.evaluate(structure, threads);
  }();
  py::dict result;
  result["energies"] = vector_array(made.energies);
  result["forces"] = matrix_array(made.forces);
  result["virial"] = matrix_array(made.virial);
  return result;
}

}  // namespace

void bind_baseline(py::module_& m) {
  py::class_<Baseline>(m, "Baseline", py::module_local())
      .def(py::init(&make_baseline), py::arg("numbers"), py::arg("outer"), py::arg("charges"),
           py::arg("damping"), py::arg("cutoff"))
      .def("evaluate", &evaluate_baseline, py::arg("structure"), py::arg("threads") = 0);
}

}  // namespace nearsight
