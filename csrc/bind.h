// The parts of the native module, one bind function per file.
#pragma once

#include <pybind11/pybind11.h>

namespace sjd2 {

void bind_commit(pybind11::module_& module);
void bind_nearest_token(pybind11::module_& module);
void bind_noise_embed(pybind11::module_& module);
void bind_noise_mix(pybind11::module_& module);
void bind_outputs(pybind11::module_& module);
void bind_pieces(pybind11::module_& module);
void bind_process_logits(pybind11::module_& module);
void bind_team(pybind11::module_& module);
void bind_verify_accept(pybind11::module_& module);
void bind_window_attention(pybind11::module_& module);

}  // namespace sjd2
