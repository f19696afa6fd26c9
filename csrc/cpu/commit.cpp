// commit: per image, with commit = min(accept_len + 1, L),
//   good     = kv_len + (A - q_start) + leading slots that were fed clean, as committed, and accepted   (per model row)
//   c'       = max(c, min(c + commit, min over rows of good + A - prompt_len, n_tokens, N))
//   kv_len'  = min(good, prompt_len + c' - 1)
//   q_start' = A - (prompt_len + c' - kv_len')
//
// A few hundred integers per image, on the calling thread. Exact, hence the same on every backend (rung L3).
#include "cpu/commit.h"

namespace sjd2 {
inline namespace SJD2_TARGET {
namespace {

int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }

// Positions may be anything: sums with them wrap, as in PyTorch.
int64_t sum(int64_t x, int64_t y) { return int64_t(uint64_t(x) + uint64_t(y)); }
int64_t difference(int64_t x, int64_t y) { return int64_t(uint64_t(x) - uint64_t(y)); }

// Leading window rows whose keys in the cache are those of the committed tokens.
int64_t leading(const CommitArguments& a, int64_t b) {
  int64_t j = 0;
  while (j < a.L && j < a.accept_len[b] && a.tokens[b * a.L + j] == a.draft[b * a.L + j] &&
         (a.level == nullptr || a.level[b * a.L + j] == 0))
    ++j;
  return j;
}

int64_t model_id(const CommitArguments& a, int64_t token) { return token >= 0 && token < a.V ? a.ids[token] : -1; }

void one_image(const CommitArguments& a, int64_t b) {
  const int64_t c = a.pos(b), limit = least(a.n_tokens[b], a.N), cached = leading(a, b);
  const auto good = [&](int64_t r) { return int64_t(a.kv_len(r)) + (a.A - a.q_start(r)) + cached; };

  int64_t next = least(sum(c, least(int64_t(a.accept_len[b]) + 1, a.L)), limit);
  for (int64_t r = b; r < a.R; r += a.B) next = least(next, good(r) + a.A - a.prompt_len[r]);
  if (next < c) next = c;

  const int64_t count = difference(next, c);
  for (int64_t j = 0; j < count; ++j) {
    if (c + j >= 0 && c + j < a.N) a.out(b, c + j) = model_id(a, a.tokens[b * a.L + j]);
  }

  int64_t used = 1;  // re-feed rows of the image: the same for all its model rows in a consistent state
  for (int64_t r = b; r < a.R; r += a.B) {
    const int64_t end = sum(a.prompt_len[r], next), length = least(good(r), difference(end, 1));
    const int64_t again = difference(end, length);
    a.kv_len(r) = int32_t(length);
    a.q_start(r) = int32_t(difference(a.A, again));
    if (again > used) used = again;
  }
  for (int64_t i = 0; i < a.A; ++i) {
    const int64_t back = a.A - 1 - i, place = difference(next, 1 + (back < used ? back : 0));
    // before the first token the prompt's end stays
    if (place >= 0 && place < a.N) a.refeed(b, i) = a.out(b, place);
  }

  a.n_commit[b] = int32_t(count);
  a.pos(b) = next;
  a.epoch(b) = sum(a.epoch(b), 1);
  a.done(b) = next >= limit;
}

}  // namespace

void commit(const CommitArguments& a) {
  for (int64_t b = 0; b < a.B; ++b) {
    a.n_commit[b] = 0;
    if (a.done(b) == 0) one_image(a, b);
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
