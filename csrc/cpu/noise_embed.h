// The forward process of training and prefill: rows = (1 - t) * table[token] + t * (mean + std * eps).
#pragma once

#include "cpu/target.h"
#include "sjd2/config.h"
#include "sjd2/real.h"

namespace sjd2 {

struct NoiseEmbedArguments {
  const void* table;     // [V, C] of `dtype`, row stride `table_stride`
  const int64_t* token;  // [B, N]
  const float* mean;     // [C]
  const float* std;      // [C]
  const float* t;        // [B, N]
  const int64_t* seed;   // [B]
  const int64_t* pos;    // [B]
  const int32_t* done;   // [B] or null
  void* rows;            // [B, N, C] of `dtype`
  int64_t B, N, C, V, table_stride;
  Dtype dtype;
  int threads;
};

SJD2_DECLARE(noise_embed, NoiseEmbedArguments)

}  // namespace sjd2
