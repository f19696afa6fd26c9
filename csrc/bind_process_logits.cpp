#include "bind_process_logits.h"

#include "bind.h"
#include "cpu/process_logits.h"
#include "outputs.h"

namespace sjd2 {

void bind_process_logits(py::module_& module) {
  module.def("process_logits", [](int threads, const py::args& values) -> py::object {
    Arguments read(values, dlpack::kCpu);
    ProcessLogitsArguments a;
    if (!read_process_logits(read, a)) return py::none();
    const NewTensor p = make<float>({a.B, a.L, a.V}), fresh = make<int64_t>({a.B, a.L}), status = make<int32_t>({a.B, a.L});
    a.p = p;
    a.fresh = fresh;
    a.status = status;
    {
      py::gil_scoped_release unlocked;
      process_logits_dispatch({a, threads});
    }
    return py::make_tuple(p.object(), fresh.object(), status.object());
  });
}

}  // namespace sjd2
