// window_attention: out[m] = sum_s w[m, s] value[s], w = softmax of scale * q[m] . key[s] over cache prefix, causal window and
// one timestep key; appends the rows' keys and values to the cache. A shadow row sees itself in place of the row that stands where
// it stands, and is seen by none.
//
// Work: a task is one (model row, kv head, chunk of query rows). It walks the keys in blocks of 128, packs a block once
// (keys transposed) and uses it for all its rows and for all query heads that share it; the softmax is online.
// Bytes: the cache below kv_len is read once per chunk, the inputs once, the output written once.
// Determinism: blocks start at multiples of 128 keys, and every sum runs in an order that depends on the row's own position
// only. A row's bits are a function of its query and of what it sees: not of batch, padding, threads, cache capacity, nor of
// how the keys before it are divided between cache and window.
#include "cpu/window_attention.h"

#include "cpu/parallel.h"
#include "cpu/tiles.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

constexpr float kLowest = -__builtin_inff();

int64_t clamped(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

// One kv head of one model row: where its parts lie, and which rows are alive. Positions count from `start`; the rows that stand
// at positions 0 .. alive - 1 are alive. Places number the live rows by what they see: a shadow row, which does not see the row
// at its position, comes before that row.
template <class E>
struct Head {
  const WindowAttentionArguments& a;
  int64_t r, h, group;           // query heads h * group .. + group - 1
  int64_t own;                   // rows that are no shadows
  int64_t length, start, alive;  // cache entries; first row; positions in the cache from there on
  int64_t first, places;         // rows before the first live one in the order of places, and live rows

  Head(const WindowAttentionArguments& arguments, int64_t row, int64_t head)
      : a(arguments), r(row), h(head), group(a.H / a.Hkv), own(a.M - a.shadow), length(clamped(a.kv_len[r], 0, a.S)),
        start(clamped(a.q_start[r], 0, a.M)), alive(clamped(own - start, 0, a.S - length)) {
    if (a.done != nullptr && a.done[r % a.B] != 0) alive = 0;
    first = before(start), places = before(start + alive) - first;
  }

  int64_t before(int64_t row) const { return row + clamped(row - a.refeed, 0, a.shadow); }  // rows in the order of places

  int64_t row_at(int64_t place) const {
    const int64_t n = first + place, pair = n - a.refeed;
    if (pair < 0) return n;
    if (pair >= 2 * a.shadow) return n - a.shadow;
    return pair % 2 == 0 ? own + pair / 2 : a.refeed + pair / 2;
  }
  bool is_shadow(int64_t row) const { return row >= own; }
  int64_t position(int64_t row) const { return (is_shadow(row) ? row - own + a.refeed : row) - start; }
  int64_t seen(int64_t row) const { return length + position(row) + !is_shadow(row); }  // keys from the left, itself included

  static const E* at(const void* base, const Axes& axes, int64_t i, int64_t j, int64_t k) {
    return static_cast<const E*>(base) + i * axes.outer + j * axes.middle + k * axes.inner;
  }
  const E* query(int64_t row, int64_t g) const { return at(a.q, a.q_axes, r, row, h * group + g); }
  const E* key(int64_t row) const { return at(a.k, a.k_axes, r, row, h); }
  const E* value(int64_t row) const { return at(a.v, a.v_axes, r, row, h); }
  E* key_slot(int64_t s) const { return const_cast<E*>(at(a.k_cache, a.k_cache_axes, r, h, s)); }
  E* value_slot(int64_t s) const { return const_cast<E*>(at(a.v_cache, a.v_cache_axes, r, h, s)); }
  E* out(int64_t row, int64_t g) const { return static_cast<E*>(a.out) + ((r * a.M + row) * a.H + h * group + g) * a.D; }
  int level(int64_t row) const {  // 0 for a row that sees no timestep
    const int32_t l = a.level == nullptr ? 0 : a.level[r * a.M + row];
    return l > 0 && l < a.levels ? l : 0;
  }

  void append() const {
    for (int64_t m = 0; m < alive; ++m) {
      __builtin_memmove(key_slot(length + m), key(start + m), size_t(a.D) * sizeof(E));
      __builtin_memmove(value_slot(length + m), value(start + m), size_t(a.D) * sizeof(E));
    }
  }

  void clear_unused() const {
    for (int64_t row = 0; row < a.M; ++row) {
      if (position(row) >= 0 && position(row) < alive) continue;
      __builtin_memset(out(row, 0), 0, size_t(group * a.D) * sizeof(E));
    }
  }
};

// The query rows first .. first + count - 1 of one head (row n is query head n % group at place n / group), and their running
// softmax: top the largest score so far, total and sum the weights and weighted values relative to it.
template <class E>
struct Chunk {
  using T = Compute<E>;
  static constexpr int lanes = kLanes<T>;

  const Head<E>& head;
  int64_t first, count, D, width, depth;  // width: D in whole panels; depth: D in whole vectors
  T *query, *sum, *top, *total, *keys, *values, *scores;

  Chunk(const Head<E>& of, int64_t from, int64_t rows, const AttentionPlan& plan, char* scratch)
      : head(of), first(from), count(rows), D(of.a.D), width(AttentionPlan::rounded(D, kPanel<T>)),
        depth(AttentionPlan::rounded(D, lanes)) {
    const auto area = [&](int64_t offset) { return reinterpret_cast<T*>(scratch + offset); };
    query = area(plan.query), sum = area(plan.sum), top = area(plan.top), total = area(plan.total);
    keys = area(plan.keys), values = area(plan.values), scores = area(plan.scores);
  }

  int64_t row_of(int64_t n) const { return head.row_at((first + n) / head.group); }
  int64_t head_of(int64_t n) const { return (first + n) % head.group; }

  // Gather the queries; a row starts from nothing, or from what no other row sees: its timestep, itself if it is a shadow.
  void begin() const {
    for (int64_t n = 0; n < count; ++n) {
      const int64_t row = row_of(n);
      const E* from = head.query(row, head_of(n));
      T* to = query + n * depth;
      for (int64_t d = 0; d < depth; ++d) to[d] = d < D ? load(from[d]) : T(0);
      top[n] = T(kLowest), total[n] = 0;
      __builtin_memset(sum + n * width, 0, size_t(width) * sizeof(T));
      if (const int level = head.level(row)) {
        const int64_t at = (level * head.a.Hkv + head.h) * D;
        start_from(n, static_cast<const E*>(head.a.time_k) + at, static_cast<const E*>(head.a.time_v) + at);
      }
      if (head.is_shadow(row)) start_from(n, head.key(row), head.value(row));
    }
  }

  // One key and its value, before all blocks.
  void start_from(int64_t n, const E* key, const E* value) const {
    const bool empty = total[n] == 0;
    const T score = dot(query + n * depth, key) * T(head.a.scale), peak = empty || score > top[n] ? score : top[n];
    const T fade = empty ? T(0) : exp_lanes(splat(top[n] - peak))[0];
    const T weight = empty ? T(1) : exp_lanes(splat(score - peak))[0];
    T* out = sum + n * width;
    for (int64_t d = 0; d < D; ++d) out[d] = out[d] * fade + weight * load(value[d]);
    top[n] = peak, total[n] = total[n] * fade + weight;
  }

  T dot(const T* x, const E* y) const {
    Lanes<T> acc = {};
    int64_t d = 0;
    for (; d + lanes <= D; d += lanes) acc += load_lanes(x + d) * load_lanes(y + d);
    T rest = 0;
    for (; d < D; ++d) rest += x[d] * load(y[d]);
    return sjd2::sum<T>(acc) + rest;
  }

  // Keys from, from + 1, ..., from + n - 1: from the cache below length, from the inputs above.
  void block(int64_t from, int64_t n) const {
    const E *key[kKeys], *value[kKeys];
    for (int64_t t = 0; t < n; ++t) {
      const int64_t s = from + t;
      key[t] = s < head.length ? head.key_slot(s) : head.key(head.start + s - head.length);
      value[t] = s < head.length ? head.value_slot(s) : head.value(head.start + s - head.length);
    }
    pack_keys<E>(key, n, D, keys);
    Values<T> packed = {values, kPanel<T>, kKeys * kPanel<T> + kGap};
    if (!in_place(value, from, n, packed)) pack_values<E>(value, n, D, packed.panel, values);
    const int64_t tiles = (count + kTileRows - 1) / kTileRows;
    for (int64_t i = 0; i < tiles; ++i) {  // of equal size, give or take one row: full tiles and a small rest are slower
      const int64_t first_row = count * i / tiles;
      tile(first_row, count * (i + 1) / tiles - first_row, from, n, packed);
    }
  }

  // A few rows read the values where they lie, if those need no conversion and no padding.
  bool in_place(const E* const* value, int64_t from, int64_t n, Values<T>& packed) const {
    if constexpr (sizeof(E) == sizeof(T)) {
      if (count > kTileRows || D % kPanel<T> != 0 || from + n > head.length) return false;
      packed = {value[0], head.a.v_cache_axes.inner, kPanel<T>};
      return true;
    }
    return false;
  }

  // Rows i .. i + size - 1 of the chunk against one block.
  void tile(int64_t i, int64_t size, int64_t from, int64_t n, const Values<T>& packed) const {
    int64_t seen[kTileRows];  // keys of the block that a row sees; not positive if it ends before the block
    for (int64_t j = 0; j < size; ++j) {
      const int64_t to = head.seen(row_of(i + j)) - from;
      seen[j] = to < n ? to : n;
    }
    const int64_t most = seen[size - 1];  // places rise in what they see
    if (most <= 0) return;
    T fade[kTileRows];
    score(size, query + i * depth, (most + kPanel<T> - 1) / kPanel<T>, scores);
    for (int64_t j = 0; j < size; ++j) fade[j] = weigh(i + j, scores + j * kKeys, seen[j]);
    add(size, scores, seen, packed, fade, sum + i * width);
  }

  void score(int64_t size, const T* from, int64_t panels, T* to) const {
    const T factor = T(head.a.scale);
    switch (size) {
      case 1: return score_tile<T, 1>(from, depth, keys, panels, D, factor, to, kKeys);
      case 2: return score_tile<T, 2>(from, depth, keys, panels, D, factor, to, kKeys);
      case 3: return score_tile<T, 3>(from, depth, keys, panels, D, factor, to, kKeys);
      case 4: return score_tile<T, 4>(from, depth, keys, panels, D, factor, to, kKeys);
      case 5: return score_tile<T, 5>(from, depth, keys, panels, D, factor, to, kKeys);
      default: return score_tile<T, 6>(from, depth, keys, panels, D, factor, to, kKeys);
    }
  }

  void add(int64_t size, const T* weights, const int64_t* seen, const Values<T>& packed, const T* fade, T* to) const {
    const int64_t panels = width / kPanel<T>;
    switch (size) {
      case 1: return add_tile<T, 1>(weights, kKeys, seen, packed, panels, fade, to, width);
      case 2: return add_tile<T, 2>(weights, kKeys, seen, packed, panels, fade, to, width);
      case 3: return add_tile<T, 3>(weights, kKeys, seen, packed, panels, fade, to, width);
      case 4: return add_tile<T, 4>(weights, kKeys, seen, packed, panels, fade, to, width);
      case 5: return add_tile<T, 5>(weights, kKeys, seen, packed, panels, fade, to, width);
      default: return add_tile<T, 6>(weights, kKeys, seen, packed, panels, fade, to, width);
    }
  }

  // Scores of one row to weights relative to its new top; returns the factor that brings older weights to that top.
  T weigh(int64_t n, T* row, int64_t seen) const {
    if (seen <= 0) return T(1);
    const int64_t vectors = (seen + lanes - 1) / lanes;
    if (const int64_t rest = seen % lanes) {
      for (int64_t t = rest; t < lanes; ++t) row[(vectors - 1) * lanes + t] = T(kLowest);
    }
    Lanes<T> best = splat(top[n]);
    for (int64_t j = 0; j < vectors; ++j) best = larger<T>(best, load_lanes(row + j * lanes));
    const T peak = largest<T>(best);
    Lanes<T> weights = {};
    for (int64_t j = 0; j < vectors; ++j) {
      const Lanes<T> w = exp_lanes(load_lanes(row + j * lanes) - peak);
      store_vector(row + j * lanes, w);
      weights += w;
    }
    const T fade = exp_lanes(splat(top[n] - peak))[0];
    top[n] = peak;
    total[n] = total[n] * fade + sjd2::sum<T>(weights);
    return fade;
  }

  void finish() const {
    for (int64_t n = 0; n < count; ++n) {
      E* to = head.out(row_of(n), head_of(n));
      for (int64_t d = 0; d < D; ++d) to[d] = store<E>(sum[n * width + d] / total[n]);
    }
  }
};

template <class E>
void run_task(const WindowAttentionArguments& a, const AttentionPlan& plan, int64_t task, char* scratch) {
  if (a.D == 0) return;
  const int64_t chunk = task % plan.chunks, pair = task / plan.chunks;
  const Head<E> head(a, pair / a.Hkv, pair % a.Hkv);
  if (chunk == 0) {
    head.clear_unused();
    head.append();
  }
  const int64_t first = chunk * plan.rows, all = head.places * head.group;
  const int64_t last = first + plan.rows < all ? first + plan.rows : all;
  if (first >= last) return;
  const Chunk<E> rows(head, first, last - first, plan, scratch);
  rows.begin();
  const int64_t keys = head.seen(rows.row_of(last - first - 1));
  for (int64_t from = 0; from < keys; from += kKeys) rows.block(from, keys - from < kKeys ? keys - from : kKeys);
  rows.finish();
}

template <class E>
void run(const WindowAttentionArguments& a) {
  const AttentionPlan plan = AttentionPlan::of(a.R, a.M, a.H, a.Hkv, a.D, sizeof(E) == 8, a.threads);
  int64_t next = 0;  // workers claim tasks, so scratch is as large as the threads, not as the tasks
  parallel_for(plan.workers, a.threads, [&](int64_t worker) {
    char* scratch = static_cast<char*>(a.scratch) + worker * plan.bytes;
    for (int64_t task; (task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < plan.tasks;) {
      run_task<E>(a, plan, task, scratch);
    }
  });
}

}  // namespace

void window_attention(const WindowAttentionArguments& a) {
  switch (a.dtype) {
    case Dtype::kFloat32: return run<float>(a);
    case Dtype::kBfloat16: return run<Bfloat16>(a);
    case Dtype::kFloat16: return run<Float16>(a);
    case Dtype::kFloat64: return run<double>(a);
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
