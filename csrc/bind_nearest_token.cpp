#include "bind.h"
#include "cpu/nearest_token.h"
#include "operator.h"

namespace sjd2 {
namespace {

Dtype scores_in(const NearestTokenArguments& a) {
  return a.state_dtype == Dtype::kFloat64 ? Dtype::kFloat64 : compute_of(a.table_dtype);
}

bool read_nearest_token(Arguments& read, NearestTokenArguments& a) {
  const View state = read.rows(read.view(), 3), table = read.rows(read.view(), 2), bias = read.view();
  if (!read) return false;
  a.B = state.size(0);
  a.L = state.size(1);
  a.C = state.size(2);
  a.V = table.size(0);
  a.state_dtype = read.dtype_of(state);
  a.table_dtype = read.dtype_of(table);
  read.require(a.state_dtype == compute_of(a.state_dtype));
  read.rows(table, a.table_dtype, {a.V, a.C});
  read.require(bias.given);
  a.state = state.data<void>();
  a.state_image_stride = state.stride(0);
  a.state_slot_stride = state.stride(1);
  a.table = table.data<void>();
  a.table_stride = table.stride(0);
  a.bias = read.optional(bias, scores_in(a), {a.V});
  a.draft = read.optional<int64_t>({a.B, a.L});
  a.done = read.optional<int32_t>({a.B});
  return read.require(a.V > 0);
}

int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

py::object run(NearestTokenArguments& a, int threads) {
  const dlpack::Type compute = type_of(scores_in(a));
  const int64_t lanes = parts(a.B * a.L, kNearestLanes) * kNearestLanes, winners = parts(a.V, kNearestBlock) * lanes;
  const NewTensor token = make<int64_t>({a.B, a.L}), active = make<int64_t>({a.B * a.L}), panels(compute, {lanes, a.C});
  const NewTensor best(compute, {winners}), winner = make<int64_t>({winners});
  a.token = token;
  a.active = active;
  a.panels = panels;
  a.best = best;
  a.winner = winner;
  a.threads = threads;
  unlocked([&] { nearest_token_dispatch(a); });
  return token.object();
}

}  // namespace

void bind_nearest_token(py::module_& module) {
  define_operator<NearestTokenArguments>(module, "nearest_token", read_nearest_token, run);
}

}  // namespace sjd2
