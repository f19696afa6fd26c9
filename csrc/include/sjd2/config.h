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

#ifdef __CUDACC__
#define SJD2_INLINE __host__ __device__ __forceinline__
#else
#define SJD2_INLINE inline __attribute__((always_inline))
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

}  // namespace SJD2_TARGET
}  // namespace sjd2
