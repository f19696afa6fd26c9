// The native CUDA module: functions that take a device ordinal, a stream, and tensors as torch.Tensor shows them to C. No
// framework is needed to build it.
#include "bind_process_logits.h"
#include "bind_verify_accept.h"
#include "operators.h"

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "Native CUDA kernels of sjd2_kernels; use the operators, not these.";
  module.def("problem", &sjd2::cuda::problem);
  module.attr("ARCHITECTURES") = SJD2_ARCHITECTURES;
  sjd2::bind_exchange(module);
  sjd2::define_process_logits<int, std::uintptr_t>(module, "process_logits", sjd2::dlpack::kCuda, sjd2::cuda::process_logits);
  sjd2::define_verify_accept<int, std::uintptr_t>(module, "verify_accept", sjd2::dlpack::kCuda, sjd2::cuda::verify_accept);
}
