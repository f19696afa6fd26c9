// The team on the device: the threads of a block, or of a cluster of blocks that read each other's shared memory (9.0 and
// later).
//
// Reductions go warp, block, cluster. Their mailboxes are used in turn: between two uses of one of them every member has passed
// the barrier of the other, so one barrier per reduction is enough.
#pragma once

#include "team.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr int kWarp = 32;

struct alignas(16) Mail {
  uint32_t w[4];
};

// One per block, in shared memory.
struct Mailboxes {
  Mail warp[2][kMaxThreads / kWarp];
  Mail block[2];
};

// Values of up to four words between the lanes of a warp.
template <class V, class Shuffle>
__device__ __forceinline__ V shuffled(V v, Shuffle shuffle) {
  static_assert(sizeof(V) % 4 == 0 && sizeof(V) <= sizeof(Mail), "four words travel together");
  uint32_t words[sizeof(V) / 4];
  memcpy(words, &v, sizeof v);
#pragma unroll
  for (int i = 0; i < int(sizeof(V) / 4); ++i) words[i] = shuffle(words[i]);
  memcpy(&v, words, sizeof v);
  return v;
}

template <class V>
__device__ __forceinline__ V* content(Mail& mail) {
  return reinterpret_cast<V*>(&mail);
}

// kClusters: whether there may be more than one block to a team.
template <bool kClusters>
class DeviceTeam {
 public:
  __device__ __forceinline__ DeviceTeam(int ranks, Mailboxes* mail, Bins* bins, Quad* cells)
      : ranks_(ranks), mail_(mail), bins_(bins), cells_(cells) {}

  __device__ __forceinline__ int ranks() const { return kOneBlock ? 1 : ranks_; }
  __device__ __forceinline__ int threads() const { return int(blockDim.x); }
  __device__ __forceinline__ Bins& bins(int rank) { return *of_rank(bins_, rank); }
  __device__ __forceinline__ Bins& own_bins() { return *bins_; }
  __device__ __forceinline__ Quad* cells(int) { return cells_; }

  template <class F>
  __device__ __forceinline__ void each(F f) {
    f(me());
    barrier();
  }

  template <class F>
  __device__ __forceinline__ void once(F f) {
    if (me().rank == 0 && threadIdx.x == 0) f();
  }

  template <class V, class F, class Combine>
  __device__ __forceinline__ V reduce(V none, F f, Combine combine) {
    V v = within_warp(f(me()), combine);
    Mail* box = next_box();
    if (lane() == 0) *content<V>(box[warp()]) = v;
    __syncthreads();
    v = within_warp(lane() < warps() ? *content<V>(box[lane()]) : none, combine);
    if (ranks() == 1) return v;
    if (threadIdx.x == 0) *content<V>(mail_->block[turn_ & 1]) = v;
    barrier();
    v = none;
    for (int rank = 0; rank < ranks(); ++rank) v = combine(v, *content<V>(of_rank(mail_, rank)->block[turn_ & 1]));
    return v;
  }

  template <class F, class G>
  __device__ __forceinline__ void scan(F f, G g) {
    const int64_t mine = f(me()), through_me = prefix_in_warp(mine);
    Mail* box = next_box();
    if (lane() == kWarp - 1) *content<int64_t>(box[warp()]) = through_me;
    __syncthreads();
    const int64_t warps_through = prefix_in_warp(lane() < warps() ? *content<int64_t>(box[lane()]) : 0);
    const int64_t warps_before = __shfl_sync(~0u, warps_through, warp() > 0 ? warp() - 1 : 0);
    g(me(), (warp() > 0 ? warps_before : 0) + through_me - mine);
    barrier();
  }

  __device__ __forceinline__ uint32_t add(uint32_t* cell, uint32_t x) { return atomicAdd(cell, x); }  // integer

  // The last thing a block does: until then others may read its shared memory.
  __device__ __forceinline__ void leave() { barrier(); }

 private:
#if __CUDA_ARCH__ >= 900
  static constexpr bool kOneBlock = !kClusters;
#else
  static constexpr bool kOneBlock = true;
#endif

  // read from special registers each time, which keeps it out of the others
  __device__ __forceinline__ Member me() const {
#if __CUDA_ARCH__ >= 900
    return {kOneBlock ? 0 : int(__clusterRelativeBlockRank()), int(threadIdx.x)};
#else
    return {0, int(threadIdx.x)};
#endif
  }
  __device__ __forceinline__ int lane() const { return int(threadIdx.x) % kWarp; }
  __device__ __forceinline__ int warp() const { return int(threadIdx.x) / kWarp; }
  __device__ __forceinline__ int warps() const { return threads() / kWarp; }
  __device__ __forceinline__ Mail* next_box() { return mail_->warp[++turn_ & 1]; }

  __device__ __forceinline__ void barrier() {
#if __CUDA_ARCH__ >= 900
    if (ranks() > 1) {
      __cluster_barrier_arrive();
      __cluster_barrier_wait();
      return;
    }
#endif
    __syncthreads();
  }

  template <class S>
  __device__ __forceinline__ S* of_rank(S* own, int rank) const {
#if __CUDA_ARCH__ >= 900
    if (ranks() > 1) return static_cast<S*>(__cluster_map_shared_rank(own, unsigned(rank)));
#endif
    return own;
  }

  template <class V, class Combine>
  __device__ __forceinline__ V within_warp(V v, Combine combine) const {
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2)
      v = combine(v, shuffled(v, [step](uint32_t word) { return __shfl_xor_sync(~0u, word, step); }));
    return v;
  }

  // Sum over this lane and those before it.
  __device__ __forceinline__ int64_t prefix_in_warp(int64_t v) const {
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int64_t before = __shfl_up_sync(~0u, v, unsigned(step));
      if (lane() >= step) v += before;
    }
    return v;
  }

  int ranks_;
  Mailboxes* mail_;
  Bins* bins_;
  Quad* cells_;
  int turn_ = 0;
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
