// Arguments of verify_accept: docs/operators.md. Pointers may be null where the operator's argument is optional.
#pragma once

#include "cpu/target.h"
#include "sjd2/config.h"

namespace sjd2 {

enum class Redraw : int { kFresh = 0, kCouple = 1, kKeep = 2 };

struct VerifyAcceptArguments {
  const int64_t* draft;  // [B, L]
  const float *p, *q;    // [B, L, V], last axis contiguous
  int64_t p_stride_b, p_stride_l, q_stride_b, q_stride_l;
  const int64_t *seed, *pos;  // [B]
  const int64_t* fresh;       // [B, L]
  const int64_t* epoch;       // [B]
  const uint8_t* verifiable;  // [B, L]
  const int64_t* forced;      // [B, L]
  const int32_t* done;        // [B]
  bool match;
  Redraw redraw;
  int64_t B, L, V;
  int32_t* accept_len;  // [B]
  int64_t* tokens;      // [B, L]
  float* ratio;         // [B, L]
  int threads;
};

SJD2_DECLARE(verify_accept, VerifyAcceptArguments)

}  // namespace sjd2
