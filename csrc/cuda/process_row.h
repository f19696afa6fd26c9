// process_logits for one row, by a team. Scores become ordered keys in the row's cells (the only read of the logits), the k-th
// largest key is found by radix selection, the kept keys become fixed-point masses in the same cells, top-p cuts by a radix
// selection that sums masses, the race draws, and p is written once. Docs: docs/operators.md; every float32 step is one
// rounding.
#pragma once

#include "race_quads.h"
#include "select.h"
#include "sjd2/mass.h"
#include "sjd2/ordered_key.h"
#include "sjd2/process_logits.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

constexpr uint32_t kMaskedKey = 0x007FFFFFu;  // ordered_key(-inf)
constexpr uint32_t kNoId = 0xFFFFFFFFu;
constexpr int kQuadsAtOnce = 2;  // 1024 threads then have 32 KiB of 16-bit logits under way, twice that under guidance

// What the team sees while it reads a row.
struct Seen {
  uint32_t status, lowest;  // lowest id that is not masked
  uint64_t best;            // the largest key over the complement of its lowest id

  SJD2_TEAM static Seen both(const Seen& a, const Seen& b) {
    return {a.status | b.status, a.lowest < b.lowest ? a.lowest : b.lowest, a.best > b.best ? a.best : b.best};
  }
};

// The guided, tempered score of a quad of ids, as csrc/cpu/scores.h.
template <class T>
struct ScoreQuads {
  const T *cond, *uncond;  // uncond may be null
  float guidance, temperature;
  bool cond_aligned, uncond_aligned;
  int V;

  SJD2_TEAM void at(int id, float (&s)[4]) const {
    constexpr float kMasked = -kInfinity;
    const T otherwise = store<T>(kMasked);
    const Four<T> c = load_four(cond, id, V, cond_aligned, otherwise);
    const Four<T> u = uncond ? load_four(uncond, id, V, uncond_aligned, otherwise) : c;
    SJD2_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      const float with = load(c.x[i]), without = load(u.x[i]);
      s[i] = with;
      if (uncond) {
        const float scaled = (with - without) * guidance;
        s[i] = without + scaled;
      }
      if (temperature != 1.0f) s[i] = divide(s[i], temperature);
      if (with == kMasked || without == kMasked) s[i] = kMasked;  // last: -inf over an infinite temperature is NaN
    }
  }
};

template <class T, class Cells, class Team>
SJD2_TEAM Seen read_scores(Team& team, const Cells& cells, const ScoreQuads<T>& scores) {
  return team.reduce(
      Seen{0, kNoId, 0},
      [&](Member m) {
        Seen seen{0, kNoId, 0};
        cells.row.template quads<kQuadsAtOnce>(team, m, [&](int id) {
          float s[4];
          Quad quad;
          scores.at(id, s);
          SJD2_UNROLL(4)
          for (int i = 0; i < 4; ++i) {
            const uint32_t key = ordered_key(s[i]), at = uint32_t(id + i);
            const bool real = id + i < cells.row.V, nan = s[i] != s[i];
            quad.w[i] = real ? key : 0;
            if (nan) seen.status |= kNan;
            if (s[i] == kInfinity) seen.status |= kOverflow;
            if (s[i] != -kInfinity && at < seen.lowest) seen.lowest = at;
            const uint64_t rank = uint64_t(key) << 32 | (kNoId - at);
            if (real && !nan && rank > seen.best) seen.best = rank;
          }
          cells.store(team, m, id, quad);
        });
        return seen;
      },
      [](const Seen& a, const Seen& b) { return Seen::both(a, b); });
}

