#include "bind.h"
#include "cpu/process_logits.h"

namespace py = pybind11;

namespace sjd2 {

void bind_process_logits(py::module_& module) {
  module.def(
      "process_logits",
      [](std::uintptr_t cond, std::uintptr_t uncond, int dtype, int64_t cond_stride_b, int64_t cond_stride_l,
         int64_t uncond_stride_b, int64_t uncond_stride_l, std::uintptr_t guidance, std::uintptr_t temperature,
         std::uintptr_t top_k, std::uintptr_t top_p, std::uintptr_t seed, std::uintptr_t pos, std::uintptr_t epoch,
         std::uintptr_t forced, std::uintptr_t done, int64_t B, int64_t L, int64_t V, std::uintptr_t p, std::uintptr_t fresh,
         std::uintptr_t status, int threads) {
        ProcessLogitsArguments a;
        a.cond = pointer<const void>(cond);
        a.uncond = pointer<const void>(uncond);
        a.dtype = Dtype(dtype);
        a.cond_stride_b = cond_stride_b;
        a.cond_stride_l = cond_stride_l;
        a.uncond_stride_b = uncond_stride_b;
        a.uncond_stride_l = uncond_stride_l;
        a.guidance = pointer<const float>(guidance);
        a.temperature = pointer<const float>(temperature);
        a.top_k = pointer<const int64_t>(top_k);
        a.top_p = pointer<const float>(top_p);
        a.seed = pointer<const int64_t>(seed);
        a.pos = pointer<const int64_t>(pos);
        a.epoch = pointer<const int64_t>(epoch);
        a.forced = pointer<const int64_t>(forced);
        a.done = pointer<const int32_t>(done);
        a.B = B;
        a.L = L;
        a.V = V;
        a.p = pointer<float>(p);
        a.fresh = pointer<int64_t>(fresh);
        a.status = pointer<int32_t>(status);
        a.threads = threads;
        py::gil_scoped_release unlocked;
        process_logits_dispatch(a);
      });
}

}  // namespace sjd2
