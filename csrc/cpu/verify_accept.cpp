// verify_accept in two passes. First per image: L numbers of p and q decide acceptance, and every token but the replacements.
// Then per rejected slot that needs one (the first of an image, or all of them under `couple`): one race over its row.
#include "verify_accept.h"

#include "parallel.h"
#include "race.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

// An image and what a CPU thread does with it.
struct Task : Image {
  // What the verdicts will read lies in L rows far apart, and each is a branch that waits for its numbers: asked for first,
  // they come together.
  void prefetch() const {
    for (int64_t j = 0; j < a.L; ++j) {
      if (!valid(j)) continue;
      __builtin_prefetch(p_row(j) + a.draft[at(j)]);
      __builtin_prefetch(q_row(j) + a.draft[at(j)]);
    }
  }

  void verify() const {
    if (!a.match) prefetch();
    int64_t n = a.L;
    for (int64_t j = 0; j < a.L; ++j) {
      const Verdict verdict = judge(j);
      if (!verdict.accepted && j < n) n = j;
      a.tokens[at(j)] = token(j, n, verdict);
      a.ratio[at(j)] = verdict.ratio;
    }
    a.accept_len[b] = int32_t(n);
  }

  void skip() const {
    a.accept_len[b] = 0;
    for (int64_t j = 0; j < a.L; ++j) {
      a.tokens[at(j)] = -1;
      a.ratio[at(j)] = 0.0f;
    }
  }

  void draw(int64_t j) const {
    const float *p = p_row(j), *q = q_row(j);
    int64_t id = -1;
    if (valid(j)) id = race_positive(j, [&](int64_t i) { return p[i] - q[i]; }, [&](int64_t i) {
      constexpr int64_t kAhead = 512;  // 2 KB, since hardware stops looking ahead at a page's end
      __builtin_prefetch(p + i + kAhead, 0, 2);
      __builtin_prefetch(q + i + kAhead, 0, 2);
      return load_vector<VF>(p + i) - load_vector<VF>(q + i);
    });
    // nothing was drafted, or rounding left no residual
    if (id < 0) id = race_positive(j, [&](int64_t i) { return p[i]; }, [&](int64_t i) { return load_vector<VF>(p + i); });
    a.tokens[at(j)] = id < 0 ? 0 : id;
  }

  // A stream-2 race among the ids with a positive weight: candidates are gathered block by block, since they are few as a rule.
  template <class WeightAt, class WeightsAt>
  int64_t race_positive(int64_t j, WeightAt weight_at, WeightsAt weights_at) const {
    constexpr int64_t kBlock = 2048;
    float weight[kBlock + W];
    uint32_t ids[kBlock + W];
    const Generator random = generator(j, kResidual);
    Race race;
    for (int64_t start = 0; start < a.V; start += kBlock) {
      const int64_t end = a.V - start < kBlock ? a.V : start + kBlock;
      int64_t n = 0, i = start;
      for (; i + W <= end; i += W) {
        const VF w = weights_at(i);
        n = compress(w > 0.0f, w, (VU)iota() + uint32_t(i), weight, ids, n);
      }
      for (; i < end; ++i) {
        weight[n] = weight_at(i);
        ids[n] = uint32_t(i);
        n += weight[n] > 0.0f;
      }
      for (int lane = 0; lane < W; ++lane) {
        weight[n + lane] = 0.0f;
        ids[n + lane] = 0;
      }
      race_listed(random, ids, n, race, [&](int64_t i) { return load_vector<VF>(weight + i); });
    }
    return race.id;
  }
};

}  // namespace

void verify_accept(const VerifyAcceptCall& a) {
  constexpr int64_t kSlotsWorthAThread = 4096, kElementsWorthAThread = 1 << 16;
  parallel_for(a.B, a.B * a.L < kSlotsWorthAThread ? 1 : a.threads, [&](int64_t b) {
    const Task task{{a, b}};
    if (task.skipped()) task.skip();
    else task.verify();
  });
  int64_t pending = 0;
  for (int64_t i = 0; i < a.B * a.L; ++i) pending += a.tokens[i] == kPending;
  if (pending == 0) return;
  const bool worth = pending > 1 && pending * a.V >= kElementsWorthAThread;
  parallel_for(a.B * a.L, worth ? a.threads : 1, [&](int64_t i) {
    if (a.tokens[i] == kPending) Task{{a, i / a.L}}.draw(i % a.L);
  });
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