// Kept keys become masses, as the bits of the float32 that equals them, others 0; returns their sum.
template <class Cells, class Team>
SJD2_TEAM int64_t weigh(Team& team, const Cells& cells, uint32_t lowest_kept, float top) {
  return team.reduce(
      int64_t(0),
      [&](Member m) {
        int64_t sum = 0;
        cells.row.quads(team, m, [&](int id) {
          Quad quad = cells.load(team, m, id);
          SJD2_UNROLL(4)
          for (int i = 0; i < 4; ++i) {
            const float w = quad.w[i] >= lowest_kept ? mass(key_value(quad.w[i]), top) : 0.0f;
            sum += int64_t(w);
            quad.w[i] = bits_of(w);
          }
          cells.store(team, m, id, quad);
        });
        return sum;
      },
      [](int64_t a, int64_t b) { return a + b; });
}

// The smallest prefix by (mass descending, id ascending) that reaches top_p of the total stays; returns its sum.
template <class Cells, class Team>
SJD2_TEAM int64_t cut_top_p(Team& team, const Cells& cells, float top_p, int64_t total) {
  const double exact = ceil(double(top_p) * double(total));
  const int64_t need = exact < 1.0 ? 1 : int64_t(exact);
  const auto visit = [&](Member m, auto take) {
    cells.row.quads(team, m, [&](int id) {
      const Quad quad = cells.load(team, m, id);
      SJD2_UNROLL(4)
      for (int i = 0; i < 4; ++i)
        if (quad.w[i] != 0) take(id + i, quad.w[i]);
    });
  };
  const Selected cut = select_largest<true>(team, need, [&](Member m, auto take) {
    visit(m, [&](int, uint32_t bits) { take(bits, uint64_t(float_of(bits))); });
  });
  const int64_t one = int64_t(float_of(cut.key)), ties = (need - cut.above + one - 1) / one;
  uint32_t last = kNoId;  // the last id that stays among those of the cut's mass
  if (ties * one < cut.here) {
    last = ~select_largest<false>(team, ties, [&](Member m, auto take) {
      visit(m, [&](int id, uint32_t bits) {
        if (bits == cut.key) take(~uint32_t(id), 1);
      });
    }).key;
  }
  team.each([&](Member m) {
    cells.row.quads(team, m, [&](int id) {
      Quad quad = cells.load(team, m, id);
      SJD2_UNROLL(4)
      for (int i = 0; i < 4; ++i)
        if (quad.w[i] < cut.key || (quad.w[i] == cut.key && uint32_t(id + i) > last)) quad.w[i] = 0;
      cells.store(team, m, id, quad);
    });
  });
  return cut.above + ties * one;
}

// The draw. Times below head_start / total are a few of all V, so a deadline there spares nearly every logarithm; if nobody
// makes it (probability exp(-head_start)) the race is run again without one.
template <class Cells, class Team>
SJD2_TEAM int64_t draw(Team& team, const Cells& cells, const Generator& generator, float total, float head_start) {
  const auto weights_at = [&](Member m, int id) {
    const Quad quad = cells.load(team, m, id);
    return Four<float>{{float_of(quad.w[0]), float_of(quad.w[1]), float_of(quad.w[2]), float_of(quad.w[3])}};
  };
  int64_t id = -1;
  SJD2_UNROLL(1)
  for (int round = 0; round < 2 && id < 0; ++round)
    id = race_quads(team, cells.row, generator, round == 0 ? divide(head_start, total) : kInfinity, weights_at);
  return id;
}

// p = law(member, id, i) for the i-th id of each quad, written once.
template <class Team, class Law>
SJD2_TEAM void write_row(Team& team, const Row& row, float* p, Law law) {
  const bool aligned = aligned_quads(p);
  team.each([&](Member m) {
    row.quads(team, m, [&](int id) {
      const Four<float> quad = law(m, id);
      if (aligned && id + 4 <= row.V) {
        *reinterpret_cast<Four<float>*>(p + id) = quad;
        return;
      }
      SJD2_UNROLL(4)
      for (int i = 0; i < 4; ++i)
        if (id + i < row.V) p[id + i] = quad.x[i];
    });
  });
}

