// Philox for W counters at a time, and the words of RNG v1 for consecutive ids or for a list of ids.
//
// The state lives in the low halves of 64-bit lanes (even counters in one vector, odd ones in another): a widening multiply
// reads only low halves, so nothing has to be masked between rounds.
#pragma once

#include "sjd2/exponential.h"
#include "sjd2/philox.h"
#include "simd.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

struct WordVectors {
  VU w[4];
};

struct HalfState {
  VL c0, c1, c2, c3;

  SJD2_INLINE void round(uint32_t k0, uint32_t k1) {
    const VL product0 = multiply_low(c0, VL{} + 0xD2511F53u);
    const VL product1 = multiply_low(c2, VL{} + 0xCD9E8D57u);
    const VL next0 = (product1 >> 32) ^ c1 ^ (VL{} + k0);
    const VL next2 = (product0 >> 32) ^ c3 ^ (VL{} + k1);
    c0 = next0;
    c1 = product1;
    c2 = next2;
    c3 = product0;
  }
};

SJD2_INLINE VU merge(VL even, VL odd) { return (VU)((even & 0xFFFFFFFFu) | (odd << 32)); }

// The four words of W groups (group = id >> 2).
SJD2_INLINE WordVectors words_of_groups(const Generator& generator, VU group) {
  const VL position = VL{} + generator.position, stream = VL{} + uint32_t(generator.stream), epoch = VL{} + generator.epoch;
  HalfState even{(VL)group, position, stream, epoch};
  HalfState odd{(VL)group >> 32, position, stream, epoch};
  uint32_t k0 = generator.key0, k1 = generator.key1;
  for (int i = 0; i < 10; ++i) {
    even.round(k0, k1);
    odd.round(k0, k1);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{merge(even.c0, odd.c0), merge(even.c1, odd.c1), merge(even.c2, odd.c2), merge(even.c3, odd.c3)}};
}

SJD2_INLINE VF uniform(VU word) {
#if defined(__AVX512F__)
  return uniform_of_float(__builtin_convertvector(word, VF));
#else
  const VF high = __builtin_convertvector((VI)(word >> 16), VF), low = __builtin_convertvector((VI)(word & 0xFFFFu), VF);
  return uniform_of_float(join_halves(high, low));
#endif
}

// Uniforms of W ids in any order.
SJD2_INLINE VF uniforms_of_ids(const Generator& generator, VU id) {
  const WordVectors words = words_of_groups(generator, id >> 2);
  const VI low = (VI)(id & 1u) != 0, high = (VI)(id & 2u) != 0;
  const VU first = low ? words.w[1] : words.w[0], second = low ? words.w[3] : words.w[2];
  return uniform(high ? second : first);
}

// Uniforms of the 4 W consecutive ids that start at 4 * group, in the order of the ids.
struct ConsecutiveUniforms {
  VF u[4];
};

SJD2_INLINE ConsecutiveUniforms uniforms_of_consecutive(const Generator& generator, uint32_t group) {
  // lanes hold groups in the order in which the 128-bit interleaves below leave their words consecutive
  VU lane;
  for (int i = 0; i < W; ++i) lane[i] = uint32_t((i % 4) * (W / 4) + i / 4);
  const WordVectors words = words_of_groups(generator, lane + group);
  VI low_pairs, high_pairs, low_quads, high_quads;
  for (int block = 0; block < W; block += 4) {
    for (int i = 0; i < 4; ++i) {
      low_pairs[block + i] = block + i / 2 + (i % 2 ? W : 0);
      high_pairs[block + i] = block + 2 + i / 2 + (i % 2 ? W : 0);
      low_quads[block + i] = block + i % 2 + (i / 2 ? W : 0);
      high_quads[block + i] = block + 2 + i % 2 + (i / 2 ? W : 0);
    }
  }
  const VU a = __builtin_shuffle(words.w[0], words.w[1], (VU)low_pairs);
  const VU b = __builtin_shuffle(words.w[2], words.w[3], (VU)low_pairs);
  const VU c = __builtin_shuffle(words.w[0], words.w[1], (VU)high_pairs);
  const VU d = __builtin_shuffle(words.w[2], words.w[3], (VU)high_pairs);
  return {{uniform(__builtin_shuffle(a, b, (VU)low_quads)), uniform(__builtin_shuffle(a, b, (VU)high_quads)),
           uniform(__builtin_shuffle(c, d, (VU)low_quads)), uniform(__builtin_shuffle(c, d, (VU)high_quads))}};
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
