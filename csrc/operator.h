// An operator of the CPU module: its arguments are read, its outputs made, and its kernel runs without the interpreter's lock.
#pragma once

#include "outputs.h"

namespace sjd2 {

// read(given, options..., call) fills the call but for its outputs, false if it is not plain: then Python gets None.
// run(call, threads) does the rest and returns what Python gets. names: py::arg of every option.
template <class Call, class... Options, class Read, class Run, class... Names>
void define_operator(py::module_& module, const char* name, Read read, Run run, const Names&... names) {
  module.def(
      name,
      [=](int threads, const py::args& values, Options... options) -> py::object {
        Arguments given(values, dlpack::kCpu);
        Call call;
        if (!read(given, options..., call)) return py::none();
        return run(call, threads);
      },
      py::arg("threads"), names...);
}

template <class Kernel>
void unlocked(Kernel kernel) {
  py::gil_scoped_release released;
  kernel();
}

}  // namespace sjd2
