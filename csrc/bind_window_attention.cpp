// window_attention for Python: addresses, sizes and strides in; the interpreter lock is released while it runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "bind.h"
#include "cpu/window_attention.h"

namespace py = pybind11;

namespace sjd2 {
namespace {

using Three = std::array<int64_t, 3>;

Axes axes(const Three& strides) { return {strides[0], strides[1], strides[2]}; }

}  // namespace

void bind_window_attention(py::module_& module) {
  module.def(
      "window_attention_scratch",
      [](int64_t R, int64_t M, int64_t H, int64_t Hkv, int64_t D, bool wide, int threads) {
        const AttentionPlan plan = AttentionPlan::of(R, M, H, Hkv, D, wide, threads);
        return plan.workers * plan.bytes;
      },
      "Bytes of scratch that a call needs.");
  module.def(
      "window_attention",
      [](int dtype, int64_t R, int64_t M, int64_t H, int64_t Hkv, int64_t D, int64_t S, std::uintptr_t q, std::uintptr_t k,
         std::uintptr_t v, std::uintptr_t k_cache, std::uintptr_t v_cache, std::uintptr_t out, const Three& q_strides,
         const Three& k_strides, const Three& v_strides, const Three& k_cache_strides, const Three& v_cache_strides,
         std::uintptr_t kv_len, std::uintptr_t q_start, double scale, std::uintptr_t time_k, std::uintptr_t time_v,
         std::uintptr_t level, int64_t levels, int64_t shadow, int64_t refeed, std::uintptr_t done, int64_t B,
         std::uintptr_t scratch, int threads) {
        const WindowAttentionArguments arguments{
            Dtype(dtype), R, M, H, Hkv, D, S, pointer<void>(q), pointer<void>(k), pointer<void>(v), pointer<void>(k_cache),
            pointer<void>(v_cache), pointer<void>(out), axes(q_strides), axes(k_strides), axes(v_strides),
            axes(k_cache_strides), axes(v_cache_strides), pointer<int32_t>(kv_len), pointer<int32_t>(q_start), scale,
            pointer<void>(time_k), pointer<void>(time_v), pointer<int32_t>(level), levels, shadow, refeed, pointer<int32_t>(done),
            B, pointer<void>(scratch), threads};
        py::gil_scoped_release release;
        window_attention_dispatch(arguments);
      });
}

}  // namespace sjd2
