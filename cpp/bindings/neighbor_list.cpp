#include "nearsight/neighbor_list.hpp"

#include "arrays.hpp"

namespace nearsight {

namespace {

// Calls use(bonds of i) for every atom.
template <class Use>
void for_each_atom(const NeighborList& list, const Structure& structure, const Use& use) {
  if (structure.size() != list.atoms())
    throw std::invalid_argument("the neighbour list belongs to another structure or cutoff");
  std::vector<Bond> bonds;
  for (Index i = 0; i < list.atoms(); ++i) {
    list.bonds(structure, i, bonds);
    use(bonds);
  }
}

py::tuple bonds(const NeighborList& self, const Structure& structure) {
  std::vector<Index> offsets{0};
  std::vector<Bond> all;
  {
    py::gil_scoped_release release;
    for_each_atom(self, structure, [&](const std::vector<Bond>& bonds) {
      all.insert(all.end(), bonds.begin(), bonds.end());
      offsets.push_back(static_cast<Index>(all.size()));
    });
  }
  const py::ssize_t n = static_cast<py::ssize_t>(all.size());
  Array<int> atom(n), shift({n, py::ssize_t{3}});
  Array<double> vector({n, py::ssize_t{3}});
  for (py::ssize_t b = 0; b < n; ++b) {
    atom.mutable_at(b) = all[b].atom;
    for (int a = 0; a < 3; ++a) shift.mutable_at(b, a) = all[b].shift[a];
    vector.mutable_at(b, 0) = all[b].x;
    vector.mutable_at(b, 1) = all[b].y;
    vector.mutable_at(b, 2) = all[b].z;
  }
  return py::make_tuple(vector_array(offsets), atom, shift, vector);
}

Array<Index> counts(const NeighborList& self, const Structure& structure) {
  std::vector<Index> result;
  {
    py::gil_scoped_release release;
    for_each_atom(self, structure, [&](const std::vector<Bond>& bonds) {
      result.push_back(static_cast<Index>(bonds.size()));
    });
  }
  return vector_array(result);
}

}  // namespace

void bind_neighbor_list(py::module_& m) {
  py::class_<NeighborList>(m, "NeighborList", py::module_local())
      .def(py::init<const Structure&, double, double, int>(), py::arg("structure"),
           py::arg("cutoff"), py::arg("skin") = 0.0, py::arg("threads") = 0,
           py::call_guard<py::gil_scoped_release>())
      .def("is_valid_for", &NeighborList::is_valid_for, py::arg("structure"))
      .def("bonds", &bonds, py::arg("structure"))
      .def("counts", &counts, py::arg("structure"));
}

}  // namespace nearsight
