#include "bind.h"
#include "cpu/commit.h"
#include "operator.h"

namespace sjd2 {
namespace {

// A tensor that is written where it lies, whatever its strides.
template <class T>
InPlace<T> in_place(Arguments& read, const View& x, std::initializer_list<int64_t> sizes) {
  if (!read.require(x.given && x.has_type(kCode<T>, sizeof(T)) && x.has_shape(sizes))) return {};
  return {x.data<T>(), x.stride(0), sizes.size() > 1 ? x.stride(1) : 0};
}

bool read_commit(Arguments& read, CommitArguments& a) {
  const View tokens = read.view(), draft = read.view(), accept_len = read.view(), ids = read.view(), prompt_len = read.view();
  const View n_tokens = read.view(), out = read.view(), pos = read.view(), kv_len = read.view(), q_start = read.view();
  const View refeed = read.view(), epoch = read.view(), done = read.view(), level = read.view();
  const bool lists = ids.tensor.axes == 1 && prompt_len.tensor.axes == 1;
  const bool tables = tokens.tensor.axes == 2 && out.tensor.axes == 2 && refeed.tensor.axes == 2;
  if (!read.require(lists && tables)) return false;
  a.B = tokens.size(0);
  a.L = tokens.size(1);
  a.R = prompt_len.size(0);
  a.V = ids.size(0);
  a.N = out.size(1);
  a.A = refeed.size(1);
  a.tokens = read.dense<int64_t>(tokens, {a.B, a.L});
  a.draft = read.dense<int64_t>(draft, {a.B, a.L});
  a.accept_len = read.dense<int32_t>(accept_len, {a.B});
  a.ids = read.dense<int64_t>(ids, {a.V});
  a.prompt_len = read.dense<int32_t>(prompt_len, {a.R});
  a.n_tokens = read.dense<int64_t>(n_tokens, {a.B});
  a.out = in_place<int64_t>(read, out, {a.B, a.N});
  a.pos = in_place<int64_t>(read, pos, {a.B});
  a.kv_len = in_place<int32_t>(read, kv_len, {a.R});
  a.q_start = in_place<int32_t>(read, q_start, {a.R});
  a.refeed = in_place<int64_t>(read, refeed, {a.B, a.A});
  a.epoch = in_place<int64_t>(read, epoch, {a.B});
  a.done = in_place<int32_t>(read, done, {a.B});
  a.level = read.optional<int32_t>(level, {a.B, a.L});
  return read.require(a.A > 0 && (a.B == 0 ? a.R == 0 : a.L > 0 && a.R % a.B == 0));
}

}  // namespace

void bind_commit(py::module_& module) {
  define_operator<CommitArguments>(module, "commit", read_commit, [](CommitArguments& a, int) {
    const NewTensor n_commit = make<int32_t>({a.B});
    a.n_commit = n_commit;
    unlocked([&] { commit_dispatch(a); });
    return n_commit.object();
  });
}

}  // namespace sjd2
