// Binding of nearest_token: addresses and sizes in, nothing out.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "cpu/nearest_token.h"

namespace py = pybind11;

namespace sjd2 {
namespace {

void call(std::uintptr_t state, std::uintptr_t table, std::uintptr_t bias, std::uintptr_t draft, std::uintptr_t done,
          std::uintptr_t token, std::uintptr_t active, std::uintptr_t panels, std::uintptr_t best,
          std::uintptr_t winner, int64_t B, int64_t L, int64_t C, int64_t V, int64_t state_image_stride,
          int64_t state_slot_stride, int64_t table_stride, int state_dtype, int table_dtype, int threads) {
  NearestTokenArguments a;
  a.state = pointer<void>(state);
  a.table = pointer<void>(table);
  a.bias = pointer<void>(bias);
  a.draft = pointer<int64_t>(draft);
  a.done = pointer<int32_t>(done);
  a.token = pointer<int64_t>(token);
  a.active = pointer<int64_t>(active);
  a.panels = pointer<void>(panels);
  a.best = pointer<void>(best);
  a.winner = pointer<int64_t>(winner);
  a.B = B;
  a.L = L;
  a.C = C;
  a.V = V;
  a.state_image_stride = state_image_stride;
  a.state_slot_stride = state_slot_stride;
  a.table_stride = table_stride;
  a.state_dtype = Dtype(state_dtype);
  a.table_dtype = Dtype(table_dtype);
  a.threads = threads;
  nearest_token_dispatch(a);
}

}  // namespace

void bind_nearest_token(py::module_& module) {
  module.attr("NEAREST_BLOCK") = kNearestBlock;
  module.attr("NEAREST_LANES") = kNearestLanes;
  module.def("nearest_token", &call, py::call_guard<py::gil_scoped_release>());
}

}  // namespace sjd2
