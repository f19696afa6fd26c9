// Standard normals by Box-Muller: radius = sqrt(-2 log u1), angle = 2 pi u2, the cosine first, the sine second.
// Float: own polynomials without branches, so that loops over them vectorise. Double: the library's functions.
// Equal across backends to a tolerance, not bit for bit.
#pragma once

#include "exponential.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

template <class Real>
struct Pair {
  Real cosine, sine;
};

// log u for u in [2**-33, 1); worst relative error 1.4 units of 2**-24 (u - 1 is exact near 1).
SJD2_INLINE float log_unit(float u) {
  const int32_t bits = int32_t(bits_of(u));
  const int32_t k = (bits - 0x3F3504F3) >> 23;  // u = m * 2**k, m in [sqrt(1/2), sqrt(2))
  const float f = float_of(uint32_t(bits) - (uint32_t(k) << 23)) - 1.0f;
  const float f2 = f * f;
  const float tail = log_series(f) * (f2 * f) + float(k) * -2.12194440e-4f - 0.5f * f2;
  return (tail + f) + float(k) * 0.693359375f;
}

// Cosine and sine of `turn` whole turns, turn in [0, 1]; worst relative error 2.2 units of 2**-24, own minimax fits.
SJD2_INLINE Pair<float> circle(float turn) {
  const float quarter = (4.0f * turn + 12582912.0f) - 12582912.0f;  // 1.5 * 2**23: rounds to an integer, 0..4
  const float r = turn - 0.25f * quarter;                           // exact, in [-1/8, 1/8]
  const float r2 = r * r;
  const float s = r * (6.2831855f + r2 * (-41.341663f + r2 * (81.592354f + r2 * -75.39356f)));
  const float c = 1.0f + r2 * (-19.739208f + r2 * (64.93931f + r2 * (-85.4423f + r2 * 59.202797f)));
  const uint32_t q = uint32_t(int32_t(quarter));
  const uint32_t swap = 0u - (q & 1u);  // all ones in the odd quarters
  const uint32_t cosine = (bits_of(c) & ~swap) | (bits_of(s) & swap);
  const uint32_t sine = (bits_of(s) & ~swap) | (bits_of(c) & swap);
  return {float_of(cosine ^ (((q + 1u) & 2u) << 30)), float_of(sine ^ ((q & 2u) << 30))};
}

// Two independent standard normals of two random words, in the type Real.
template <class Real>
SJD2_INLINE Pair<Real> box_muller(uint32_t word1, uint32_t word2);

template <>
SJD2_INLINE Pair<float> box_muller<float>(uint32_t word1, uint32_t word2) {
#ifdef __CUDACC__
  const float radius = sqrtf(-2.0f * log_unit(uniform(word1)));
#else
  const float radius = __builtin_sqrtf(-2.0f * log_unit(uniform(word1)));
#endif
  const Pair<float> direction = circle(uniform(word2));
  return {radius * direction.cosine, radius * direction.sine};
}

#ifndef __CUDACC__  // float64 is for checks on the CPU
template <>
SJD2_INLINE Pair<double> box_muller<double>(uint32_t word1, uint32_t word2) {
  const double radius = __builtin_sqrt(-2.0 * __builtin_log(double(uniform(word1))));
  const double angle = 6.283185307179586 * double(uniform(word2));
  return {radius * __builtin_cos(angle), radius * __builtin_sin(angle)};
}
#endif

}  // namespace SJD2_TARGET
}  // namespace sjd2
