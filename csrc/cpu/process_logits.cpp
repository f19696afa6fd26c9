// process_logits, one row (image, slot) at a time, each in one read of its logits:
//
//   top-k on:  a sample gives a pivot that about k + 3 sigma scores pass; one fused pass computes scores and keeps the survivors
//              with their ids; bisection among them finds the exact k-th; weights, top-p and the draw touch only the kept ids.
//              Too few survivors means an exact second pass with no pivot.
//   top-k off: scores into scratch, weights in place, draw over all ids with the race's filter.
//
// Identical bits on every instruction set and thread count: float32 steps as written, integer sums, ties to the lowest id.
#include "process_logits.h"

#include "parallel.h"
#include "race.h"
#include "scores.h"
#include "scratch.h"
#include "select.h"
#include "write_row.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

// The logits of the row that this thread probably takes next, asked for line by line while the race computes: they come from
// memory meanwhile. (Not while the rest of p is written: stores past the cache wait for the same buffers.)
struct NextRow {
  const char *cond = nullptr, *uncond = nullptr;
  int64_t lines = 0;

  SJD2_INLINE void ask(int count) {
    for (; count > 0 && lines > 0; --count, --lines) {
      __builtin_prefetch(cond, 0, 2);  // into the second cache: the first is in use
      cond += 64;
      if (uncond == nullptr) continue;
      __builtin_prefetch(uncond, 0, 2);
      uncond += 64;
    }
  }
};

NextRow next_row(const ProcessLogitsArguments& a, int64_t index, size_t item) {
  NextRow row;
  if (index >= a.B * a.L) return row;
  const int64_t b = index / a.L, l = index % a.L;
  row.cond = static_cast<const char*>(a.cond) + (b * a.cond_stride_b + l * a.cond_stride_l) * int64_t(item);
  if (a.uncond) row.uncond = static_cast<const char*>(a.uncond) + (b * a.uncond_stride_b + l * a.uncond_stride_l) * int64_t(item);
  row.lines = a.V * int64_t(item) / 64;
  return row;
}

struct Row {
  Generator generator;
  int64_t next_index;
  NextRow next;
  int64_t V, top_k;
  float top_p;
  bool greedy, streamed;
  float* p;
  // scratch, each with room for V + 4 W elements
  float *values, *spare;
  uint32_t* ids;
  // results
  int64_t fresh;
  int32_t status;
};

template <class S>
void finish_certain(Row& row, const S& scores, bool flagged) {
  int64_t lowest = -1;
  VI nan{}, overflow{};
  float top = S::kMasked;
  int64_t best = 0;
  for (int64_t i = 0; i < row.V; i += W) {
    const VF s = scores.at(i);
    nan |= s != s;
    overflow |= s == __builtin_inff();
    for (int lane = 0; lane < W && i + lane < row.V; ++lane) {
      if (lowest < 0 && s[lane] != S::kMasked) lowest = i + lane;
      if (s[lane] > top) {
        top = s[lane];
        best = i + lane;
      }
    }
  }
  row.status = (lane_bits(nan) ? kNan : 0) | (lane_bits(overflow) ? kOverflow : 0) | (lowest < 0 ? kEmpty : 0);
  flagged = flagged || row.status != 0;
  row.fresh = flagged ? (lowest < 0 ? 0 : lowest) : best;
  fill_zero(row.p, row.V);
  row.p[row.fresh] = 1.0f;
}

// top-p on a list of weights with ascending ids, both compacted in place; returns what is left of n.
int64_t apply_top_p(Row& row, int64_t n, int64_t& total) {
  if (!(row.top_p < 1.0f)) return n;
  const double exact = __builtin_ceil(double(row.top_p) * double(total));
  const int64_t need = exact < 1.0 ? 1 : int64_t(exact);
  const TopP keep = top_p_cut(row.values, n, need, row.spare);
  int64_t left = 0, ties = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float w = row.values[i];
    const bool tie = w == keep.cut;
    row.values[left] = w;
    row.ids[left] = row.ids[i];
    left += w > keep.cut || (tie && ties < keep.ties);
    ties += tie;
  }
  pad(row.values, left, 0.0f);
  total = sum_masses(row.values, left);
  return left;
}

