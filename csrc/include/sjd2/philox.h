// Philox4x32-10 (Salmon et al., SC 2011) and the counter layout of RNG v1:
//   key = (low, high) word of the seed; counter = (index >> 2, position, stream, epoch); word = index & 3.
#pragma once

#include "config.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

enum Stream : uint32_t { kDraft = 0, kAccept = 1, kResidual = 2, kNoise = 3, kInitial = 4 };

struct Words {
  uint32_t w[4];
};

SJD2_INLINE Words philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t(0xD2511F53u) * c0;
    const uint64_t product1 = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(product1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(product1);
    c2 = uint32_t(product0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The generator of one (seed, position, stream, epoch): everything but the index.
struct Generator {
  uint32_t position, stream, epoch, key0, key1;

  SJD2_INLINE static Generator at(int64_t seed, int64_t position, Stream stream, int64_t epoch) {
    return {uint32_t(position), uint32_t(stream), uint32_t(epoch), uint32_t(seed), uint32_t(uint64_t(seed) >> 32)};
  }
  // The words of indices 4 * group .. 4 * group + 3.
  SJD2_INLINE Words group(uint32_t group) const { return philox(group, position, stream, epoch, key0, key1); }
  SJD2_INLINE uint32_t word(uint64_t index) const { return group(uint32_t(index >> 2)).w[index & 3]; }
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
