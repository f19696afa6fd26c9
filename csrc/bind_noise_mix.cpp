#include "bind.h"
#include "cpu/noise_mix.h"
#include "operator.h"

namespace sjd2 {
namespace {

bool read_noise_mix(Arguments& read, NoiseMixArguments& a) {
  const View state = read.rows(read.view(), 3), level = read.view(), tokens = read.view(), fresh = read.view();
  const View shift = read.view(), times = read.view(), table = read.rows(read.view(), 2);
  if (!read.require(times.given && times.tensor.axes == 1 && times.size(0) > 0)) return false;
  const int64_t B = a.B = state.size(0), L = a.L = state.size(1), C = a.C = state.size(2);
  a.V = table.size(0);
  a.T = times.size(0) - 1;
  a.dtype = read.dtype_of(table);
  read.rows(state, compute_of(a.dtype), {B, L, C});
  read.rows(table, a.dtype, {a.V, C});
  a.state = state.data<void>();
  a.state_image_stride = state.stride(0);
  a.state_slot_stride = state.stride(1);
  a.table = table.data<void>();
  a.table_stride = table.stride(0);
  a.level = read.dense<int32_t>(level, {B, L});
  a.tokens = read.dense<int64_t>(tokens, {B, L});
  a.fresh = read.dense<int64_t>(fresh, {B, L});
  a.shift = read.dense<int32_t>(shift, {B});
  a.times = read.dense<float>(times, {a.T + 1});
  a.mean = read.dense<float>({C});
  a.std = read.dense<float>({C});
  a.seed = read.dense<int64_t>({B});
  a.pos = read.dense<int64_t>({B});
  a.forced = read.optional<int64_t>({B, L});
  a.n_tokens = read.optional<int64_t>({B});
  a.accept_len = read.optional<int32_t>({B});
  a.done = read.optional<int32_t>({B});
  return read.plain();
}

}  // namespace

void bind_noise_mix(py::module_& module) {
  define_operator<NoiseMixArguments>(module, "noise_mix", read_noise_mix, [](NoiseMixArguments& a, int threads) {
    const NewTensor state(type_of(compute_of(a.dtype)), {a.B, a.L, a.C}), level = make<int32_t>({a.B, a.L});
    const NewTensor draft = make<int64_t>({a.B, a.L}), rows(type_of(a.dtype), {a.B, a.L, a.C});
    a.new_state = state;
    a.new_level = level;
    a.draft = draft;
    a.rows = rows;
    a.threads = threads;
    unlocked([&] { noise_mix_dispatch(a); });
    return py::make_tuple(state.object(), level.object(), draft.object(), rows.object());
  });
}

}  // namespace sjd2
