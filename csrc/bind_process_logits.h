// process_logits as a function of addresses and sizes: the same first parameters for every module that binds it.
#pragma once

#include "bind.h"
#include "sjd2/process_logits.h"

namespace sjd2 {

// run(arguments, rest...): Rest are the types of what the module needs besides.
template <class... Rest, class Run>
void define_process_logits(pybind11::module_& module, const char* name, Run run) {
  module.def(
      name,
      [run](std::uintptr_t cond, std::uintptr_t uncond, int dtype, int64_t cond_stride_b, int64_t cond_stride_l,
            int64_t uncond_stride_b, int64_t uncond_stride_l, std::uintptr_t guidance, std::uintptr_t temperature,
            std::uintptr_t top_k, std::uintptr_t top_p, std::uintptr_t seed, std::uintptr_t pos, std::uintptr_t epoch,
            std::uintptr_t forced, std::uintptr_t done, int64_t B, int64_t L, int64_t V, std::uintptr_t p, std::uintptr_t fresh,
            std::uintptr_t status, Rest... rest) {
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
        pybind11::gil_scoped_release unlocked;
        run(a, rest...);
      });
}

}  // namespace sjd2
