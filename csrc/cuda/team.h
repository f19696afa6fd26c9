// A team is the threads of the one to eight blocks that work on a row together. The kernels' algorithms are templates over it:
//
//   ranks(), threads()             blocks of the team, threads of each
//   each(f)                        f(member) by every member; then all have finished
//   reduce(none, f, combine)       combine over all f(member), known to all; combine is exact, so its order does not matter
//   scan(f, g)                     within each block: g(member, sum of f over the block's members before it)
//   once(f)                        f() by one member
//   bins(rank), own_bins()         the histogram of a block, shared by the team; that of the calling member's block
//   cells(rank)                    storage for the block's part of the row; only its own members touch it
//   add(cell, x)                   cell += x by one of many members at a time; returns the old value
//
// Code between these calls is run by every member with the same values. So a serial run of each phase, in any order of the
// members, is the same computation: that is SerialTeam, which the tests use. DeviceTeam (device_team.cuh) is the other one.
#pragma once

#include "sjd2/config.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr int kBins = 2048;
constexpr int kMaxThreads = 1024, kMaxRanks = 8;

struct Member {
  int rank, thread;
};

// Four values of four consecutive ids: what a thread loads at once, and what one call of the generator serves.
struct alignas(16) Quad {
  uint32_t w[4];
};

// A histogram of 64-bit sums as halves, since only 32-bit additions are fast in shared memory.
struct Bins {
  uint32_t low[kBins], high[kBins];
  // what a search found: the bin, and the sum of those above it
  uint32_t bin;
  int64_t above;

  SJD2_TEAM int64_t sum(int i) const { return int64_t(uint64_t(high[i]) << 32 | low[i]); }
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
