// noise_mix: slot j of the new window comes from slot i = j + shift of the old one, by the first rule that applies
// (docs/operators.md): outside the image, forced, new (Gaussian), clean, last denoising step, denoising step
//   state = a * state[i] + (1 - a) * table[fresh[i]],  a = times[l - 1] / times[l].
//
// One task per slot, one pass: each element of the old state and of the table's row is read once, each output written
// once (state, and rows in the table's type). Slots that are dropped or overruled are never read. Bound by memory but
// for the new slots, which are bound by Philox and Box-Muller. Every element is a function of its own inputs.
#include "cpu/noise_mix.h"

#include "cpu/convert.h"
#include "cpu/normal_block.h"
#include "cpu/parallel.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

constexpr int64_t kSmall = 1 << 15;  // elements below which a second thread costs more than it saves

// Positions wrap like the counters they feed.
int64_t position(const NoiseMixArguments& a, int64_t b, int64_t j) { return int64_t(uint64_t(a.pos[b]) + uint64_t(j)); }

// What a slot of the new window is: a level, and where its embedding comes from.
struct Slot {
  int32_t level = 0;
  int64_t token = -1;  // the table row it is (level 0) or moves toward
  int64_t source = 0;  // the old slot, for a denoising step
  int32_t before = 0;  // its level there; 0 for a new slot
};

Slot rule(const NoiseMixArguments& a, int64_t b, int64_t j) {
  Slot slot;
  if (a.done != nullptr && a.done[b] != 0) return slot;
  if (a.n_tokens != nullptr && position(a, b, j) >= a.n_tokens[b]) return slot;  // 1: outside the image
  if (a.forced != nullptr && a.forced[b * a.L + j] >= 0) {                  // 2
    slot.token = a.forced[b * a.L + j];
    return slot;
  }
  const int64_t shift = a.shift[b] < 0 ? 0 : a.shift[b] > a.L ? a.L : a.shift[b];
  slot.source = j + shift;
  if (slot.source >= a.L) {  // 3: new
    slot.level = int32_t(a.T);
    return slot;
  }
  const int64_t at = b * a.L + slot.source;
  const int64_t before = a.level[at] < 0 ? 0 : a.level[at] > a.T ? a.T : a.level[at];
  if (before == 0 || (a.accept_len != nullptr && slot.source <= a.accept_len[b])) {  // 4: clean
    slot.token = a.tokens[at];
  } else {  // 5 (before == 1, level becomes 0) and 6
    slot.token = a.fresh[at];
    slot.before = int32_t(before);
    slot.level = int32_t(before) - 1;
  }
  return slot;
}

template <class T>
void one_slot(const NoiseMixArguments& a, int64_t i) {
  using Real = Compute<T>;
  const int64_t b = i / a.L, j = i - b * a.L;
  const Slot slot = rule(a, b, j);
  a.new_level[i] = slot.level;
  a.draft[i] = slot.level > 0 ? -1 : slot.token;

  Real* state = static_cast<Real*>(a.new_state) + i * a.C;
  T* rows = static_cast<T*>(a.rows) + i * a.C;
  const bool inside = slot.token >= 0 && slot.token < a.V;
  const T* row = static_cast<const T*>(a.table) + (inside ? slot.token * a.table_stride : 0);
  const Real* old = static_cast<const Real*>(a.state) + b * a.state_image_stride + slot.source * a.state_slot_stride;
  const bool lerps = slot.level > 0 && slot.before > 0;
  const Real keep = lerps ? Real(a.times[slot.level]) / Real(a.times[slot.before]) : Real(0);
  const Generator generator = Generator::at(a.seed[b], position(a, b, j), kNoise, 0);

  Real embedding[kNormalBlock] = {}, mixed[kNormalBlock];
  for (int64_t first = 0; first < a.C; first += kNormalBlock) {
    const int64_t count = a.C - first < kNormalBlock ? a.C - first : kNormalBlock;
    if (inside) load_run(row + first, count, embedding);
    const Real* result = embedding;
    if (slot.level > 0) {
      result = mixed;
      if (lerps) {
        for (int64_t c = 0; c < count; ++c) mixed[c] = keep * old[first + c] + (1 - keep) * embedding[c];
      } else {
        normal_block(generator, first, mixed);
        for (int64_t c = 0; c < count; ++c) mixed[c] = Real(a.mean[first + c]) + Real(a.std[first + c]) * mixed[c];
      }
    }
    memcpy(state + first, result, size_t(count) * sizeof(Real));
    store_run(result, count, rows + first);
  }
}

template <class T>
void run(const NoiseMixArguments& a) {
  const int threads = a.B * a.L * a.C < kSmall ? 1 : a.threads;
  parallel_for(a.B * a.L, threads, [&](int64_t i) { one_slot<T>(a, i); });
}

}  // namespace

void noise_mix(const NoiseMixArguments& a) {
  switch (a.dtype) {
    case Dtype::kFloat32: return run<float>(a);
    case Dtype::kBfloat16: return run<Bfloat16>(a);
    case Dtype::kFloat16: return run<Float16>(a);
    case Dtype::kFloat64: return run<double>(a);
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
