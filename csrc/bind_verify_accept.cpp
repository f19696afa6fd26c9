#include "bind_verify_accept.h"

#include "bind.h"
#include "cpu/verify_accept.h"
#include "operator.h"

namespace sjd2 {

namespace {

py::object run(VerifyAcceptArguments& a, int threads) {
  const NewTensor accept_len = make<int32_t>({a.B}), tokens = make<int64_t>({a.B, a.L}), ratio = make<float>({a.B, a.L});
  a.accept_len = accept_len;
  a.tokens = tokens;
  a.ratio = ratio;
  unlocked([&] { verify_accept_dispatch({a, threads}); });
  return py::make_tuple(accept_len.object(), tokens.object(), ratio.object());
}

}  // namespace

void bind_verify_accept(py::module_& module) {
  define_operator<VerifyAcceptArguments, std::string_view, std::string_view>(
      module, "verify_accept", read_verify_accept, run, py::arg("accept") = "ratio", py::arg("redraw") = "fresh");
}

}  // namespace sjd2
