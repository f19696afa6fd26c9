// Vectors of the target's width through the compiler's vector extension, and the few operations it has no operator for.
//
// W lanes of 32 bits: 16 with AVX-512, 8 with AVX2, 4 otherwise. Arithmetic is lane by lane IEEE, so results do not depend on W.
#pragma once

#include "sjd2/config.h"
#include "sjd2/real.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace sjd2 {
inline namespace SJD2_TARGET {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float VF __attribute__((vector_size(4 * W)));
typedef int32_t VI __attribute__((vector_size(4 * W)));
typedef uint32_t VU __attribute__((vector_size(4 * W)));
typedef uint64_t VL __attribute__((vector_size(4 * W)));  // W / 2 lanes of 64 bits
typedef double VD __attribute__((vector_size(8 * W)));
typedef double VHalfD __attribute__((vector_size(4 * W)));  // the doubles of half a VF; a full VD does not fit a register
typedef uint16_t VH __attribute__((vector_size(2 * W)));

// What exp2_poly and mass need of a vector; declared before their templates, which find overloads by plain lookup.
SJD2_INLINE VF scale_by_power(VF r, VF n) { return (VF)((VU)r + ((VU) __builtin_convertvector(n, VI) << 23)); }
SJD2_INLINE VF truncate(VF x) { return __builtin_convertvector(__builtin_convertvector(x, VI), VF); }

}  // namespace SJD2_TARGET
}  // namespace sjd2

#include "sjd2/exp2.h"
#include "sjd2/mass.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

template <class V, class T>
SJD2_INLINE V load_vector(const T* from) {
  V v;
  memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T>
SJD2_INLINE void store_vector(T* to, V v) {
  memcpy(to, &v, sizeof v);
}

// W consecutive elements as float32.
SJD2_INLINE VF load_floats(const float* from) { return load_vector<VF>(from); }
SJD2_INLINE VF load_floats(const double* from) { return __builtin_convertvector(load_vector<VD>(from), VF); }
SJD2_INLINE VF load_floats(const Bfloat16* from) {
  return (VF)(__builtin_convertvector(load_vector<VH>(from), VU) << 16);
}
SJD2_INLINE VF load_floats(const Float16* from) {
#if defined(__AVX512F__)
  return (VF)_mm512_cvtph_ps((__m256i)load_vector<VH>(from));
#elif defined(__AVX2__)
  return (VF)_mm256_cvtph_ps((__m128i)load_vector<VH>(from));
#else
  VF v;
  for (int i = 0; i < W; ++i) v[i] = load(from[i]);
  return v;
#endif
}

SJD2_INLINE VI iota() {
  VI v;
  for (int i = 0; i < W; ++i) v[i] = i;
  return v;
}

constexpr uint32_t kAllLanes = (1u << W) - 1;

// One bit per lane of a comparison's result.
SJD2_INLINE uint32_t lane_bits(VI mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return uint32_t(_mm256_movemask_ps((__m256)mask));
#elif defined(__SSE2__)
  return uint32_t(_mm_movemask_ps((__m128)mask));
#else
  uint32_t bits = 0;
  for (int i = 0; i < W; ++i) bits |= uint32_t(mask[i] & 1) << i;
  return bits;
#endif
}

// Products of the low 32 bits of each 64-bit lane; the high halves of a and b are ignored.
SJD2_INLINE VL multiply_low(VL a, VL b) {
#if defined(__AVX512F__)
  return (VL)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (VL)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (VL)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// For each 8-bit mask the lane numbers of its set bits, in order.
struct CompressTable {
  uint8_t lanes[256][8];
};
constexpr CompressTable compress_table() {
  CompressTable table{};
  for (int mask = 0; mask < 256; ++mask) {
    int n = 0;
    for (int lane = 0; lane < 8; ++lane)
      if (mask >> lane & 1) table.lanes[mask][n++] = uint8_t(lane);
  }
  return table;
}
constexpr CompressTable kCompress = compress_table();
#endif

// Writes the chosen lanes side by side from `to` on. Up to W elements after the last one are overwritten.
SJD2_INLINE void compress_lanes(uint32_t mask, VF value, float* to) {
#if defined(__AVX512F__)
  store_vector(to, _mm512_maskz_compress_ps(__mmask16(mask), (__m512)value));
#elif defined(__AVX2__)
  const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)kCompress.lanes[mask]));
  store_vector(to, _mm256_permutevar8x32_ps((__m256)value, lanes));
#else
  for (int i = 0; i < W; ++i) {
    *to = value[i];
    to += mask >> i & 1;
  }
#endif
}

// Appends the chosen lanes at position n, and returns the new n. The buffers need W spare elements.
SJD2_INLINE int64_t compress_values(VI chosen, VF value, float* values, int64_t n) {
  const uint32_t mask = lane_bits(chosen);
  compress_lanes(mask, value, values + n);
  return n + __builtin_popcount(mask);
}

SJD2_INLINE int64_t compress(VI chosen, VF value, VU id, float* values, uint32_t* ids, int64_t n) {
  const uint32_t mask = lane_bits(chosen);
  compress_lanes(mask, value, values + n);
  compress_lanes(mask, (VF)id, reinterpret_cast<float*>(ids + n));
  return n + __builtin_popcount(mask);
}

// The lower and the upper half of the lanes as doubles (the compiler's own conversion goes through memory).
struct Halves {
  VHalfD low, high;
};
SJD2_INLINE Halves widen(VF v) {
#if defined(__AVX512F__)
  const __m512 x = (__m512)v;
  return {(VHalfD)_mm512_cvtps_pd(_mm512_castps512_ps256(x)), (VHalfD)_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};
#elif defined(__AVX2__)
  const __m256 x = (__m256)v;
  return {(VHalfD)_mm256_cvtps_pd(_mm256_castps256_ps128(x)), (VHalfD)_mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
#elif defined(__SSE2__)
  const __m128 x = (__m128)v;
  return {(VHalfD)_mm_cvtps_pd(x), (VHalfD)_mm_cvtps_pd(_mm_movehl_ps(x, x))};
#else
  Halves halves;
  for (int i = 0; i < W / 2; ++i) {
    halves.low[i] = v[i];
    halves.high[i] = v[i + W / 2];
  }
  return halves;
#endif
}

SJD2_INLINE float largest_lane(VF v) {
  float top = v[0];
  for (int i = 1; i < W; ++i) top = v[i] > top ? v[i] : top;
  return top;
}

SJD2_INLINE int64_t sum_lanes(VI v) {
  int64_t sum = 0;
  for (int i = 0; i < W; ++i) sum += v[i];
  return sum;
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
