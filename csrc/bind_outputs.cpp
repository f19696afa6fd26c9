#include "bind.h"
#include "outputs.h"

#include <pybind11/stl.h>

#include <vector>

namespace sjd2 {

void bind_outputs(py::module_& module) {
  module.attr("RECYCLE_FROM") = kRecycleFrom;
  module.def(
      "new_tensor",
      [](const std::vector<int64_t>& sizes, int dtype) {
        if (sizes.size() > 4) throw py::value_error("new_tensor: at most 4 axes");
        return NewTensor(type_of(Dtype(dtype)), sizes.data(), int(sizes.size())).object();
      },
      "A tensor as outputs are made: for tests.");
  module.def(
      "watch_new_tensors",
      [](py::object seen) {
        auto before = watcher ? py::reinterpret_steal<py::object>(watcher) : py::object(py::none());
        watcher = seen.is_none() ? nullptr : seen.release().ptr();
        return before;
      },
      "Has every new output and scratch tensor seen by a function before a kernel gets it; None ends that. Returns the one\n"
      "before. For tests.");
}

}  // namespace sjd2
