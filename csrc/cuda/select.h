// Radix selection in a team: the largest key t for which the measures of all keys >= t add up to at least `need`. With measure
// 1 that is the need-th largest key; with masses it is the cut of top-p. Three passes over the team's elements, 11, 11 and 10
// bits of the key each; exact sums in 64 bits, so the order of the additions does not matter.
#pragma once

#include "team.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

struct Selected {
  uint32_t key;
  int64_t above, here;  // sum of the measures of the keys > key, and of those equal to it
};

// One member's additions to its block's histogram. A run of one bin costs one addition: equal scores would queue up otherwise.
// kWide: sums of 2**32 and more occur.
template <bool kWide, class Team>
struct Tally {
  Team& team;
  Bins& bins;
  uint32_t bin = 0;
  uint64_t sum = 0;

  SJD2_TEAM void add(uint32_t to, uint64_t measure) {
    if (to != bin) {
      flush();
      bin = to;
    }
    sum += measure;
  }

  SJD2_TEAM void flush() {
    if (sum == 0) return;
    const uint32_t low = uint32_t(sum), before = team.add(&bins.low[bin], low);
    if (kWide) {
      const uint32_t high = uint32_t(sum >> 32) + (before + low < low ? 1 : 0);  // exactly one addition sees each carry
      if (high != 0) team.add(&bins.high[bin], high);
    }
    sum = 0;
  }
};

// The bin that holds the need-th unit of measure from the top, and the sum above it, into the bins of every block.
template <class Team>
SJD2_TEAM void search_bins(Team& team, int64_t need) {
  const int share = (kBins + team.threads() - 1) / team.threads();  // bins of one member, counted from the top
  const auto sum_of = [&](int i) {
    int64_t sum = 0;
    for (int rank = 0; i < kBins && rank < team.ranks(); ++rank) sum += team.bins(rank).sum(kBins - 1 - i);
    return sum;
  };
  team.scan(
      [&](Member m) {
        int64_t sum = 0;
        for (int i = m.thread * share; i < (m.thread + 1) * share; ++i) sum += sum_of(i);
        return sum;
      },
      [&](Member m, int64_t before) {
        for (int i = m.thread * share; i < (m.thread + 1) * share; ++i) {
          const int64_t through = before + sum_of(i);
          if (before < need && need <= through) {
            team.bins(m.rank).bin = uint32_t(kBins - 1 - i);
            team.bins(m.rank).above = before;
          }
          before = through;
        }
      });
}

// visit(member, take) calls take(key, measure) for each element of the member. The measures add up to at least need >= 1.
// Invariant: elements whose leading bits exceed `prefix` have measure `above` < need, with those equal to it at least need.
template <bool kWide, class Team, class Visit>
SJD2_TEAM Selected select_largest(Team& team, int64_t need, Visit visit) {
  Selected found{0, 0, 0};
  SJD2_UNROLL(1)
  for (int pass = 0; pass < 3; ++pass) {
    const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0, bits = pass == 2 ? 10 : 11;
    const uint32_t mask = (1u << bits) - 1, prefix = found.key;
    team.each([&](Member m) {
      for (int i = m.thread; i < kBins; i += team.threads()) team.bins(m.rank).low[i] = team.bins(m.rank).high[i] = 0;
    });
    team.each([&](Member m) {
      Tally<kWide, Team> tally{team, team.bins(m.rank)};
      visit(m, [&](uint32_t key, uint64_t measure) {
        if (pass == 0 || key >> (shift + bits) == prefix) tally.add(key >> shift & mask, measure);
      });
      tally.flush();
    });
    search_bins(team, need - found.above);
    const uint32_t bin = team.own_bins().bin;
    found.key = prefix << bits | bin;
    found.above += team.own_bins().above;
    found.here = 0;
    for (int rank = 0; rank < team.ranks(); ++rank) found.here += team.bins(rank).sum(int(bin));
    team.each([](Member) {});  // the histogram is read before the next pass clears it
  }
  return found;
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
