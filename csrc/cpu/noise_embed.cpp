// noise_embed: rows[b, n] = (1 - t) * table[token] + t * (mean + std * eps), where eps is that of stream 3 at
// (seed, pos + n, channel).
//
// One task per position; one read of the table's row, one write of the output's. Clean positions (t == 0) draw nothing.
// Bound by memory where t == 0, by Philox and Box-Muller elsewhere. No sums, so no order to keep: every element is a
// function of its own inputs.
#include "cpu/noise_embed.h"

#include "cpu/convert.h"
#include "cpu/normal_block.h"
#include "cpu/parallel.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

constexpr int64_t kSmall = 1 << 15;  // elements below which a second thread costs more than it saves

template <class T>
void one_row(const NoiseEmbedArguments& a, int64_t i) {
  using Real = Compute<T>;
  const int64_t b = i / a.N;
  T* out = static_cast<T*>(a.rows) + i * a.C;
  if (a.done != nullptr && a.done[b] != 0) {
    memset(out, 0, size_t(a.C) * sizeof(T));
    return;
  }
  const int64_t token = a.token[i];
  const bool inside = token >= 0 && token < a.V;
  const T* row = static_cast<const T*>(a.table) + (inside ? token * a.table_stride : 0);
  const Real t = Real(a.t[i]);
  const Generator generator = Generator::at(a.seed[b], int64_t(uint64_t(a.pos[b]) + uint64_t(i - b * a.N)), kNoise, 0);

  Real clean[kNormalBlock] = {}, eps[kNormalBlock];
  for (int64_t first = 0; first < a.C; first += kNormalBlock) {
    const int64_t count = a.C - first < kNormalBlock ? a.C - first : kNormalBlock;
    if (inside) load_run(row + first, count, clean);
    if (t != 0) {
      normal_block(generator, first, eps);
      for (int64_t c = 0; c < count; ++c)
        eps[c] = (1 - t) * clean[c] + t * (Real(a.mean[first + c]) + Real(a.std[first + c]) * eps[c]);
    }
    store_run(t != 0 ? eps : clean, count, out + first);
  }
}

template <class T>
void run(const NoiseEmbedArguments& a) {
  const int threads = a.B * a.N * a.C < kSmall ? 1 : a.threads;
  if (a.C == 0) return;  // then there may be no memory at all
  parallel_for(a.B * a.N, threads, [&](int64_t i) { one_row<T>(a, i); });
}

}  // namespace

void noise_embed(const NoiseEmbedArguments& a) {
  switch (a.dtype) {
    case Dtype::kFloat32: return run<float>(a);
    case Dtype::kBfloat16: return run<Bfloat16>(a);
    case Dtype::kFloat16: return run<Float16>(a);
    case Dtype::kFloat64: return run<double>(a);
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
