#include "bind.h"
#include "cpu/recycled.h"

namespace py = pybind11;

namespace sjd2 {

void bind_recycled(py::module_& module) {
  module.attr("RECYCLE_FROM") = kRecycleFrom;
  py::class_<Recycled>(module, "Recycled", py::buffer_protocol(), "Writable bytes that return to a free list with their last user.")
      .def(py::init<std::size_t>(), py::arg("bytes"))
      .def_buffer([](Recycled& buffer) {
        return py::buffer_info(buffer.data(), 1, py::format_descriptor<unsigned char>::format(), py::ssize_t(buffer.bytes()));
      });
}

}  // namespace sjd2
