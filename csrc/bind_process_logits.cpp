#include "bind_process_logits.h"

#include "bind.h"
#include "cpu/process_logits.h"
#include "operator.h"

namespace sjd2 {

namespace {

py::object run(ProcessLogitsArguments& a, int threads) {
  const NewTensor p = make<float>({a.B, a.L, a.V}), fresh = make<int64_t>({a.B, a.L}), status = make<int32_t>({a.B, a.L});
  a.p = p;
  a.fresh = fresh;
  a.status = status;
  unlocked([&] { process_logits_dispatch({a, threads}); });
  return py::make_tuple(p.object(), fresh.object(), status.object());
}

}  // namespace

void bind_process_logits(py::module_& module) {
  define_operator<ProcessLogitsArguments>(module, "process_logits", read_process_logits, run);
}

}  // namespace sjd2
