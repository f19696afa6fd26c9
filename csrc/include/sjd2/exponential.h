// From a random word to a uniform in (0, 1) and to a standard exponential, with the same bits on every backend.
// The file that includes this must be compiled without contraction (-ffp-contract=off, --fmad=false).
#pragma once

#include "config.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

// min((float32(word) + 0.5) * 2**-32, 1 - 2**-24), never 0 and never 1, of a random word converted to float32. F is float or a
// vector of floats.
template <class F>
SJD2_INLINE F uniform_of_float(F whole) {
  const F u = (whole + 0.5f) * 0x1p-32f;
  const F largest = F{} + (1.0f - 0x1p-24f);
  return u < largest ? u : largest;
}

// A word as the sum of two exact halves, which rounds once like the conversion that SSE and AVX2 lack.
template <class F>
SJD2_INLINE F join_halves(F high, F low) {
  return high * 65536.0f + low;
}

SJD2_INLINE float uniform(uint32_t word) {
#ifdef __CUDA_ARCH__  // one conversion, rounded to nearest: the same number
  return uniform_of_float(__uint2float_rn(word));
#else
  return uniform_of_float(join_halves(float(int32_t(word >> 16)), float(int32_t(word & 0xFFFFu))));
#endif
}

// (log(1 + f) - f + f*f/2) / f**3 on [sqrt(1/2) - 1, sqrt(2) - 1], own minimax fit.
SJD2_INLINE float log_series(float f) {
  float r = -0.07634482f;
  r = r * f + 0.1276157f;
  r = r * f + -0.13160186f;
  r = r * f + 0.14201759f;
  r = r * f + -0.16623357f;
  r = r * f + 0.20001227f;
  r = r * f + -0.2500082f;
  r = r * f + 0.3333333f;
  return r;
}

// E = -log1p(-u) for u in (0, 1); worst relative error 2 units of 2**-24; E >= u always.
SJD2_INLINE float exponential(float u) {
  const float y = 1.0f - u;
  const float rest = (1.0f - y) - u;  // what rounding 1 - u lost, exactly
  const int32_t bits = int32_t(bits_of(y));
  const int32_t k = (bits - 0x3F3504F3) >> 23;  // y = m * 2**k, m in [sqrt(1/2), sqrt(2))
  const float f = float_of(uint32_t(bits) - (uint32_t(k) << 23)) - 1.0f;
  const float f2 = f * f;
  float tail = log_series(f) * (f2 * f);
  tail = tail + float(k) * -2.12194440e-4f;
  tail = tail - 0.5f * f2;
  tail = tail + rest;
  return -((tail + f) + float(k) * 0.693359375f);
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
