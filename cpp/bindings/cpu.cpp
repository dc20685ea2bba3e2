// What the processor can run, asked before a module built for it is imported. By Python's own
// interface: with pybind11 these lines take four seconds to compile.
#include <Python.h>

#include "nearsight/levels.hpp"

namespace {

PyObject* levels(PyObject*, PyObject*) {
  PyObject* found = PyList_New(0);
  if (found == nullptr) return nullptr;
  for (const std::string& level : nearsight::levels()) {
    PyObject* name = PyUnicode_FromString(level.c_str());
    const bool added = name != nullptr && PyList_Append(found, name) == 0;
    Py_XDECREF(name);
    if (!added) {
      Py_DECREF(found);
      return nullptr;
    }
  }
  return found;
}

PyMethodDef functions[] = {{"levels", levels, METH_NOARGS, "Names, best first."},
                           {nullptr, nullptr, 0, nullptr}};

PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr}};

PyModuleDef module{PyModuleDef_HEAD_INIT,
                   "_cpu",
                   "x86-64 levels of this processor.",
                   0,
                   functions,
                   slots,
                   nullptr,
                   nullptr,
                   nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModuleDef_Init(&module); }
