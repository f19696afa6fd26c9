// Binding of commit: addresses, strides and sizes in, nothing out.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "cpu/commit.h"

namespace py = pybind11;

namespace sjd2 {
namespace {

// (address, stride of the first axis, stride of the second or 0)
using Strided = std::tuple<std::uintptr_t, int64_t, int64_t>;

template <class T>
InPlace<T> in_place(const Strided& tensor) {
  return {pointer<T>(std::get<0>(tensor)), std::get<1>(tensor), std::get<2>(tensor)};
}

void call(std::uintptr_t tokens, std::uintptr_t draft, std::uintptr_t accept_len, std::uintptr_t ids,
          std::uintptr_t prompt_len, std::uintptr_t n_tokens, std::uintptr_t level, const Strided& out,
          const Strided& pos, const Strided& kv_len, const Strided& q_start, const Strided& refeed,
          const Strided& epoch, const Strided& done, std::uintptr_t n_commit, int64_t B, int64_t L, int64_t R,
          int64_t V, int64_t N, int64_t A) {
  CommitArguments a;
  a.tokens = pointer<int64_t>(tokens);
  a.draft = pointer<int64_t>(draft);
  a.accept_len = pointer<int32_t>(accept_len);
  a.ids = pointer<int64_t>(ids);
  a.prompt_len = pointer<int32_t>(prompt_len);
  a.n_tokens = pointer<int64_t>(n_tokens);
  a.level = pointer<int32_t>(level);
  a.out = in_place<int64_t>(out);
  a.pos = in_place<int64_t>(pos);
  a.kv_len = in_place<int32_t>(kv_len);
  a.q_start = in_place<int32_t>(q_start);
  a.refeed = in_place<int64_t>(refeed);
  a.epoch = in_place<int64_t>(epoch);
  a.done = in_place<int32_t>(done);
  a.n_commit = pointer<int32_t>(n_commit);
  a.B = B;
  a.L = L;
  a.R = R;
  a.V = V;
  a.N = N;
  a.A = A;
  commit_dispatch(a);
}

}  // namespace

void bind_commit(py::module_& module) { module.def("commit", &call, py::call_guard<py::gil_scoped_release>()); }

}  // namespace sjd2
