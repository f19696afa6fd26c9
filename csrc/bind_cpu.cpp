// The native CPU module: functions that take addresses and sizes, and the headers' pieces for tests. No framework here.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "cpu/parallel.h"
#include "cpu/target.h"

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "Native CPU kernels of sjd2_kernels; use the operators, not these.";
  module.def("describe", [] {
    const char* alone = ", one thread: this process was forked, or PyTorch brought no OpenMP runtime";
    return std::string("instruction set ") + sjd2::target_name() + (sjd2::has_threads() ? "" : alone);
  });
  sjd2::bind_commit(module);
  sjd2::bind_nearest_token(module);
  sjd2::bind_noise_embed(module);
  sjd2::bind_noise_mix(module);
  sjd2::bind_pieces(module);
  sjd2::bind_process_logits(module);
  sjd2::bind_recycled(module);
  sjd2::bind_team(module);
  sjd2::bind_verify_accept(module);
  sjd2::bind_window_attention(module);
}
