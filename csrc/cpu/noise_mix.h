// One denoising step of the window: shift by the committed count, lerp toward the prediction, refill with noise.
#pragma once

#include "cpu/target.h"
#include "sjd2/config.h"
#include "sjd2/real.h"

namespace sjd2 {

struct NoiseMixArguments {
  const void* state;          // [B, L, C] float, or double with a double table; strides in elements below
  const int32_t* level;       // [B, L]
  const int64_t* tokens;      // [B, L]
  const int64_t* fresh;       // [B, L]
  const int32_t* shift;       // [B]
  const float* times;         // [T + 1]
  const void* table;          // [V, C] of `dtype`, row stride `table_stride`; V counts the forced ids too
  const float* mean;          // [C]
  const float* std;           // [C]
  const int64_t* seed;        // [B]
  const int64_t* pos;         // [B] position of slot 0 after the shift
  const int64_t* forced;      // [B, L] or null
  const int64_t* n_tokens;    // [B] or null
  const int32_t* accept_len;  // [B] or null
  const int32_t* done;        // [B] or null
  void* new_state;            // [B, L, C] as state
  int32_t* new_level;         // [B, L]
  int64_t* draft;             // [B, L]
  void* rows;                 // [B, L, C] of `dtype`
  int64_t B, L, C, V, T;
  int64_t state_image_stride, state_slot_stride, table_stride;
  Dtype dtype;
  int threads;
};

SJD2_DECLARE(noise_mix, NoiseMixArguments)

}  // namespace sjd2
