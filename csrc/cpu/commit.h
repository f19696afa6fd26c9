// The integer bookkeeping of a decoding step.
#pragma once

#include "cpu/target.h"
#include "sjd2/config.h"

namespace sjd2 {

// A 1-d or 2-d tensor that is written in place, strides in elements.
template <class T>
struct InPlace {
  T* data;
  int64_t stride, inner;

  T& operator()(int64_t i) const { return data[i * stride]; }
  T& operator()(int64_t i, int64_t j) const { return data[i * stride + j * inner]; }
};

struct CommitArguments {
  const int64_t* tokens;      // [B, L]
  const int64_t* draft;       // [B, L]
  const int32_t* accept_len;  // [B]
  const int64_t* ids;         // [V]; V counts the forced ids too
  const int32_t* prompt_len;  // [R]
  const int64_t* n_tokens;    // [B]
  const int32_t* level;       // [B, L] or null
  InPlace<int64_t> out;       // [B, N]
  InPlace<int64_t> pos;       // [B]
  InPlace<int32_t> kv_len;    // [R]
  InPlace<int32_t> q_start;   // [R]
  InPlace<int64_t> refeed;    // [B, A]
  InPlace<int64_t> epoch;     // [B]
  InPlace<int32_t> done;      // [B]
  int32_t* n_commit;          // [B]
  int64_t B, L, R, V, N, A;
};

SJD2_DECLARE(commit, CommitArguments)

}  // namespace sjd2