template <class Team>
SJD2_TEAM void write_one_hot(Team& team, const Row& row, float* p, int64_t hot) {
  write_row(team, row, p, [&](Member, int id) {
    Four<float> quad;
    SJD2_UNROLL(4)
    for (int i = 0; i < 4; ++i) quad.x[i] = id + i == hot ? 1.0f : 0.0f;
    return quad;
  });
}

// One row; T is the logits' type. Every member returns the draw and the status.
struct Drawn {
  int64_t fresh;
  int32_t status;
};

template <class T, class Cells, class Team>
SJD2_TEAM Drawn process_row(Team& team, const Cells& cells, const ProcessLogitsArguments& a, int index,
                            float head_start) {
  const Row& row = cells.row;
  const int b = index / int(a.L), l = index - b * int(a.L);
  float* const p = a.p + index * a.V;
  const bool skipped = a.done && a.done[b] != 0;
  if (skipped || (a.forced && a.forced[index] >= 0)) {
    write_one_hot(team, row, p, -1);
    return {skipped ? -1 : a.forced[index], 0};
  }
  const bool greedy = a.temperature && !(a.temperature[b] > 0.0f);
  ScoreQuads<T> scores;
  scores.cond = static_cast<const T*>(a.cond) + b * a.cond_stride_b + l * a.cond_stride_l;
  scores.uncond = a.uncond ? static_cast<const T*>(a.uncond) + b * a.uncond_stride_b + l * a.uncond_stride_l : nullptr;
  scores.guidance = a.guidance ? a.guidance[b] : 1.0f;
  scores.temperature = a.temperature && !greedy ? a.temperature[b] : 1.0f;
  scores.cond_aligned = aligned_quads(scores.cond);
  scores.uncond_aligned = aligned_quads(scores.uncond);
  scores.V = row.V;
  const Seen seen = read_scores(team, cells, scores);
  const int32_t status = int32_t(seen.status) | (seen.lowest == kNoId ? kEmpty : 0);
  if (status != 0 || greedy) {
    const int64_t id = status == 0 ? kNoId - uint32_t(seen.best) : seen.lowest == kNoId ? 0 : seen.lowest;
    write_one_hot(team, row, p, id);
    return {id, status};
  }

  uint32_t lowest_kept = kMaskedKey + 1;
  const int64_t top_k = a.top_k ? a.top_k[b] : 0;
  if (top_k > 0 && top_k < a.V) {
    const uint32_t key = select_largest<false>(team, top_k, [&](Member m, auto take) {
      row.quads(team, m, [&](int id) {
        const Quad quad = cells.load(team, m, id);
        SJD2_UNROLL(4)
        for (int i = 0; i < 4; ++i)
          if (quad.w[i] != 0) take(quad.w[i], 1);
      });
    }).key;
    if (key > lowest_kept) lowest_kept = key;
  }
  int64_t total = weigh(team, cells, lowest_kept, key_value(uint32_t(seen.best >> 32)));
  const float top_p = a.top_p ? a.top_p[b] : 1.0f;
  if (top_p < 1.0f) total = cut_top_p(team, cells, top_p, total);

  const uint64_t slot = uint64_t(a.pos ? a.pos[b] : 0) + uint64_t(l);
  const Generator generator = Generator::at(a.seed ? a.seed[b] : 0, int64_t(slot), kDraft, a.epoch ? a.epoch[b] : 0);
  const float divisor = float(total);
  const int64_t fresh = draw(team, cells, generator, divisor, head_start);
  write_row(team, row, p, [&](Member m, int id) {
    const Quad quad = cells.load(team, m, id);
    Four<float> law;
    SJD2_UNROLL(4)
    for (int i = 0; i < 4; ++i) law.x[i] = quad.w[i] == 0 ? 0.0f : divide(float_of(quad.w[i]), divisor);
    return law;
  });
  return {fresh, 0};
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
