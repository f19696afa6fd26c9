// window_attention: the arguments, and how a call is cut into tasks.
#pragma once

#include "cpu/target.h"
#include "sjd2/config.h"
#include "sjd2/real.h"

namespace sjd2 {

// Strides count elements; the last axis has stride 1.
struct Axes {
  int64_t outer, middle, inner;
};

struct WindowAttentionArguments {
  Dtype dtype;
  int64_t R, M, H, Hkv, D, S;
  const void *q, *k, *v;  // [R, M, H or Hkv, D]
  void *k_cache, *v_cache;  // [R, Hkv, S, D]
  void* out;              // [R, M, H, D], dense
  Axes q_axes, k_axes, v_axes, k_cache_axes, v_cache_axes;
  const int32_t *kv_len, *q_start;  // [R]
  double scale;
  const void *time_k, *time_v;  // [levels, Hkv, D], dense; null without timesteps
  const int32_t* level;         // [R, M]
  int64_t levels;
  int64_t shadow, refeed;  // the last `shadow` rows stand where rows refeed, refeed + 1, ... stand
  const int32_t* done;  // [B], or null
  int64_t B;
  void* scratch;  // plan.workers * plan.bytes, 64-byte aligned
  int threads;
};

SJD2_DECLARE(window_attention, WindowAttentionArguments)

inline namespace SJD2_TARGET {

constexpr int64_t kKeys = 128;    // keys per block; blocks start at multiples of it, whatever the batch
constexpr int64_t kTileRows = 6;  // query rows that are worked on at a time
constexpr int64_t kWidest = 32;   // a multiple of every target's panel width
constexpr int64_t kGap = 16;      // elements between panels of values, so that they do not share cache sets

// One task is one (model row, kv head, chunk of query rows); a worker owns one scratch area. Rows are independent of each
// other, so the cut changes no bit of the result.
struct AttentionPlan {
  int64_t rows, chunks, tasks, workers;
  int64_t query, sum, top, total, keys, values, scores, bytes;  // offsets in the scratch area, and its size

  static int64_t rounded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

  static AttentionPlan of(int64_t R, int64_t M, int64_t H, int64_t Hkv, int64_t D, bool wide, int threads) {
    constexpr int64_t kFewest = 48, kMost = 512;  // rows that still pay for packing the keys; rows that fit the L2 cache
    AttentionPlan p;
    const int64_t all = M * (H / Hkv), heads = R * Hkv;
    int64_t chunks = heads > 0 ? (2 * int64_t(threads) + heads - 1) / heads : 1;
    if (chunks > all / kFewest) chunks = all / kFewest;
    if (chunks < (all + kMost - 1) / kMost) chunks = (all + kMost - 1) / kMost;
    p.chunks = chunks < 1 ? 1 : chunks;
    p.rows = (all + p.chunks - 1) / p.chunks;
    p.tasks = heads * p.chunks;
    p.workers = p.tasks < threads ? p.tasks : threads;
    const int64_t unit = wide ? 8 : 4, width = rounded(D, kWidest);
    int64_t end = 0;
    const auto take = [&](int64_t elements) {
      const int64_t at = end;
      end += rounded(elements * unit, 64);
      return at;
    };
    p.query = take(p.rows * width);
    p.sum = take(p.rows * width);
    p.top = take(p.rows);
    p.total = take(p.rows);
    p.keys = take(kKeys * D);
    p.values = take(width * kKeys + width * kGap);
    p.scores = take(kTileRows * kKeys);
    p.bytes = end;
    return p;
  }
};

}  // namespace SJD2_TARGET

}  // namespace sjd2