// The law and the draw of the n kept scores in row.values / row.ids.
void finish_listed(Row& row, int64_t n) {
  pad(row.values, n, -__builtin_inff());
  const VF top = VF{} + largest(row.values, n);
  for (int64_t i = 0; i < n; i += W) store_vector(row.values + i, mass(load_vector<VF>(row.values + i), top));
  pad(row.values, n, 0.0f);
  int64_t total = sum_masses(row.values, n);
  n = apply_top_p(row, n, total);
  for (int i = 0; i < W; ++i) row.ids[n + i] = 0;
  Race race;
  ListWriter writer(row.p, row.V, row.values, row.ids, n, row.streamed);
  race_listed(row.generator, row.ids, n, race, [&, divisor = float(total)](int64_t i) {
    row.next.ask(4);
    writer.advance(i);
    const VF w = load_vector<VF>(row.values + i);
    store_vector(row.values + i, w / divisor);
    return w;
  });
  row.fresh = race.id;
  writer.finish();
}

// A bound that `k` of the V scores pass, or a little more, but for one row in 700: from a sample of runs of 32 ids, 3 standard
// deviations down. Every line of the sample is waited for, so a larger sample costs more than the survivors it spares.
template <class S>
float sample_pivot(Row& row, const S& scores) {
  constexpr int64_t kRun = 32;
  const int64_t V = row.V, sample = V >= 32768 ? 1024 : 512;
  if (V < 8 * 512) return -__FLT_MAX__;
  const double share = double(row.top_k) / double(V), mean = share * double(sample);
  const int64_t rank = int64_t(mean + 3.0 * __builtin_sqrt(mean * (1.0 - share))) + 2;
  if (rank >= sample) return -__FLT_MAX__;
  int64_t n = 0;
  for (int64_t run = 0; run < sample / kRun; ++run) {
    const int64_t start = run * (V - kRun) / (sample / kRun) / W * W;
    for (int64_t i = start; i < start + kRun; i += W) {
      const VF s = scores.at(i);
      store_vector(row.spare + n, s > -__FLT_MAX__ ? s : VF{} - __FLT_MAX__);  // NaN, -inf
      n += W;
    }
  }
  return kth_largest_bound(row.spare, n, rank, -__FLT_MAX__, row.spare, rank / 16);
}

// Scores >= pivot with their ids; false if a score is NaN or +inf.
template <class S>
bool collect(Row& row, const S& scores, float pivot, int64_t& n) {
  float* const values = row.values;
  uint32_t* const ids = row.ids;
  const VU lanes = (VU)iota();
  int64_t count = 0;
  const bool good = for_all_scores(scores, [&](int64_t i, VF s) {
    count = compress(s >= pivot, s, lanes + uint32_t(i), values, ids, count);
  });
  n = count;
  return good;
}

template <class S>
void top_k_row(Row& row, const S& scores) {
  int64_t n;
  float pivot = sample_pivot(row, scores);
  if (!collect(row, scores, pivot, n)) return finish_certain(row, scores, true);
  if (n < row.top_k && pivot > -__FLT_MAX__) {
    pivot = -__FLT_MAX__;
    collect(row, scores, pivot, n);
  }
  if (n == 0) return finish_certain(row, scores, true);
  if (n > row.top_k) {
    pad(row.values, n, -__builtin_inff());
    const float bound = kth_largest_bound(row.values, n, row.top_k, pivot, row.spare);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i += W) {
      const VF s = load_vector<VF>(row.values + i);
      kept = compress(s >= bound, s, load_vector<VU>(row.ids + i), row.values, row.ids, kept);
    }
    n = kept;
  }
  finish_listed(row, n);
}

template <class S>
void full_row(Row& row, const S& scores) {
  float* const values = row.values;
  VF tops = VF{} - __builtin_inff();
  const bool good = for_all_scores(scores, [&](int64_t i, VF s) {
    tops = s > tops ? s : tops;
    store_vector(values + i, s);
  });
  const float top = largest_lane(tops);
  if (!good || top == -__builtin_inff()) return finish_certain(row, scores, true);
  if (row.top_p < 1.0f) {
    for (int64_t i = 0; i < row.V; ++i) row.ids[i] = uint32_t(i);
    return finish_listed(row, row.V);
  }
  const int64_t total = sum_masses(row.V, [&](int64_t i) {
    const VF w = mass(load_vector<VF>(values + i), VF{} + top);
    store_vector(values + i, w);
    return w;
  });
  const RowWriter writer(row.p, row.V, row.streamed);
  row.fresh = race_all(row.generator, row.V, [&, divisor = float(total)](int64_t i) {
    row.next.ask(1);
    const VF w = load_vector<VF>(values + i);
    writer.put(i, w / divisor);
    return w;
  }).id;
}

