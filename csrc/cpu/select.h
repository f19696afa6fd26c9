// Selection without sorting: the k-th largest of a list, and the top-p cut of a list of fixed-point masses. Both bisect on the
// bits of a float, so they are exact and their cost does not depend on the values' distribution.
//
// Lists are float arrays readable, and padded by pad(), up to the next multiple of W.
#pragma once

#include "sjd2/ordered_key.h"
#include "simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

SJD2_INLINE void pad(float* values, int64_t n, float with) {
  for (int i = 0; i < W; ++i) values[n + i] = with;
}

SJD2_INLINE int64_t count_at_least(const float* values, int64_t n, float bound) {
  VI count{};
  for (int64_t i = 0; i < n; i += W) count -= load_vector<VF>(values + i) >= bound;
  return sum_lanes(count);
}

SJD2_INLINE float largest(const float* values, int64_t n) {
  VF top = VF{} - __builtin_inff();
  for (int64_t i = 0; i < n; i += W) {
    const VF v = load_vector<VF>(values + i);
    top = v > top ? v : top;
  }
  return largest_lane(top);
}

// A bound t with {v : v >= t} = {v : v >= the k-th largest}, for 1 <= k <= n; no value is below `lowest`; padded with -inf.
// With slack, any bound that k to k + slack values reach. spare: room for n + W floats; it may be `values`, which are then lost.
// Invariant: at_low >= k values are >= low, at_high < k are >= high.
SJD2_INLINE float kth_largest_bound(const float* values, int64_t n, int64_t k, float lowest, float* spare, int64_t slack = 0) {
  uint32_t low = ordered_key(lowest), high = ordered_key(largest(values, n)) + 1;
  int64_t at_low = n, at_high = 0, dropped = 0;  // dropped: those >= high that are no longer in the list
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const float bound = key_value(middle);
    const int64_t count = dropped + count_at_least(values, n, bound);
    if (count >= k && count <= k + slack) return bound;
    if (count > k) {
      low = middle;
      at_low = count;
    } else {
      high = middle;
      at_high = count;
    }
    if (at_low - at_high > n / 8) continue;
    const float least = key_value(low), beyond = key_value(high);  // most are decided: go on with the others only
    int64_t left = 0;
    for (int64_t i = 0; i < n; i += W) {
      const VF v = load_vector<VF>(values + i);
      left = compress_values((v >= least) & (v < beyond), v, spare, left);
    }
    pad(spare, left, -__builtin_inff());
    values = spare;
    n = left;
    dropped = at_high;
  }
  return key_value(low);
}

// An exact sum of masses (integers below 2**41 held in float32): doubles, emptied into an integer before they can round.
struct MassSum {
  static constexpr int kCapacity = 2048;  // additions; a lane then holds below 2**52
  VHalfD low{}, high{};
  int64_t whole = 0;
  int room = kCapacity;

  SJD2_INLINE void add(VF w) {
    if (room-- == 0) empty();
    const Halves halves = widen(w);
    low += halves.low;
    high += halves.high;
  }

  SJD2_INLINE void empty() {
    for (int lane = 0; lane < W / 2; ++lane) whole += int64_t(low[lane]) + int64_t(high[lane]);
    low = high = VHalfD{};
    room = kCapacity - 1;
  }

  SJD2_INLINE int64_t total() {
    empty();
    return whole;
  }
};

template <class WeightAt>
SJD2_INLINE int64_t sum_masses(int64_t n, WeightAt weight_at) {
  MassSum sum;
  for (int64_t i = 0; i < n; i += W) sum.add(weight_at(i));
  return sum.total();
}

SJD2_INLINE int64_t sum_masses(const float* weight, int64_t n) {
  return sum_masses(n, [&](int64_t i) { return load_vector<VF>(weight + i); });
}

// What a top-p prefix by (weight descending, id ascending) keeps: every weight above `cut`, and the first `ties` equal to it.
struct TopP {
  float cut;
  int64_t ties;
};

// weight: n masses padded with 0, of which the sum is at least need >= 1. spare: room for n + W floats.
// Invariant: the masses >= low sum to at least need, those >= high to less; `above` is the latter sum.
SJD2_INLINE TopP top_p_cut(const float* weight, int64_t n, int64_t need, float* spare) {
  uint32_t low = bits_of(1.0f), high = bits_of(0x1p41f);
  int64_t above = 0;
  const float* open = weight;  // candidates in [low, high), once compressed into `spare`
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const float bound = float_of(middle);
    const int64_t upper = sum_masses(n, [&](int64_t i) {
      const VF w = load_vector<VF>(open + i);
      return w >= bound ? w : VF{};
    });
    const bool enough = above + upper >= need;
    if (enough) {
      low = middle;
    } else {
      high = middle;
      above += upper;
    }
    int64_t left = 0;
    for (int64_t i = 0; i < n; i += W) {
      const VF w = load_vector<VF>(open + i);
      const VI keep = enough ? w >= bound : w < bound;
      left = compress_values(keep, w, spare, left);
    }
    pad(spare, left, 0.0f);
    open = spare;
    n = left;
  }
  const int64_t cut = int64_t(float_of(low));
  return {float_of(low), (need - above + cut - 1) / cut};
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
