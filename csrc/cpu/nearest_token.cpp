// nearest_token: token[slot] = argmax over v of state[slot] . table[v] + bias[v]; ties: lowest id; NaN never wins.
//
// A matrix product of the active slots (draft < 0) and the table with the argmax folded in; the scores of a block of
// 96 ids by up to 128 slots live on the stack and die there.
//   packing   the active slots become panels [C][2 vectors]: one lane is one slot, so the argmax is a blend per lane;
//   tasks     one per 96 table rows. Per 256 channels, their rows are converted to the compute type once, then every
//             panel is multiplied by tiles of kTile rows x 2 vectors in registers (6 x 16 on AVX2, 12 x 32 on AVX-512);
//   merge     the tasks' winners in ascending order of id, on the calling thread.
// Bytes: the table once; operations: slots * V * C multiply-adds. Every lane sums its channels in ascending order,
// whatever stands in the others, so a result depends neither on the batch nor on the number of threads. Multiply-adds
// are fused where the target has them: scores differ from other backends in the last bits.
#include "cpu/nearest_token.h"

#include "cpu/convert.h"
#include "cpu/parallel.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kTile = 12;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kTile = 6;
#else
constexpr int kVectorBytes = 16, kTile = 6;
#endif
constexpr int64_t kDepth = 256;                // channels between two conversions: panel and tile rows stay in L1
constexpr int64_t kGroup = 128;                // slots per conversion of the table
constexpr int64_t kSmall = 1 << 18;            // multiply-adds below which a second thread costs more than it saves
static_assert(kNearestBlock % kTile == 0, "a block is whole tiles");

template <class Real>
struct Vector;
template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(kVectorBytes), may_alias));
  typedef int32_t index __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(kVectorBytes), may_alias));
  typedef int64_t index __attribute__((vector_size(kVectorBytes)));
};
template <class Real>
constexpr int64_t kWidth = kVectorBytes / int64_t(sizeof(Real));  // lanes of a vector
template <class Real>
constexpr int64_t kPanel = 2 * kWidth<Real>;                     // slots of a panel
static_assert(kPanel<float> <= kNearestLanes && kGroup % kPanel<float> == 0, "scratch and groups hold whole panels");

// How many vectors of a panel hold slots when `left` of them remain: the last panel may need only one.
template <class Real>
int vectors_of(int64_t left) {
  return left <= kWidth<Real> ? 1 : 2;
}

int64_t up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// scores[i][lane] (+)= sum over k < depth of rows[i][k] * panel[k][lane], for kTile rows and kVectors vectors of lanes.
template <class Real, int kVectors>
inline void multiply_tile(const Real* rows, const Real* panel, int64_t depth, bool first, Real* scores) {
  using V = typename Vector<Real>::type;
  V sum[kTile][kVectors];
#pragma GCC unroll 12
  for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j)
      sum[i][j] = first ? V{} : *reinterpret_cast<const V*>(scores + i * kPanel<Real> + j * kWidth<Real>);
  }
  for (int64_t k = 0; k < depth; ++k) {
    V lane[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j)
      lane[j] = *reinterpret_cast<const V*>(panel + k * kPanel<Real> + j * kWidth<Real>);
#pragma GCC unroll 12
    for (int i = 0; i < kTile; ++i) {
      const V element = rows[i * kDepth + k] - V{};  // broadcast
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sum[i][j] += element * lane[j];
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j)
      *reinterpret_cast<V*>(scores + i * kPanel<Real> + j * kWidth<Real>) = sum[i][j];
  }
}

// The best id of each lane of a panel among the block's `count` rows; the first number beats the NaN it starts from.
template <class Real>
inline void best_of_panel(const Real* scores, const Real* bias, int64_t count, int64_t base, int vectors, Real* best,
                          int64_t* winner) {
  using V = typename Vector<Real>::type;
  using Index = typename Vector<Real>::index;
  for (int j = 0; j < vectors; ++j) {
    V top = V{} + Real(__builtin_nan(""));
    Index where = {};
    Index here = {};
    for (int64_t v = 0; v < count; ++v, here += 1) {
      const V score = *reinterpret_cast<const V*>(scores + v * kPanel<Real> + j * kWidth<Real>) + bias[v];
      const Index wins = ~(score <= top) & (score == score);
      top = wins ? score : top;
      where = wins ? here : where;
    }
    for (int64_t lane = 0; lane < kWidth<Real>; ++lane) {
      best[j * kWidth<Real> + lane] = top[lane];
      winner[j * kWidth<Real> + lane] = base + where[lane];
    }
  }
}

