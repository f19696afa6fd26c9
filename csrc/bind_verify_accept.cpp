#include "bind_verify_accept.h"

#include "bind.h"
#include "cpu/verify_accept.h"
#include "outputs.h"

namespace sjd2 {

void bind_verify_accept(py::module_& module) {
  module.def(
      "verify_accept",
      [](int threads, const py::args& values, std::string_view accept, std::string_view redraw) -> py::object {
        Arguments read(values, dlpack::kCpu);
        VerifyAcceptArguments a;
        if (!read_verify_accept(read, accept, redraw, a)) return py::none();
        const NewTensor accept_len = make<int32_t>({a.B}), tokens = make<int64_t>({a.B, a.L}), ratio = make<float>({a.B, a.L});
        a.accept_len = accept_len;
        a.tokens = tokens;
        a.ratio = ratio;
        {
          py::gil_scoped_release unlocked;
          verify_accept_dispatch({a, threads});
        }
        return py::make_tuple(accept_len.object(), tokens.object(), ratio.object());
      },
      py::arg("threads"), py::arg("accept") = "ratio", py::arg("redraw") = "fresh");
}

}  // namespace sjd2
