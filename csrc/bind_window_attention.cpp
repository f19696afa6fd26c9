#include "bind.h"
#include "cpu/window_attention.h"
#include "operator.h"

namespace sjd2 {
namespace {

Axes axes(const View& x) { return {x.stride(0), x.stride(1), x.stride(2)}; }

bool read_window_attention(Arguments& read, int64_t shadow, int64_t refeed, WindowAttentionArguments& a) {
  const View q = read.rows(read.view(), 4), k = read.rows(read.view(), 4), v = read.rows(read.view(), 4);
  const View k_cache = read.rows(read.view(), 4), v_cache = read.rows(read.view(), 4);
  if (!read) return false;
  const int64_t R = a.R = q.size(0), M = a.M = q.size(1), H = a.H = q.size(2), D = a.D = q.size(3);
  const int64_t Hkv = a.Hkv = k.size(2), S = a.S = k_cache.size(2);
  a.dtype = read.dtype_of(q);
  read.rows(k, a.dtype, {R, M, Hkv, D});
  read.rows(v, a.dtype, {R, M, Hkv, D});
  read.rows(k_cache, a.dtype, {R, Hkv, S, D});
  read.rows(v_cache, a.dtype, {R, Hkv, S, D});
  a.q = q.data<void>();
  a.k = k.data<void>();
  a.v = v.data<void>();
  a.k_cache = k_cache.data<void>();
  a.v_cache = v_cache.data<void>();
  a.q_axes = axes(q);
  a.k_axes = axes(k);
  a.v_axes = axes(v);
  a.k_cache_axes = axes(k_cache);
  a.v_cache_axes = axes(v_cache);
  a.kv_len = read.dense<int32_t>({R});
  a.q_start = read.dense<int32_t>({R});
  a.scale = read.number();
  const View time_k = read.view(), time_v = read.view(), level = read.view(), done = read.view();
  if (!read.require(time_k.given == time_v.given && time_k.given == level.given)) return false;
  if (!read.require((!time_k.given || time_k.tensor.axes == 3) && (!done.given || done.tensor.axes == 1))) return false;
  a.levels = time_k.given ? time_k.size(0) : 0;
  a.time_k = read.optional(time_k, a.dtype, {a.levels, Hkv, D});
  a.time_v = read.optional(time_v, a.dtype, {a.levels, Hkv, D});
  a.level = read.optional<int32_t>(level, {R, M});
  a.B = done.given ? done.size(0) : 0;
  a.done = read.optional<int32_t>(done, {a.B});
  a.shadow = shadow;
  a.refeed = refeed;
  const bool places = shadow >= 0 && refeed >= 0 && (shadow == 0 || refeed + 2 * shadow <= M);
  return read.require(places && Hkv > 0 && H % Hkv == 0 && (!done.given || (a.B ? R % a.B == 0 : R == 0)));
}

py::object run(WindowAttentionArguments& a, int threads) {
  const AttentionPlan plan = AttentionPlan::of(a.R, a.M, a.H, a.Hkv, a.D, a.dtype == Dtype::kFloat64, threads);
  const NewTensor out(type_of(a.dtype), {a.R, a.M, a.H, a.D}), scratch = make<float>({plan.workers * plan.bytes / 4});
  a.out = out;
  a.scratch = scratch;
  a.threads = threads;
  unlocked([&] { window_attention_dispatch(a); });
  return out.object();
}

}  // namespace

void bind_window_attention(py::module_& module) {
  define_operator<WindowAttentionArguments, int64_t, int64_t>(
      module, "window_attention", read_window_attention, run, py::arg("shadow") = 0, py::arg("refeed") = 1);
}

}  // namespace sjd2
