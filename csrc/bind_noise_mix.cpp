// Binding of noise_mix: addresses and sizes in, nothing out.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "cpu/noise_mix.h"

namespace py = pybind11;

namespace sjd2 {
namespace {

void call(std::uintptr_t state, std::uintptr_t level, std::uintptr_t tokens, std::uintptr_t fresh, std::uintptr_t shift,
          std::uintptr_t times, std::uintptr_t table, std::uintptr_t mean, std::uintptr_t std, std::uintptr_t seed,
          std::uintptr_t pos, std::uintptr_t forced, std::uintptr_t n_tokens, std::uintptr_t accept_len,
          std::uintptr_t done, std::uintptr_t new_state, std::uintptr_t new_level, std::uintptr_t draft,
          std::uintptr_t rows, int64_t B, int64_t L, int64_t C, int64_t V, int64_t T, int64_t state_image_stride,
          int64_t state_slot_stride, int64_t table_stride, int dtype, int threads) {
  NoiseMixArguments a;
  a.state = pointer<void>(state);
  a.level = pointer<int32_t>(level);
  a.tokens = pointer<int64_t>(tokens);
  a.fresh = pointer<int64_t>(fresh);
  a.shift = pointer<int32_t>(shift);
  a.times = pointer<float>(times);
  a.table = pointer<void>(table);
  a.mean = pointer<float>(mean);
  a.std = pointer<float>(std);
  a.seed = pointer<int64_t>(seed);
  a.pos = pointer<int64_t>(pos);
  a.forced = pointer<int64_t>(forced);
  a.n_tokens = pointer<int64_t>(n_tokens);
  a.accept_len = pointer<int32_t>(accept_len);
  a.done = pointer<int32_t>(done);
  a.new_state = pointer<void>(new_state);
  a.new_level = pointer<int32_t>(new_level);
  a.draft = pointer<int64_t>(draft);
  a.rows = pointer<void>(rows);
  a.B = B;
  a.L = L;
  a.C = C;
  a.V = V;
  a.T = T;
  a.state_image_stride = state_image_stride;
  a.state_slot_stride = state_slot_stride;
  a.table_stride = table_stride;
  a.dtype = Dtype(dtype);
  a.threads = threads;
  noise_mix_dispatch(a);
}

}  // namespace

void bind_noise_mix(py::module_& module) {
  module.def("noise_mix", &call, py::call_guard<py::gil_scoped_release>());
}

}  // namespace sjd2