// One task: the winners among table rows `block` * 96 .. + 95 of all `count` active slots.
template <class T, class Real>
void one_block(const NearestTokenArguments& a, int64_t block, int64_t count) {
  constexpr int64_t P = kPanel<Real>;
  alignas(64) Real rows[kNearestBlock * kDepth];
  alignas(64) Real scores[kGroup * kNearestBlock];  // [panel of the group][row][lane]
  const int64_t base = block * kNearestBlock;
  const int64_t height = a.V - base < kNearestBlock ? a.V - base : kNearestBlock;
  const int64_t tiles = up(height, kTile), lanes = up(count, P);
  const T* table = static_cast<const T*>(a.table) + base * a.table_stride;
  const Real* bias = static_cast<const Real*>(a.bias) + base;
  Real* best = static_cast<Real*>(a.best) + block * lanes;
  int64_t* winner = a.winner + block * lanes;
  if (tiles != height) memset(rows + height * kDepth, 0, size_t((tiles - height) * kDepth) * sizeof(Real));

  for (int64_t group = 0; group < lanes; group += kGroup) {
    const int64_t end = lanes - group < kGroup ? lanes : group + kGroup;
    // no channels at all: the scores are the biases
    if (a.C == 0) memset(scores, 0, sizeof scores);
    for (int64_t k = 0; k < a.C; k += kDepth) {
      const int64_t depth = a.C - k < kDepth ? a.C - k : kDepth;
      for (int64_t v = 0; v < height; ++v) {
        const T* row = table + v * a.table_stride + k;
        // the next run of this row: short runs at long strides are invisible to the hardware's prefetcher
        if (k + kDepth < a.C) {
          for (int64_t byte = 0; byte < kDepth * int64_t(sizeof(T)); byte += 64)
            __builtin_prefetch(reinterpret_cast<const char*>(row + kDepth) + byte, 0, 2);
        }
        load_run(row, depth, rows + v * kDepth);
      }
      for (int64_t slot = group; slot < end; slot += P) {
        const Real* panel = static_cast<const Real*>(a.panels) + slot * a.C + k * P;
        Real* out = scores + (slot - group) * kNearestBlock;
        const bool one = vectors_of<Real>(count - slot) == 1;
        for (int64_t v = 0; v < tiles; v += kTile) {
          if (one) multiply_tile<Real, 1>(rows + v * kDepth, panel, depth, k == 0, out + v * P);
          else multiply_tile<Real, 2>(rows + v * kDepth, panel, depth, k == 0, out + v * P);
        }
      }
    }
    for (int64_t slot = group; slot < end; slot += P) {
      const Real* panel_scores = scores + (slot - group) * kNearestBlock;
      const int vectors = vectors_of<Real>(count - slot);
      best_of_panel<Real>(panel_scores, bias, height, base, vectors, best + slot, winner + slot);
    }
  }
}

// Panel `p` of the active slots: [C][lane], zeros in the lanes past the last slot.
template <class State, class Real>
void pack(const NearestTokenArguments& a, int64_t p, int64_t count) {
  constexpr int64_t P = kPanel<Real>;
  Real* panel = static_cast<Real*>(a.panels) + p * P * a.C;
  for (int64_t lane = 0; lane < P; ++lane) {
    const int64_t i = p * P + lane;
    if (i >= count) {
      for (int64_t k = 0; k < a.C; ++k) panel[k * P + lane] = 0;
      continue;
    }
    const int64_t b = a.active[i] / a.L, j = a.active[i] - b * a.L;
    const State* row = static_cast<const State*>(a.state) + b * a.state_image_stride + j * a.state_slot_stride;
    for (int64_t k = 0; k < a.C; ++k) panel[k * P + lane] = Real(row[k]);
  }
}

// Fills the slots that need no scores and lists the others; returns their number.
int64_t find_active(const NearestTokenArguments& a) {
  int64_t count = 0;
  for (int64_t i = 0; i < a.B * a.L; ++i) {
    if (a.done != nullptr && a.done[i / a.L] != 0) a.token[i] = -1;
    else if (a.draft != nullptr && a.draft[i] >= 0) a.token[i] = a.draft[i];
    else a.active[count++] = i;
  }
  return count;
}

template <class State, class T, class Real>
void run(const NearestTokenArguments& a) {
  const int64_t count = find_active(a);
  if (count == 0) return;
  const int64_t blocks = (a.V + kNearestBlock - 1) / kNearestBlock, lanes = up(count, kPanel<Real>);
  const int threads = count * a.V * a.C < kSmall ? 1 : a.threads;
  parallel_for(lanes / kPanel<Real>, threads, [&](int64_t p) { pack<State, Real>(a, p, count); });
  parallel_for(blocks, threads, [&](int64_t block) { one_block<T, Real>(a, block, count); });

  const Real* best = static_cast<const Real*>(a.best);
  for (int64_t i = 0; i < count; ++i) {
    Real top = Real(__builtin_nan(""));
    int64_t token = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      const Real score = best[block * lanes + i];
      if (score == score && !(score <= top)) {
        top = score;
        token = a.winner[block * lanes + i];
      }
    }
    a.token[a.active[i]] = token;
  }
}

template <class State>  // a float64 on either side makes the sums float64
void by_table(const NearestTokenArguments& a) {
  switch (a.table_dtype) {
    case Dtype::kFloat32: return run<State, float, State>(a);
    case Dtype::kBfloat16: return run<State, Bfloat16, State>(a);
    case Dtype::kFloat16: return run<State, Float16, State>(a);
    case Dtype::kFloat64: return run<State, double, double>(a);
  }
}

}  // namespace

void nearest_token(const NearestTokenArguments& a) {
  if (a.state_dtype == Dtype::kFloat64) by_table<double>(a);
  else by_table<float>(a);
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
