// The arguments of verify_accept as every module that binds it reads them.
#pragma once

#include <string_view>

#include "arguments.h"
#include "sjd2/verify_accept.h"

namespace sjd2 {

// All but the outputs; false if the call is not plain.
inline bool read_verify_accept(Arguments& read, std::string_view accept, std::string_view redraw, VerifyAcceptArguments& a) {
  const View draft = read.view(), p = read.rows(read.view(), 3);
  if (!read) return false;
  const int64_t B = a.B = p.size(0), L = a.L = p.size(1), V = a.V = p.size(2);
  read.rows(p, Dtype::kFloat32, {B, L, V});
  const View q = read.rows(read.view(), Dtype::kFloat32, {B, L, V});
  if (!read) return false;
  a.draft = read.dense<int64_t>(draft, {B, L});
  a.p = p.data<float>();
  a.p_stride_b = p.stride(0);
  a.p_stride_l = p.stride(1);
  a.q = q.data<float>();
  a.q_stride_b = q.stride(0);
  a.q_stride_l = q.stride(1);
  a.seed = read.dense<int64_t>({B});
  a.pos = read.dense<int64_t>({B});
  const View fresh = read.view();
  a.fresh = read.optional<int64_t>(fresh, {B, L});
  a.epoch = read.optional<int64_t>({B});
  a.verifiable = reinterpret_cast<uint8_t*>(read.optional<bool>({B, L}));
  a.forced = read.optional<int64_t>({B, L});
  a.done = read.optional<int32_t>({B});
  a.match = accept == "match";
  a.redraw = redraw == "couple" ? Redraw::kCouple : redraw == "keep" ? Redraw::kKeep : Redraw::kFresh;
  const bool known = (a.match || accept == "ratio") && (a.redraw != Redraw::kFresh || redraw == "fresh");
  return read.require(known && V > 0 && (!a.match || (fresh.given && a.redraw == Redraw::kFresh)));
}

// run(arguments, rest...). In a call, what the module needs besides comes first, then accept and redraw, then the operator's
// arguments and its outputs.
template <class... Rest, class Run>
void define_verify_accept(py::module_& module, const char* name, dlpack::DeviceType device, Run run) {
  using Word = std::string_view;
  module.def(name, [=](Rest... rest, Word accept, Word redraw, const py::args& values) {
    Arguments read(values, device);
    VerifyAcceptArguments a;
    if (!read_verify_accept(read, accept, redraw, a)) return false;
    a.accept_len = read.dense<int32_t>({a.B});
    a.tokens = read.dense<int64_t>({a.B, a.L});
    a.ratio = read.dense<float>({a.B, a.L});
    if (!read) return false;
    py::gil_scoped_release unlocked;
    run(a, rest...);
    return true;
  });
}

}  // namespace sjd2
