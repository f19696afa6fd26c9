// The arguments of process_logits as every module that binds it reads them.
#pragma once

#include "arguments.h"
#include "sjd2/process_logits.h"

namespace sjd2 {

// All but the outputs; false if the call is not plain.
inline bool read_process_logits(Arguments& read, ProcessLogitsArguments& a) {
  const View cond = read.rows(read.view(), 3), uncond = read.view(), guidance = read.view();
  if (!read) return false;
  const int64_t B = a.B = cond.size(0), L = a.L = cond.size(1), V = a.V = cond.size(2);
  a.dtype = read.dtype_of(cond);
  a.cond = cond.data<void>();
  a.cond_stride_b = cond.stride(0);
  a.cond_stride_l = cond.stride(1);
  if (uncond.given) read.rows(uncond, a.dtype, {B, L, V});
  a.uncond = uncond.data<void>();
  a.uncond_stride_b = uncond.given && read ? uncond.stride(0) : 0;
  a.uncond_stride_l = uncond.given && read ? uncond.stride(1) : 0;
  a.guidance = read.optional<float>(guidance, {B});
  a.temperature = read.optional<float>({B});
  a.top_k = read.optional<int64_t>({B});
  a.top_p = read.optional<float>({B});
  a.seed = read.optional<int64_t>({B});
  a.pos = read.optional<int64_t>({B});
  a.epoch = read.optional<int64_t>({B});
  a.forced = read.optional<int64_t>({B, L});
  a.done = read.optional<int32_t>({B});
  return read.require(V > 0 && (uncond.given || !guidance.given));
}

// run(arguments, rest...). In a call, what the module needs besides comes first, then the operator's arguments and its outputs.
template <class... Rest, class Run>
void define_process_logits(py::module_& module, const char* name, dlpack::DeviceType device, Run run) {
  module.def(name, [=](Rest... rest, const py::args& values) {
    Arguments read(values, device);
    ProcessLogitsArguments a;
    if (!read_process_logits(read, a)) return false;
    a.p = read.dense<float>({a.B, a.L, a.V});
    a.fresh = read.dense<int64_t>({a.B, a.L});
    a.status = read.dense<int32_t>({a.B, a.L});
    if (!read) return false;
    py::gil_scoped_release unlocked;
    run(a, rest...);
    return true;
  });
}

}  // namespace sjd2
