// The CUDA operators, for a binding that knows no CUDA. `device` is an ordinal, `stream` a cudaStream_t. They launch and
// return; a launch that fails throws std::runtime_error.
#pragma once

#include <string>

#include "sjd2/process_logits.h"
#include "sjd2/verify_accept.h"

namespace sjd2::cuda {

void process_logits(const ProcessLogitsArguments& arguments, int device, std::uintptr_t stream);
void verify_accept(const VerifyAcceptArguments& arguments, int device, std::uintptr_t stream);

// Why this machine cannot run them: driver, or no device; empty if it can.
std::string problem();

}  // namespace sjd2::cuda
