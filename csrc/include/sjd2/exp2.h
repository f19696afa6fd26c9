// 2**x for x <= 0 by an explicit polynomial: separate multiplies and adds, the same bits on every backend.
// The file that includes this must be compiled without contraction (-ffp-contract=off, --fmad=false).
#pragma once

#include "config.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kRounder = 12582912.0f;  // 1.5 * 2**23: adding and subtracting it rounds to an integer

// 2**n for integral n, added to the exponent of r.
SJD2_INLINE float scale_by_power(float r, float n) { return float_of(bits_of(r) + (uint32_t(int32_t(n)) << 23)); }

// x below -64 reads as -64 (no denormals); exp2_poly(0) == 1; worst relative error 1.7 units of 2**-24.
// F is float, or a vector of floats with an overload of scale_by_power.
template <class F>
SJD2_INLINE F exp2_poly(F x) {
  const F lowest = F{} + -64.0f;
  x = x < lowest ? lowest : x;
  const F n = (x + kRounder) - kRounder;
  const F f = x - n;
  F r = F{} + 0.00015353362f;
  r = r * f + 0.0013398875f;
  r = r * f + 0.009618437f;
  r = r * f + 0.055503324f;
  r = r * f + 0.24022648f;
  r = r * f + 0.6931472f;
  r = r * f + 1.0f;
  return scale_by_power(r, n);
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
