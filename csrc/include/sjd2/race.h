// The exponential race: the candidate with the smallest E / weight wins, ties to the lowest id. Identical bits everywhere:
// a filter skips candidates that cannot win, and the exact time is computed for the rest.
//
// Filter: E >= u (1 - 2**-22), hence time >= u / w (1 - 2**-21) > best once u > best * w * kMargin. A weight that is not above
// zero (NaN included) never passes: u is above zero, and best * w is not.
#pragma once

#include "exponential.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr float kMargin = 1.00001f;
constexpr float kSlowest = 3.4028234663852886e38f;  // a denormal weight may give inf, and is still a candidate

struct Race {
  float time = kInfinity;
  int64_t id = -1;  // none yet

  SJD2_INLINE bool may_win(float u, float weight) const { return u <= (time * kMargin) * weight; }

  // Candidates come with ascending ids.
  SJD2_INLINE void offer(float u, float weight, int64_t candidate) {
    const float exact = divide(exponential(u), weight);
    const float finite = exact < kSlowest ? exact : kSlowest;
    if (finite < time) {
      time = finite;
      id = candidate;
    }
  }
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
