// Vectors of either compute type, as wide as the target's registers: what a kernel needs that is written once for float and
// double. Lanes never influence each other, except in the reductions, whose order is fixed.
#pragma once

#include "cpu/simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

template <class T>
struct LanesOf;
template <>
struct LanesOf<float> {
  using type = VF;
};
template <>
struct LanesOf<double> {
  using type = VHalfD;
};
template <class T>
using Lanes = typename LanesOf<T>::type;
template <class T>
constexpr int kLanes = sizeof(Lanes<T>) / sizeof(T);

template <class T>
SJD2_INLINE Lanes<T> splat(T x) {
  return x - Lanes<T>{};
}

// kLanes<Compute<E>> consecutive elements, converted; no alignment is asked for.
template <class E>
SJD2_INLINE Lanes<Compute<E>> load_lanes(const E* from) {
  if constexpr (sizeof(E) == sizeof(double)) return load_vector<VHalfD>(from);
  else return load_floats(from);
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

// Sum by halves: lane i and lane i + lanes / 2 first.
template <class T>
SJD2_INLINE T sum(Lanes<T> x) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) x[i] += x[i + step];
  return x[0];
}

// e**x for x <= 0; in float32 never below 2**-64, and good to 2 units of 2**-24. NaN stays NaN.
SJD2_INLINE VF exp_lanes(VF x) { return exp2_poly(x * kLog2E); }
SJD2_INLINE VHalfD exp_lanes(VHalfD x) {
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
