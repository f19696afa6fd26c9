// Loads and stores of the four element types through float (double for float64): bfloat16 and float16 as raw 16 bits.
#pragma once

#include "config.h"

namespace sjd2 {

enum class Dtype : int { kFloat32 = 0, kBfloat16 = 1, kFloat16 = 2, kFloat64 = 3 };

inline namespace SJD2_TARGET {

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// The type in which a kernel computes.
template <class T>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

SJD2_INLINE float load(float x) { return x; }
SJD2_INLINE double load(double x) { return x; }
SJD2_INLINE float load(Bfloat16 x) { return float_of(uint32_t(x.bits) << 16); }
SJD2_INLINE float load(Float16 x) {
#ifdef __F16C__
  return __builtin_ia32_vcvtph2ps((__attribute__((vector_size(16))) short){short(x.bits)})[0];
#else
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16;
  const uint32_t rest = x.bits & 0x7FFFu;
  if (rest >= 0x7C00u) return float_of(sign | 0x7F800000u | (rest & 0x3FFu ? 0x400000u | (rest & 0x3FFu) << 13 : 0));
  // shift exponent and fraction into place, then let a multiplication by 2**112 set the bias, denormals included
  return float_of(sign | bits_of(float_of(rest << 13) * 0x1p112f));
#endif
}

// Round to nearest even; NaN stays NaN.
template <class T>
SJD2_INLINE T store(Compute<T> x);
template <>
SJD2_INLINE float store<float>(float x) {
  return x;
}
template <>
SJD2_INLINE double store<double>(double x) {
  return x;
}
template <>
SJD2_INLINE Bfloat16 store<Bfloat16>(float x) {
  const uint32_t bits = bits_of(x);
  if (x != x) return {0x7FC0u};
  return {uint16_t((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}
template <>
SJD2_INLINE Float16 store<Float16>(float x) {
  const uint32_t bits = bits_of(x);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
  const uint32_t rest = bits & 0x7FFFFFFFu;
  if (rest > 0x7F800000u) return {uint16_t(sign | 0x7E00u)};
  if (rest >= 0x477FF000u) return {uint16_t(sign | 0x7C00u)};  // rounds to 65536 or more
  if (rest < 0x38800000u) {  // below 2**-14: adding 0.5 rounds at the place of the last denormal bit
    return {uint16_t(sign | (bits_of(float_of(rest) + 0.5f) - 0x3F000000u))};
  }
  return {uint16_t(sign | ((rest - 0x38000000u + 0xFFFu + ((rest >> 13) & 1u)) >> 13))};
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
