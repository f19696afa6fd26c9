#include "bind_process_logits.h"

#include "cpu/process_logits.h"

namespace sjd2 {

void bind_process_logits(pybind11::module_& module) {
  define_process_logits<int>(module, "process_logits", [](const ProcessLogitsArguments& arguments, int threads) {
    process_logits_dispatch({arguments, threads});
  });
}

}  // namespace sjd2
