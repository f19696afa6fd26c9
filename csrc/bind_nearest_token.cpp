#include "bind.h"
#include "cpu/nearest_token.h"
#include "outputs.h"

namespace sjd2 {
namespace {

// The bias has the type in which scores are computed.
bool read_nearest_token(Arguments& read, NearestTokenArguments& a) {
  const View state = read.rows(read.view(), 3), table = read.rows(read.view(), 2), bias = read.view();
  if (!read) return false;
  a.B = state.size(0);
  a.L = state.size(1);
  a.C = state.size(2);
  a.V = table.size(0);
  a.state_dtype = read.dtype_of(state);
  a.table_dtype = read.dtype_of(table);
  const bool wide = a.state_dtype == Dtype::kFloat64 || a.table_dtype == Dtype::kFloat64;
  read.require(a.state_dtype == Dtype::kFloat32 || a.state_dtype == Dtype::kFloat64);
  read.rows(table, a.table_dtype, {a.V, a.C});
  read.require(bias.given);
  a.state = state.data<void>();
  a.state_image_stride = state.stride(0);
  a.state_slot_stride = state.stride(1);
  a.table = table.data<void>();
  a.table_stride = table.stride(0);
  a.bias = read.optional(bias, wide ? Dtype::kFloat64 : Dtype::kFloat32, {a.V});
  a.draft = read.optional<int64_t>({a.B, a.L});
  a.done = read.optional<int32_t>({a.B});
  return read.require(a.V > 0);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

}  // namespace

void bind_nearest_token(py::module_& module) {
  module.def("nearest_token", [](int threads, const py::args& values) -> py::object {
    Arguments read(values, dlpack::kCpu);
    NearestTokenArguments a;
    if (!read_nearest_token(read, a)) return py::none();
    const bool wide = a.state_dtype == Dtype::kFloat64 || a.table_dtype == Dtype::kFloat64;
    const dlpack::Type compute = wide ? kType<double> : kType<float>;
    const int64_t lanes = parts(a.B * a.L, kNearestLanes) * kNearestLanes, winners = parts(a.V, kNearestBlock) * lanes;
    const NewTensor token = make<int64_t>({a.B, a.L}), active = make<int64_t>({a.B * a.L}), panels(compute, {lanes, a.C});
    const NewTensor best(compute, {winners}), winner = make<int64_t>({winners});
    a.token = token;
    a.active = active;
    a.panels = panels;
    a.best = best;
    a.winner = winner;
    a.threads = threads;
    {
      py::gil_scoped_release unlocked;
      nearest_token_dispatch(a);
    }
    return token.object();
  });
}

}  // namespace sjd2
