// Binding of noise_embed: addresses and sizes in, nothing out.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "cpu/noise_embed.h"

namespace py = pybind11;

namespace sjd2 {
namespace {

void call(std::uintptr_t table, std::uintptr_t token, std::uintptr_t mean, std::uintptr_t std, std::uintptr_t t,
          std::uintptr_t seed, std::uintptr_t pos, std::uintptr_t done, std::uintptr_t rows, int64_t B, int64_t N,
          int64_t C, int64_t V, int64_t table_stride, int dtype, int threads) {
  NoiseEmbedArguments a;
  a.table = pointer<void>(table);
  a.token = pointer<int64_t>(token);
  a.mean = pointer<float>(mean);
  a.std = pointer<float>(std);
  a.t = pointer<float>(t);
  a.seed = pointer<int64_t>(seed);
  a.pos = pointer<int64_t>(pos);
  a.done = pointer<int32_t>(done);
  a.rows = pointer<void>(rows);
  a.B = B;
  a.N = N;
  a.C = C;
  a.V = V;
  a.table_stride = table_stride;
  a.dtype = Dtype(dtype);
  a.threads = threads;
  noise_embed_dispatch(a);
}

}  // namespace

void bind_noise_embed(py::module_& module) {
  module.def("noise_embed", &call, py::call_guard<py::gil_scoped_release>());
}

}  // namespace sjd2
