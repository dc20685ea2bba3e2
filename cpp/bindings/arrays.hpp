// Arrays of Python: checked on the way in, copied on the way out. And what binds each class.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "nearsight/types.hpp"

namespace nearsight {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using Shape = std::vector<py::ssize_t>;

inline std::string shape_text(const Shape& shape) {
  std::string text = "(";
  for (const py::ssize_t n : shape)
    text += (text.size() > 1 ? ", " : "") + (n < 0 ? std::string("n") : std::to_string(n));
  return text + ")";
}

// Throws std::invalid_argument unless the array has this shape; -1 is any length.
template <class T>
void expect(const Array<T>& array, const char* name, const Shape& shape) {
  const Shape given(array.shape(), array.shape() + array.ndim());
  bool same = given.size() == shape.size();
  for (std::size_t a = 0; same && a < shape.size(); ++a)
    same = shape[a] < 0 || shape[a] == given[a];
  if (!same)
    throw std::invalid_argument(std::string(name) + " must have shape " + shape_text(shape) +
                                ", got " + shape_text(given));
}

inline Array<double> matrix_array(const Matrix& m) {
  return Array<double>({m.rows(), m.cols()}, m.data());
}

inline Array<double> vector_array(const Vector& v) { return Array<double>(v.size(), v.data()); }

template <class T>
Array<T> vector_array(const std::vector<T>& v) {
  return Array<T>(static_cast<py::ssize_t>(v.size()), v.data());
}

inline Matrix matrix(const Array<double>& array) {
  return Eigen::Map<const Matrix>(array.data(), array.shape(0), array.shape(1));
}

// One per class. Objects do not change once they are made, so that threads may share them without
// the GIL. The classes are local to the module: modules of several SIMD levels live side by side.
void bind_baseline(py::module_& m);
void bind_structure(py::module_& m);
void bind_neighbor_list(py::module_& m);
void bind_symmetry_functions(py::module_& m);
void bind_potential(py::module_& m);
void bind_training_set(py::module_& m);

}  // namespace nearsight