template <class T, bool kGuided, bool kTempered>
void process_row(const ProcessLogitsArguments& a, int64_t b, int64_t l, Row& row) {
  Scores<T, kGuided, kTempered> scores;
  scores.cond = static_cast<const T*>(a.cond) + b * a.cond_stride_b + l * a.cond_stride_l;
  scores.uncond = kGuided ? static_cast<const T*>(a.uncond) + b * a.uncond_stride_b + l * a.uncond_stride_l : nullptr;
  scores.guidance = a.guidance ? a.guidance[b] : 1.0f;
  scores.temperature = kTempered ? a.temperature[b] : 1.0f;
  scores.V = a.V;
  if (row.streamed) row.next = next_row(a, row.next_index, sizeof(T));
  if (row.greedy) finish_certain(row, scores, false);
  else if (row.top_k > 0 && row.top_k < a.V) top_k_row(row, scores);
  else full_row(row, scores);
}

template <class T>
void process_any(const ProcessLogitsArguments& a, int64_t b, int64_t l, Row& row) {
  const bool tempered = a.temperature && !row.greedy && a.temperature[b] != 1.0f;
  if (a.uncond) {
    if (tempered) process_row<T, true, true>(a, b, l, row);
    else process_row<T, true, false>(a, b, l, row);
  } else {
    if (tempered) process_row<T, false, true>(a, b, l, row);
    else process_row<T, false, false>(a, b, l, row);
  }
}

// Row `index`; the thread takes row `next` after it, or so it seems.
void one_row(const ProcessLogitsArguments& a, int64_t index, int64_t next) {
  const int64_t b = index / a.L, l = index % a.L;
  const size_t room = size_t(a.V) + 4 * W;
  Row row;
  row.V = a.V;
  row.p = a.p + index * a.V;
  row.next_index = next;
  row.fresh = -1;
  row.status = 0;
  const bool skipped = a.done && a.done[b] != 0, forced = a.forced && a.forced[index] >= 0;
  if (skipped || forced) {
    if (!skipped) row.fresh = a.forced[index];
    fill_zero(row.p, a.V);
  } else {
    row.values = static_cast<float*>(scratch(3 * room * sizeof(float)));
    row.spare = row.values + room;
    row.ids = reinterpret_cast<uint32_t*>(row.spare + room);
    row.top_k = a.top_k ? a.top_k[b] : 0;
    row.top_p = a.top_p ? a.top_p[b] : 1.0f;
    row.greedy = a.temperature && !(a.temperature[b] > 0.0f);
    row.streamed = a.B * a.L * a.V >= kStreamedElements;
    const uint64_t slot = uint64_t(a.pos ? a.pos[b] : 0) + uint64_t(l);
    row.generator = Generator::at(a.seed ? a.seed[b] : 0, int64_t(slot), kDraft, a.epoch ? a.epoch[b] : 0);
    switch (a.dtype) {
      case Dtype::kFloat32: process_any<float>(a, b, l, row); break;
      case Dtype::kBfloat16: process_any<Bfloat16>(a, b, l, row); break;
      case Dtype::kFloat16: process_any<Float16>(a, b, l, row); break;
      case Dtype::kFloat64: process_any<double>(a, b, l, row); break;
    }
  }
  a.fresh[index] = row.fresh;
  a.status[index] = row.status;
}

}  // namespace

void process_logits(const ProcessLogitsCall& a) {
  constexpr int64_t kElementsPerTask = 1 << 13;  // some 10 us, so that the last task is not waited for long
  const int64_t rows = a.B * a.L, batch = a.V < kElementsPerTask ? (kElementsPerTask + a.V - 1) / a.V : 1;
  parallel_for((rows + batch - 1) / batch, a.threads, [&](int64_t task) {
    const int64_t end = (task + 1) * batch < rows ? (task + 1) * batch : rows;
    for (int64_t i = task * batch; i < end; ++i) one_row(a, i, i + 1 < end ? i + 1 : (task + a.threads) * batch);
  });
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
