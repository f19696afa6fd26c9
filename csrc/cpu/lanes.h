// Vectors as wide as the target's registers: loads with conversion, e**x, reductions, a transposition in registers.
//
// GCC's vector extension, so one text serves SSE2, AVX2, AVX-512 and other machines. What a lane computes never depends on
// the other lanes, except in the reductions, whose order is fixed.
#pragma once

#include "sjd2/real.h"

#if defined(__AVX512F__)
#define SJD2_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define SJD2_VECTOR_BYTES 32
#else
#define SJD2_VECTOR_BYTES 16
#endif

namespace sjd2 {
inline namespace SJD2_TARGET {

template <class T>
struct LanesOf {
  static constexpr int width = SJD2_VECTOR_BYTES / sizeof(T);
  typedef T type __attribute__((vector_size(SJD2_VECTOR_BYTES)));
};
template <class T>
using Lanes = typename LanesOf<T>::type;
template <class T>
constexpr int kLanes = LanesOf<T>::width;

template <class T>
SJD2_INLINE Lanes<T> splat(T x) {
  return x - Lanes<T>{};
}

// kLanes<Compute<E>> consecutive elements, converted; no alignment is asked for.
template <class E>
SJD2_INLINE Lanes<Compute<E>> load_lanes(const E* from) {
  Lanes<Compute<E>> x;
  for (int i = 0; i < kLanes<Compute<E>>; ++i) x[i] = load(from[i]);
  return x;
}
template <>
SJD2_INLINE Lanes<float> load_lanes<float>(const float* from) {
  Lanes<float> x;
  memcpy(&x, from, sizeof x);
  return x;
}
template <>
SJD2_INLINE Lanes<double> load_lanes<double>(const double* from) {
  Lanes<double> x;
  memcpy(&x, from, sizeof x);
  return x;
}
template <>
SJD2_INLINE Lanes<float> load_lanes<Bfloat16>(const Bfloat16* from) {
  typedef uint16_t Half __attribute__((vector_size(SJD2_VECTOR_BYTES / 2)));
  Half half;
  memcpy(&half, from, sizeof half);
  return reinterpret_cast<Lanes<float>>(__builtin_convertvector(half, Lanes<uint32_t>) << 16);
}
#ifdef __F16C__
template <>
SJD2_INLINE Lanes<float> load_lanes<Float16>(const Float16* from) {
  typedef short Eight __attribute__((vector_size(16)));
  Lanes<float> x;
  for (int i = 0; i < kLanes<float>; i += 8) {
    Eight half;
    memcpy(&half, from + i, sizeof half);
    const auto eight = __builtin_ia32_vcvtph2ps256(half);
    memcpy(reinterpret_cast<char*>(&x) + i * sizeof(float), &eight, sizeof eight);
  }
  return x;
}
#endif

template <class T>
SJD2_INLINE void store_lanes(T* to, Lanes<T> x) {
  memcpy(to, &x, sizeof x);
}

// Lane-wise larger value; a NaN in x is passed over.
template <class T>
SJD2_INLINE Lanes<T> larger(Lanes<T> best, Lanes<T> x) {
  return x > best ? x : best;
}

template <class T>
SJD2_INLINE T largest(Lanes<T> x) {
  T best = x[0];
  for (int i = 1; i < kLanes<T>; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

// Sum by halves: lane i and lane i + width/2 first.
template <class T>
SJD2_INLINE T sum(Lanes<T> x) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) x[i] += x[i + step];
  return x[0];
}

// e**x for x <= 0, x below -69 read as -69 (no denormals, also not in products); NaN stays NaN. The polynomial of
// sjd2/exp2.h, where multiplies and adds may be fused: good to 2 units of 2**-24.
SJD2_INLINE Lanes<float> exp_lanes(Lanes<float> x) {
  x = (x < -69.0f ? splat(-69.0f) : x) * 1.4426950408889634f;
  const Lanes<float> n = (x + 12582912.0f) - 12582912.0f;  // + 1.5 * 2**23 rounds to an integer
  const Lanes<float> f = x - n;
  Lanes<float> r = f * 0.00015353362f + 0.0013398875f;
  r = r * f + 0.009618437f;
  r = r * f + 0.055503324f;
  r = r * f + 0.24022648f;
  r = r * f + 0.6931472f;
  r = r * f + 1.0f;
  const Lanes<int32_t> shift = __builtin_convertvector(n, Lanes<int32_t>) << 23;
  return reinterpret_cast<Lanes<float>>(reinterpret_cast<Lanes<int32_t>>(r) + shift);
}
SJD2_INLINE Lanes<double> exp_lanes(Lanes<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

template <int... i>
struct Indices {};

// Swaps the off-diagonal blocks of size `step` of a pair of rows that stand `step` apart.
template <int step, class Vector, int... i>
SJD2_INLINE void swap_blocks(Vector& a, Vector& b, Indices<i...>) {
  constexpr int width = sizeof...(i);
  const Vector low = __builtin_shufflevector(a, b, (i & step ? width + i - step : i)...);
  b = __builtin_shufflevector(a, b, (i & step ? width + i : i + step)...);
  a = low;
}

template <class T, int step = kLanes<T> / 2>
SJD2_INLINE void transpose(Lanes<T> (&x)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i) {
    if (!(i & step)) swap_blocks<step>(x[i], x[i + step], Indices<__integer_pack(kLanes<T>)...>{});
  }
  if constexpr (step > 1) transpose<T, step / 2>(x);
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
