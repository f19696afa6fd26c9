// What every header shares: host/device markers, the target namespace, bit casts.
//
// A CPU kernel file is compiled once per instruction set, with SJD2_TARGET naming the namespace; inline functions of the
// headers then have different names in each, so that the linker can never hand AVX-512 code to an older machine.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef SJD2_TARGET
#define SJD2_TARGET baseline
#endif

// SJD2_INLINE: pieces for host and device. SJD2_TEAM: what the threads of a team (cuda/team.h) run together; device code, or
// under a plain C++ compiler the same code for tests.
#ifdef __CUDACC__
#define SJD2_INLINE __host__ __device__ __forceinline__
#define SJD2_TEAM __device__ __forceinline__
#define SJD2_PRAGMA(text) _Pragma(#text)
#define SJD2_UNROLL(n) SJD2_PRAGMA(unroll n)
#else
#define SJD2_INLINE inline __attribute__((always_inline))
#define SJD2_TEAM inline
#define SJD2_UNROLL(n)
#endif

namespace sjd2 {
inline namespace SJD2_TARGET {

SJD2_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

SJD2_INLINE float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

constexpr float kInfinity = __builtin_huge_valf();

// a / b rounded to nearest, whatever flags a .cu file is compiled with.
SJD2_INLINE float divide(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
