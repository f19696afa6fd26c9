// Fixed-point softmax weights: w = trunc(2**((s - max) log2 e) * 2**40), an integer below 2**41 that float32 holds exactly.
// Sums of w in 64-bit integers do not depend on the order, which is what makes probabilities equal on every backend.
#pragma once

#include "exp2.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr float kMassUnit = 0x1p40f;

// The weight as the float32 that equals it.
SJD2_INLINE float mass(float score, float top) {
  const float scaled = exp2_poly((score - top) * kLog2E) * kMassUnit;
  // from 2**23 on a float32 is an integer already; below, the conversion truncates
  return scaled < 8388608.0f ? float(int32_t(scaled < 8388608.0f ? scaled : 0.0f)) : scaled;
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
