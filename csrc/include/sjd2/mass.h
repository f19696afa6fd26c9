// Fixed-point softmax weights: w = trunc(2**((s - max) log2 e) * 2**40), an integer below 2**41 that float32 holds exactly.
// Sums of w in 64-bit integers do not depend on the order, which is what makes probabilities equal on every backend.
#pragma once

#include "exp2.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr float kMassUnit = 0x1p40f;

SJD2_INLINE float truncate(float x) { return float(int32_t(x)); }

// The weight as the float32 that equals it. F is float, or a vector of floats with an overload of truncate.
template <class F>
SJD2_INLINE F mass(F score, F top) {
  const F scaled = exp2_poly((score - top) * kLog2E) * kMassUnit;
  const F limit = F{} + 8388608.0f;  // from 2**23 on a float32 is an integer already
  return scaled < limit ? truncate(scaled < limit ? scaled : F{}) : scaled;
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
