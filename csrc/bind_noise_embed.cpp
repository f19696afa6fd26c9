#include "bind.h"
#include "cpu/noise_embed.h"
#include "operator.h"

namespace sjd2 {
namespace {

bool read_noise_embed(Arguments& read, NoiseEmbedArguments& a) {
  const View table = read.rows(read.view(), 2), token = read.view();
  if (!read.require(token.given && token.tensor.axes == 2)) return false;
  const int64_t B = a.B = token.size(0), N = a.N = token.size(1), C = a.C = table.size(1);
  a.V = table.size(0);
  a.dtype = read.dtype_of(table);
  a.table = table.data<void>();
  a.table_stride = table.stride(0);
  a.token = read.dense<int64_t>(token, {B, N});
  a.mean = read.dense<float>({C});
  a.std = read.dense<float>({C});
  a.t = read.dense<float>({B, N});
  a.seed = read.dense<int64_t>({B});
  a.pos = read.dense<int64_t>({B});
  a.done = read.optional<int32_t>({B});
  return read.plain();
}

}  // namespace

void bind_noise_embed(py::module_& module) {
  define_operator<NoiseEmbedArguments>(module, "noise_embed", read_noise_embed, [](NoiseEmbedArguments& a, int threads) {
    const NewTensor rows(type_of(a.dtype), {a.B, a.N, a.C});
    a.rows = rows;
    a.threads = threads;
    unlocked([&] { noise_embed_dispatch(a); });
    return rows.object();
  });
}

}  // namespace sjd2
