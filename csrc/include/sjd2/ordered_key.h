// Unsigned keys that order like the floats they come from; -0 and +0 share one. NaN has no place in the order.
#pragma once

#include "config.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

SJD2_INLINE uint32_t ordered_key(float x) {
  const uint32_t bits = bits_of(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

SJD2_INLINE float key_value(uint32_t key) { return float_of(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

}  // namespace SJD2_TARGET
}  // namespace sjd2
