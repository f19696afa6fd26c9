// Arguments of verify_accept: docs/operators.md, and what it decides slot by slot. Pointers may be null where the operator's
// argument is optional.
#pragma once

#include "config.h"
#include "exponential.h"
#include "philox.h"

namespace sjd2 {

enum class Redraw : int { kFresh = 0, kCouple = 1, kKeep = 2 };

struct VerifyAcceptArguments {
  const int64_t* draft;  // [B, L]
  const float *p, *q;    // [B, L, V], last axis contiguous
  int64_t p_stride_b, p_stride_l, q_stride_b, q_stride_l;
  const int64_t *seed, *pos;  // [B]
  const int64_t* fresh;       // [B, L]
  const int64_t* epoch;       // [B]
  const uint8_t* verifiable;  // [B, L]
  const int64_t* forced;      // [B, L]
  const int32_t* done;        // [B]
  bool match;
  Redraw redraw;
  int64_t B, L, V;
  int32_t* accept_len;  // [B]
  int64_t* tokens;      // [B, L]
  float* ratio;         // [B, L]
};

inline namespace SJD2_TARGET {

constexpr int64_t kPending = -2;  // a token that a race has yet to draw

struct Verdict {
  bool accepted;
  float ratio;
};

// One image of a call, read slot by slot.
struct Image {
  const VerifyAcceptArguments& a;
  int64_t b;

  SJD2_INLINE int64_t at(int64_t j) const { return b * a.L + j; }
  SJD2_INLINE const float* p_row(int64_t j) const { return a.p + b * a.p_stride_b + j * a.p_stride_l; }
  SJD2_INLINE const float* q_row(int64_t j) const { return a.q + b * a.q_stride_b + j * a.q_stride_l; }
  SJD2_INLINE bool skipped() const { return a.done && a.done[b] != 0; }
  SJD2_INLINE bool forced(int64_t j) const { return a.forced && a.forced[at(j)] >= 0; }
  SJD2_INLINE bool valid(int64_t j) const {
    const int64_t d = a.draft[at(j)];
    return d >= 0 && d < a.V && (!a.verifiable || a.verifiable[at(j)]);
  }
  SJD2_INLINE Generator generator(int64_t j, Stream stream) const {
    const uint64_t slot = uint64_t(a.pos[b]) + uint64_t(j);
    return Generator::at(a.seed[b], int64_t(slot), stream, a.epoch ? a.epoch[b] : 0);
  }

  SJD2_INLINE Verdict judge(int64_t j) const {
    if (forced(j)) return {true, 1.0f};
    if (!valid(j)) return {false, 0.0f};
    const int64_t d = a.draft[at(j)];
    if (a.match) return d == a.fresh[at(j)] ? Verdict{true, 1.0f} : Verdict{false, 0.0f};
    const float pd = p_row(j)[d], qd = q_row(j)[d];
    if (!(qd > 0.0f)) return {false, 0.0f};
    const float u = uniform(generator(j, kAccept).word(0)), ratio = divide(pd, qd);
    return {pd >= qd || u * qd < pd, ratio > 0.0f ? (ratio < 1.0f ? ratio : 1.0f) : 0.0f};
  }

  // What a rejected slot holds; kPending if it takes a race.
  SJD2_INLINE int64_t replacement(int64_t j) const {
    if (a.match || (a.fresh && !valid(j))) return a.fresh[at(j)];
    return kPending;
  }

  // The token of slot j when the first rejected slot is n (L if there is none).
  SJD2_INLINE int64_t token(int64_t j, int64_t n, const Verdict& verdict) const {
    const int64_t draft = a.draft[at(j)], unknown = a.fresh ? a.fresh[at(j)] : -1;
    if (forced(j)) return a.forced[at(j)];
    if (j < n) return draft;
    if (j == n) return replacement(j);
    if (a.redraw == Redraw::kCouple) return verdict.accepted ? draft : replacement(j);
    if (a.redraw == Redraw::kKeep) return verdict.ratio >= 0.5f ? draft : unknown;
    return unknown;
  }
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
