#include "nearsight/structure.hpp"

#include "arrays.hpp"

namespace nearsight {

namespace {

Positions positions_of(const Array<double>& positions) {
  expect(positions, "positions", {-1, 3});
  return Eigen::Map<const Positions>(positions.data(), positions.shape(0), 3);
}

Structure make_structure(const Array<double>& positions, const Array<int>& species,
                         const Array<double>& cell, const Array<bool>& pbc, std::string name) {
  expect(species, "species", {-1});
  expect(cell, "cell", {3, 3});
  expect(pbc, "pbc", {3});
  const bool* periodic = pbc.data();
  return {positions_of(positions),
          {species.data(), species.data() + species.size()},
          Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(cell.data()),
          {periodic[0], periodic[1], periodic[2]},
          std::move(name)};
}

}  // namespace

void bind_structure(py::module_& m) {
  py::class_<Structure>(m, "Structure", py::module_local())
      .def(py::init(&make_structure), py::arg("positions"), py::arg("species"), py::arg("cell"),
           py::arg("pbc"), py::arg("name") = "structure")
      .def("__len__", &Structure::size)
      .def(
          "moved",
          [](const Structure& self, const Array<double>& positions) {
            return self.moved(positions_of(positions));
          },
          py::arg("positions"))
      .def_property_readonly("positions",
                             [](const Structure& self) {
                               return Array<double>({self.size(), Index{3}},
                                                    self.positions().data());
                             })
      .def_property_readonly("species",
                             [](const Structure& self) { return vector_array(self.species()); })
      .def_property_readonly("cell",
                             [](const Structure& self) { return matrix_array(self.cell()); })
      .def_property_readonly("pbc",
                             [](const Structure& self) {
                               const auto& periodic = self.periodic();
                               return Array<bool>(3, periodic.data());
                             })
      .def_property_readonly("volume", &Structure::volume);
}

}  // namespace nearsight
