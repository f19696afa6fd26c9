// The native CPU module: the operators on tensors as torch.Tensor shows them to C, and the headers' pieces for tests. No
// framework is needed to build it.
#include <cstdlib>
#include <cstring>

#include "arguments.h"
#include "bind.h"
#include "cpu/parallel.h"
#include "cpu/target.h"

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "Native CPU kernels of sjd2_kernels; use the operators, not these.";
  module.def("describe", [] {
    const char* alone = ", one thread: this process was forked, or PyTorch brought no OpenMP runtime";
    return std::string("instruction set ") + sjd2::target_name() + (sjd2::has_threads() ? "" : alone);
  });
  // An operator that is called with no backend named asks this first: the environment is looked at without os.environ, whose
  // mapping in Python takes as long as the checks of all arguments.
  module.def("preferred", [] {
    const char* asked = std::getenv("SJD2_BACKEND");
    return asked == nullptr || *asked == '\0' || std::strcmp(asked, "native") == 0;
  });
  sjd2::bind_exchange(module);
  sjd2::bind_commit(module);
  sjd2::bind_nearest_token(module);
  sjd2::bind_noise_embed(module);
  sjd2::bind_noise_mix(module);
  sjd2::bind_outputs(module);
  sjd2::bind_pieces(module);
  sjd2::bind_process_logits(module);
  sjd2::bind_team(module);
  sjd2::bind_verify_accept(module);
  sjd2::bind_window_attention(module);
}
