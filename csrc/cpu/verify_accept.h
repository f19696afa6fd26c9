// verify_accept on the CPU: the arguments of sjd2/verify_accept.h and a number of threads.
#pragma once

#include "cpu/target.h"
#include "sjd2/verify_accept.h"

namespace sjd2 {

struct VerifyAcceptCall : VerifyAcceptArguments {
  int threads;
};

SJD2_DECLARE(verify_accept, VerifyAcceptCall)

}  // namespace sjd2
