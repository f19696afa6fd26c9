// Arguments of process_logits: docs/operators.md. Pointers may be null where the operator's argument is optional.
#pragma once

#include "real.h"

namespace sjd2 {

struct ProcessLogitsArguments {
  const void* cond;
  const void* uncond;
  Dtype dtype;
  int64_t cond_stride_b, cond_stride_l, uncond_stride_b, uncond_stride_l;  // in elements; last axis contiguous
  const float *guidance, *temperature, *top_p;                            // [B]
  const int64_t *top_k, *seed, *pos, *epoch;                              // [B]
  const int64_t* forced;                                                  // [B, L]
  const int32_t* done;                                                    // [B]
  int64_t B, L, V;
  float* p;         // [B, L, V]
  int64_t* fresh;   // [B, L]
  int32_t* status;  // [B, L]
};

// What a row's status says, added up.
enum Status : int32_t { kNan = 1, kOverflow = 2, kEmpty = 4 };

}  // namespace sjd2
