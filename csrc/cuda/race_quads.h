// The exponential race in a team: each member races its own quads, the team takes the earliest time and the lowest id.
#pragma once

#include "row.h"
#include "sjd2/philox.h"
#include "sjd2/race.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

// The id that wins among those whose time is below `deadline`, -1 without one. weights_at(member, id) gives a Four<float>.
template <class Team, class WeightsAt>
SJD2_TEAM int64_t race_quads(Team& team, const Row& row, const Generator& generator, float deadline, WeightsAt weights_at) {
  constexpr uint64_t kNobody = ~uint64_t(0);
  const uint64_t best = team.reduce(
      kNobody,
      [&](Member m) {
        Race race;
        race.time = deadline;
        row.quads(team, m, [&](int id) {
          const Four<float> weight = weights_at(m, id);
          if (!(weight.x[0] > 0.0f || weight.x[1] > 0.0f || weight.x[2] > 0.0f || weight.x[3] > 0.0f)) return;
          const Words words = generator.group(uint32_t(id) >> 2);
          SJD2_UNROLL(4)
          for (int i = 0; i < 4; ++i) {
            const float u = uniform(words.w[i]);
            if (race.may_win(u, weight.x[i])) race.offer(u, weight.x[i], id + i);
          }
        });
        return race.id < 0 ? kNobody : uint64_t(bits_of(race.time)) << 32 | uint32_t(race.id);
      },
      [](uint64_t a, uint64_t b) { return a < b ? a : b; });
  return best == kNobody ? -1 : int64_t(uint32_t(best));
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
