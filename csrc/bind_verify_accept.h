// verify_accept as a function of addresses and sizes: the same first parameters for every module that binds it.
#pragma once

#include "bind.h"
#include "sjd2/verify_accept.h"

namespace sjd2 {

// run(arguments, rest...): Rest are the types of what the module needs besides.
template <class... Rest, class Run>
void define_verify_accept(pybind11::module_& module, const char* name, Run run) {
  module.def(
      name,
      [run](std::uintptr_t draft, std::uintptr_t p, std::uintptr_t q, int64_t p_stride_b, int64_t p_stride_l,
            int64_t q_stride_b, int64_t q_stride_l, std::uintptr_t seed, std::uintptr_t pos, std::uintptr_t fresh,
            std::uintptr_t epoch, std::uintptr_t verifiable, std::uintptr_t forced, std::uintptr_t done, bool match, int redraw,
            int64_t B, int64_t L, int64_t V, std::uintptr_t accept_len, std::uintptr_t tokens, std::uintptr_t ratio, Rest... rest) {
        VerifyAcceptArguments a;
        a.draft = pointer<const int64_t>(draft);
        a.p = pointer<const float>(p);
        a.q = pointer<const float>(q);
        a.p_stride_b = p_stride_b;
        a.p_stride_l = p_stride_l;
        a.q_stride_b = q_stride_b;
        a.q_stride_l = q_stride_l;
        a.seed = pointer<const int64_t>(seed);
        a.pos = pointer<const int64_t>(pos);
        a.fresh = pointer<const int64_t>(fresh);
        a.epoch = pointer<const int64_t>(epoch);
        a.verifiable = pointer<const uint8_t>(verifiable);
        a.forced = pointer<const int64_t>(forced);
        a.done = pointer<const int32_t>(done);
        a.match = match;
        a.redraw = Redraw(redraw);
        a.B = B;
        a.L = L;
        a.V = V;
        a.accept_len = pointer<int32_t>(accept_len);
        a.tokens = pointer<int64_t>(tokens);
        a.ratio = pointer<float>(ratio);
        pybind11::gil_scoped_release unlocked;
        run(a, rest...);
      });
}

}  // namespace sjd2
