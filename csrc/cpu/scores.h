// The guided, tempered score of each id: d = c - u; s = u + g d; s = s / T; s + 0, one float32 rounding each, -inf where
// either logit is -inf. W scores at a time, straight from the logits.
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
    if (kGuided) {
      const VF u = load_row(uncond, i);
      const VF d = c - u;
      const VF scaled = d * guidance;
      s = u + scaled;
      s = (c == kMasked) | (u == kMasked) ? VF{} + kMasked : s;
    }
    if (kTempered) s = s / temperature;
    return s + 0.0f;
  }
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
