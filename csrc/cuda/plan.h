// How many blocks and threads take a row, and where its cells live. Plain arithmetic, so that tests can see every case.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sjd2 {

struct Plan {
  int ranks, threads;
  int part;     // ids of each block, a multiple of 4
  bool parked;  // cells in p instead of shared memory
};

// What a device offers a block.
struct Limits {
  size_t shared;  // bytes of shared memory, with opt-in
  bool clusters;  // blocks that read each other's shared memory (compute capability 9.0 and later)
};

constexpr int kMostIdsOfABlock = 48 * 1024;
// A multiprocessor has 65536 registers: 64 for each of 1024 threads, 128 for each of 512.
constexpr int kThreadsOfProcessLogits = 1024, kThreadsOfVerifyAccept = 512;

inline int part_of(int64_t V, int ranks) { return int((V + 4 * ranks - 1) / (4 * ranks)) * 4; }

// Two quads or more to a thread, in powers of two from 128 to `most`.
inline int threads_of(int part, int most) {
  int threads = 128;
  while (threads < most && part > 8 * threads) threads *= 2;
  return threads;
}

// One block while the row fits its shared memory beside `fixed` bytes, then a cluster, then one block that parks its cells.
inline Plan plan_process_logits(int64_t V, const Limits& limits, size_t fixed) {
  for (int ranks = 1; ranks <= (limits.clusters ? 8 : 1); ranks *= 2) {
    const int part = part_of(V, ranks);
    if (part <= kMostIdsOfABlock && fixed + size_t(part) * 4 <= limits.shared)
      return {ranks, threads_of(part, kThreadsOfProcessLogits), part, false};
  }
  return {1, kThreadsOfProcessLogits, part_of(V, 1), true};
}

// A race over one row while the other multiprocessors idle: at least 4096 ids to a block, up to a cluster of 8.
inline Plan plan_verify_accept(int64_t V, const Limits& limits) {
  int ranks = 1;
  while (limits.clusters && ranks < 8 && V >= 8192 * int64_t(ranks)) ranks *= 2;
  const int part = part_of(V, ranks);
  return {ranks, threads_of(part, kThreadsOfVerifyAccept), part, false};
}

}  // namespace sjd2
