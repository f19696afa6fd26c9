// Standard normals of a block of channels, laid out so that Philox and Box-Muller run in vector registers.
#pragma once

#include "cpu/philox_simd.h"
#include "sjd2/normal.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr int kNormalBlock = 256;  // channels at a time: the buffers stay in the first-level cache

// eps[0 .. kNormalBlock): the normals of channels first .. of stream 3 at this generator; first is a multiple of 4.
template <class Real>
inline void normal_block(const Generator& generator, int64_t first, Real* eps) {
  constexpr int kGroups = kNormalBlock / 4;
  uint32_t word[4][kGroups];
  for (int i = 0; i < kGroups; i += W) {
    const WordVectors words = words_of_groups(generator, (VU)iota() + (uint32_t(first / 4) + uint32_t(i)));
    for (int k = 0; k < 4; ++k) store_vector(word[k] + i, words.w[k]);
  }
  for (int i = 0; i < kGroups; ++i) {
    const Pair<Real> low = box_muller<Real>(word[0][i], word[1][i]);
    const Pair<Real> high = box_muller<Real>(word[2][i], word[3][i]);
    eps[4 * i] = low.cosine;
    eps[4 * i + 1] = low.sine;
    eps[4 * i + 2] = high.cosine;
    eps[4 * i + 3] = high.sine;
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
