// The nearest vocabulary token of each window slot: argmax over v of state . table[v] + bias[v], scores never written.
#pragma once

#include "cpu/target.h"
#include "sjd2/config.h"
#include "sjd2/real.h"

namespace sjd2 {

constexpr int64_t kNearestBlock = 96;  // table rows that one task scores; it leaves one winner per slot in the scratch
constexpr int64_t kNearestLanes = 32;  // the widest panel of any target: what the scratch is rounded up to

struct NearestTokenArguments {
  const void* state;     // [B, L, C] of `state_dtype` (float or double), strides in elements below
  const void* table;     // [V, C] of `table_dtype`, row stride `table_stride`
  const void* bias;      // [V] of the compute type: double if state or table is, else float
  const int64_t* draft;  // [B, L] or null
  const int32_t* done;   // [B] or null
  int64_t* token;        // [B, L]
  int64_t* active;       // scratch [B * L]: the slots that are scored
  void* panels;          // scratch [up(B * L) * C] of the compute type, 64-byte aligned; up rounds up to kNearestLanes
  void* best;            // scratch [ceil(V / kNearestBlock) * up(B * L)] of the compute type, 64-byte aligned
  int64_t* winner;       // scratch, as many
  int64_t B, L, C, V;
  int64_t state_image_stride, state_slot_stride, table_stride;
  Dtype state_dtype, table_dtype;
  int threads;
};

SJD2_DECLARE(nearest_token, NearestTokenArguments)

}  // namespace sjd2
