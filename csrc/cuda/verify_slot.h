// verify_accept by a team: the scan of an image's L ratios, then one race over the row of its first rejected slot. Under
// `couple` each slot has a team of its own, since every rejected slot takes its residual sample whatever the others do; the
// team of slot 0 finds the accepted length as well.
#pragma once

#include "race_quads.h"
#include "sjd2/verify_accept.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

SJD2_INLINE int64_t teams_of_image(const VerifyAcceptArguments& a) { return a.redraw == Redraw::kCouple && a.L > 0 ? a.L : 1; }

// The token of a rejected slot: a residual sample; a draw from p where nothing was drafted, or rounding left no residual.
template <class Team>
SJD2_TEAM void replace(Team& team, const Row& row, const Image& image, int64_t j) {
  const Generator generator = image.generator(j, kResidual);
  const float *const p = image.p_row(j), *const q = image.q_row(j);
  const bool p_aligned = aligned_quads(p), q_aligned = aligned_quads(q);
  int64_t id = -1;
  SJD2_UNROLL(1)
  for (int round = image.valid(j) ? 0 : 1; round < 2 && id < 0; ++round) {
    id = race_quads(team, row, generator, kInfinity, [&](Member, int at) {
      Four<float> weight = load_four(p, at, row.V, p_aligned, 0.0f);
      if (round == 0) {
        const Four<float> drawn_from = load_four(q, at, row.V, q_aligned, 0.0f);
        SJD2_UNROLL(4)
        for (int i = 0; i < 4; ++i) weight.x[i] = weight.x[i] - drawn_from.x[i];
      }
      return weight;
    });
  }
  team.once([&] { image.a.tokens[image.at(j)] = id < 0 ? 0 : id; });
}

template <class Team>
SJD2_TEAM int first_rejected(Team& team, const Image& image) {
  const int L = int(image.a.L), members = team.ranks() * team.threads();
  return team.reduce(
      L,
      [&](Member m) {
        for (int j = m.rank * team.threads() + m.thread; j < L; j += members)
          if (!image.judge(j).accepted) return j;
        return L;
      },
      [](int a, int b) { return a < b ? a : b; });
}

// The slots begin .. end - 1 of the image, all but the replacement that a race draws.
template <class Team>
SJD2_TEAM void settle(Team& team, const Image& image, int n, int begin, int end) {
  const int members = team.ranks() * team.threads();
  const bool skipped = image.skipped();
  team.each([&](Member m) {
    for (int j = begin + m.rank * team.threads() + m.thread; j < end; j += members) {
      const Verdict verdict = skipped ? Verdict{false, 0.0f} : image.judge(j);
      const int64_t token = skipped ? -1 : image.token(j, n, verdict);
      if (token != kPending) image.a.tokens[image.at(j)] = token;
      image.a.ratio[image.at(j)] = verdict.ratio;
    }
  });
}

// The whole image, or under `couple` its slot `own`.
template <class Team>
SJD2_TEAM void verify(Team& team, const Row& row, const Image& image, int own) {
  const int L = int(image.a.L);
  const bool couple = image.a.redraw == Redraw::kCouple;
  int n = -1;  // under `couple` a token does not depend on which slot is the first rejected one
  if (own == 0) {
    const int first = image.skipped() ? 0 : first_rejected(team, image);
    team.once([&] { image.a.accept_len[image.b] = first; });
    if (!couple) n = first;
  }
  settle(team, image, n, couple ? own : 0, couple && own < L ? own + 1 : L);
  const int j = couple ? own : n;
  if (image.skipped() || j >= L || image.judge(j).accepted || image.replacement(j) != kPending) return;
  replace(team, row, image, j);
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
