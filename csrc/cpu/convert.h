// Runs of elements, of any length, to and from the type a kernel computes in.
#pragma once

#include "cpu/simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

// to[i] = from[i] for i in 0..count-1, exact.
template <class T, class Real>
inline void load_run(const T* from, int64_t count, Real* to) {
  int64_t i = 0;
  if constexpr (sizeof(Real) == sizeof(float)) {
    for (; i + W <= count; i += W) store_vector(to + i, load_floats(from + i));
  }
  for (; i < count; ++i) to[i] = load(from[i]);
}

// to[i] = from[i] for i in 0..count-1, rounded to nearest even.
template <class T>
inline void store_run(const Compute<T>* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = store<T>(from[i]);
}
#ifdef __F16C__
template <>
inline void store_run<Float16>(const float* from, int64_t count, Float16* to) {
  int64_t i = 0;  // by hand: the compiler converts one at a time
  for (; i + 8 <= count; i += 8)
    store_vector(to + i, _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < count; ++i) to[i] = store<Float16>(from[i]);
}
#endif

}  // namespace SJD2_TARGET
}  // namespace sjd2
