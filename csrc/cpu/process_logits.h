// process_logits on the CPU: the arguments of sjd2/process_logits.h and a number of threads.
#pragma once

#include "cpu/target.h"
#include "sjd2/process_logits.h"

namespace sjd2 {

struct ProcessLogitsCall : ProcessLogitsArguments {
  int threads;
};

SJD2_DECLARE(process_logits, ProcessLogitsCall)

}  // namespace sjd2
