// Writing a row of probabilities once. Big outputs bypass the cache (non-temporal stores): nobody reads most of them soon, and
// an ordinary store would first read the line it is about to overwrite.
#pragma once

#include "simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr int64_t kStreamedElements = int64_t(1) << 19;  // 2 MiB of float32: more than stays in the near caches

SJD2_INLINE void fill_zero(float* p, int64_t V) { memset(p, 0, size_t(V) * sizeof(float)); }

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

struct RowWriter {
  float* p;
  int64_t V;
  bool streamed;

  RowWriter(float* p, int64_t V, bool big) : p(p), V(V), streamed(big && reinterpret_cast<uintptr_t>(p) % sizeof(VF) == 0) {}
  ~RowWriter() {
#ifdef __SSE2__
    if (streamed) _mm_sfence();
#endif
  }

  // p[i..i+W-1] = v, for i a multiple of W; what lies past V is dropped.
  SJD2_INLINE void put(int64_t i, VF v) const {
    if (i + W > V) {
      for (int lane = 0; i + lane < V; ++lane) p[i + lane] = v[lane];
    } else if (streamed) {
      stream_vector(p + i, v);
    } else {
      store_vector(p + i, v);
    }
  }
};

// p = 0 but for the n listed values, whose ids ascend. Written as the values become known, so that memory takes the zeros while
// what gives the values computes.
struct ListWriter {
  RowWriter row;
  const float* values;
  const uint32_t* ids;
  int64_t n, next = 0, start = 0;

  ListWriter(float* p, int64_t V, const float* values, const uint32_t* ids, int64_t n, bool big)
      : row(p, V, big), values(values), ids(ids), n(n) {}

  // The first `known` values will not change any more.
  SJD2_INLINE void advance(int64_t known) {
    if (!row.streamed) return;
    for (const int64_t below = known < n ? int64_t(ids[known]) : row.V; start + kBlock <= below;) write_block(start + kBlock);
  }

  SJD2_INLINE void finish() {
    if (row.streamed) {
      advance(n);
      if (start < row.V) write_block(row.V);
    } else {
      fill_zero(row.p, row.V);
      for (int64_t i = 0; i < n; ++i) row.p[ids[i]] = values[i];
    }
  }

 private:
  static constexpr int64_t kBlock = 256;
  alignas(64) float block[kBlock] = {};

  SJD2_INLINE void write_block(int64_t end) {
    int64_t used = next;
    for (; next < n && int64_t(ids[next]) < end; ++next) block[int64_t(ids[next]) - start] = values[next];
    for (int64_t i = start; i < end; i += W) row.put(i, load_vector<VF>(block + (i - start)));
    for (; used < next; ++used) block[int64_t(ids[used]) - start] = 0.0f;  // much less work than clearing the block
    start = end;
  }
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
