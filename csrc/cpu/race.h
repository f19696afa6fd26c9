// The race for W candidates at a time.
#pragma once

#include "philox_simd.h"
#include "sjd2/race.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

// W candidates with ascending ids (`lanes` of them real).
template <class Id>
SJD2_INLINE void offer_lanes(Race& race, VF u, VF weight, int lanes, Id id_of) {
  uint32_t bits = lane_bits(u <= (VF{} + race.time * kMargin) * weight);
  if (lanes < W) bits &= (1u << lanes) - 1u;
  for (; bits; bits &= bits - 1) {
    const int lane = __builtin_ctz(bits);
    race.offer(u[lane], weight[lane], id_of(lane));
  }
}

// Candidates 0..V-1, weight_at(i) -> VF of ids i..i+W-1 (called once for each multiple of W, in order; lanes past V may hold
// anything). What it does besides, such as a division, runs in the shadow of the generator.
template <class WeightAt>
SJD2_INLINE Race race_all(const Generator& generator, int64_t V, WeightAt weight_at) {
  Race race;
  for (int64_t start = 0; start < V; start += 4 * W) {
    const ConsecutiveUniforms uniforms = uniforms_of_consecutive(generator, uint32_t(start >> 2));
    for (int part = 0; part < 4; ++part) {
      const int64_t i = start + part * W;
      if (i >= V) break;
      offer_lanes(race, uniforms.u[part], weight_at(i), V - i < W ? int(V - i) : W, [i](int lane) { return i + lane; });
    }
  }
  return race;
}

// Candidates listed with ascending ids join a race; weight_at(i) -> VF of ids[i..i+W-1], called as in race_all; ids are readable
// up to the next multiple of W.
template <class WeightAt>
SJD2_INLINE void race_listed(const Generator& generator, const uint32_t* ids, int64_t n, Race& race, WeightAt weight_at) {
  for (int64_t i = 0; i < n; i += W) {
    const VF u = uniforms_of_ids(generator, load_vector<VU>(ids + i));
    offer_lanes(race, u, weight_at(i), n - i < W ? int(n - i) : W, [&](int lane) { return int64_t(ids[i + lane]); });
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
