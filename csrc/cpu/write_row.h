// Writing a row of probabilities once. Big outputs bypass the cache (non-temporal stores): nobody reads most of them soon, and
// an ordinary store would first read the line it is about to overwrite.
#pragma once

#include "simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr int64_t kStreamedElements = int64_t(1) << 21;  // 8 MiB of float32: more than stays in the near caches

SJD2_INLINE bool aligned(const float* p) { return reinterpret_cast<uintptr_t>(p) % sizeof(VF) == 0; }

SJD2_INLINE void stream_vector(float* to, VF v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps(to, (__m128)v);
#else
  store_vector(to, v);
#endif
}

SJD2_INLINE void stream_fence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

SJD2_INLINE void fill_zero(float* p, int64_t V) { memset(p, 0, size_t(V) * sizeof(float)); }

// p = values / divisor; values is readable up to the next multiple of W.
SJD2_INLINE void write_divided(float* p, int64_t V, const float* values, float divisor, bool streamed) {
  const int64_t whole = V / W * W;
  if (streamed && aligned(p)) {
    for (int64_t i = 0; i < whole; i += W) stream_vector(p + i, load_vector<VF>(values + i) / divisor);
    stream_fence();
  } else {
    for (int64_t i = 0; i < whole; i += W) store_vector(p + i, load_vector<VF>(values + i) / divisor);
  }
  for (int64_t i = whole; i < V; ++i) p[i] = values[i] / divisor;
}

// p = 0 but for the n listed values; ids ascend.
SJD2_INLINE void write_listed(float* p, int64_t V, const float* values, const uint32_t* ids, int64_t n, bool streamed) {
  if (!streamed || !aligned(p)) {
    fill_zero(p, V);
    for (int64_t i = 0; i < n; ++i) p[ids[i]] = values[i];
    return;
  }
  constexpr int64_t kBlock = 1024;
  alignas(64) float block[kBlock];
  int64_t next = 0;
  for (int64_t start = 0; start < V; start += kBlock) {
    const int64_t count = V - start < kBlock ? V - start : kBlock, whole = count / W * W;
    memset(block, 0, sizeof block);
    for (; next < n && int64_t(ids[next]) < start + count; ++next) block[int64_t(ids[next]) - start] = values[next];
    for (int64_t i = 0; i < whole; i += W) stream_vector(p + start + i, load_vector<VF>(block + i));
    for (int64_t i = whole; i < count; ++i) p[start + i] = block[i];
  }
  stream_fence();
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
