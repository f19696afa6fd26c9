// The guided, tempered score of each id: d = c - u; s = u + g d; s = s / T, one float32 rounding each, -inf where either logit
// is -inf. (The contract's s + 0 is left out: -0 and +0 compare equal and weigh the same in all that follows.) W scores at a time, straight from the logits.
#pragma once

#include "simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

template <class T, bool kGuided, bool kTempered>
struct Scores {
  const T* cond;
  const T* uncond;
  float guidance, temperature;
  int64_t V;

  static constexpr int64_t kLine = 64 / sizeof(T), kAhead = 2048 / sizeof(T);  // elements
  static constexpr float kMasked = -__builtin_inff();

  // W elements from i on; past V they read as -inf.
  SJD2_INLINE VF load_row(const T* row, int64_t i) const {
    if (i + W <= V) return load_floats(row + i);
    VF v = VF{} + kMasked;
    for (int lane = 0; i + lane < V; ++lane) v[lane] = float(load(row[i + lane]));
    return v;
  }

  SJD2_INLINE VF at(int64_t i) const {
    const VF c = load_row(cond, i);
    VF s = c;
    VI masked = c == kMasked;
    if (kGuided) {
      const VF u = load_row(uncond, i);
      s = guide(c, u);
      masked |= u == kMasked;
    }
    if (kTempered) s = s / temperature;
    return masked ? VF{} + kMasked : s;  // last: -inf over an infinite temperature is NaN
  }

  // The same for i + W <= V, without the constraint: right where the result is finite, since a masked id never gives a finite one.
  SJD2_INLINE VF unconstrained(int64_t i) const {
    const VF c = load_floats(cond + i);
    const VF s = kGuided ? guide(c, load_floats(uncond + i)) : c;
    return kTempered ? s / temperature : s;
  }

  // Asks for the cache lines of `count` elements that a pass comes to kAhead later: hardware stops looking ahead at a page's end.
  SJD2_INLINE void prefetch(int64_t i, int64_t count) const {
    for (int64_t line = 0; line < count; line += kLine) {
      __builtin_prefetch(cond + i + kAhead + line);
      if (kGuided) __builtin_prefetch(uncond + i + kAhead + line);
    }
  }

  SJD2_INLINE VF guide(VF c, VF u) const {
    const VF d = c - u;
    const VF scaled = d * guidance;
    return u + scaled;
  }
};

SJD2_INLINE VI finite(VF s) { return (VF)((VI)s & 0x7FFFFFFF) < __builtin_inff(); }

// Calls take(i, scores of i..i+W-1) for the whole row (lanes past V are -inf); false if a score is NaN or +inf.
// Four vectors at a time: when all of them are finite, as nearly always, nothing else needs a look.
template <class S, class Take>
SJD2_INLINE bool for_all_scores(const S& scores, Take take) {
  constexpr int kParts = 4;
  VI bad{};
  for (int64_t i = 0; i < scores.V; i += kParts * W) {
    scores.prefetch(i, kParts * W);
    if (i + kParts * W <= scores.V) {
      VF s[kParts];
      VI good = ~VI{};
      for (int part = 0; part < kParts; ++part) {
        s[part] = scores.unconstrained(i + part * W);
        good &= finite(s[part]);
      }
      if (lane_bits(good) == kAllLanes) {
        for (int part = 0; part < kParts; ++part) take(i + part * W, s[part]);
        continue;
      }
    }
    for (int part = 0; part < kParts && i + part * W < scores.V; ++part) {
      const VF s = scores.at(i + part * W);
      bad |= ~(s < __builtin_inff());
      take(i + part * W, s);
    }
  }
  return lane_bits(bad) == 0;
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
