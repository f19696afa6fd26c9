// How a row of V ids is spread over a team, and where its 32-bit cells live between the phases. Block r of the team owns ids
// r * part .. (r + 1) * part - 1, part a multiple of 4; its threads take quads of ids in turn, and a thread meets only its own
// quads again, in every phase. Cells past V read as 0.
#pragma once

#include "team.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

struct Row {
  int V, part;

  // f(first id) for each quad of the member; kAtOnce: how many loads of f may be under way together.
  template <int kAtOnce = 1, class Team, class F>
  SJD2_TEAM void quads(const Team& team, Member m, F f) const {
    const int begin = m.rank * part, end = V - begin < part ? V : begin + part;
    SJD2_UNROLL(kAtOnce)
    for (int id = begin + 4 * m.thread; id < end; id += 4 * team.threads()) f(id);
  }
};

// Cells in the block's shared memory.
struct SharedCells {
  Row row;

  template <class Team>
  SJD2_TEAM Quad load(Team& team, Member m, int id) const {
    return team.cells(m.rank)[(id - m.rank * row.part) / 4];
  }
  template <class Team>
  SJD2_TEAM void store(Team& team, Member m, int id, Quad quad) const {
    team.cells(m.rank)[(id - m.rank * row.part) / 4] = quad;
  }
};

// Cells in the output row p, for rows that do not fit: they stay in the second-level cache.
struct ParkedCells {
  Row row;
  float* p;

  template <class Team>
  SJD2_TEAM Quad load(Team&, Member, int id) const {
    Quad quad;
    SJD2_UNROLL(4)
    for (int i = 0; i < 4; ++i) quad.w[i] = id + i < row.V ? bits_of(p[id + i]) : 0u;
    return quad;
  }
  template <class Team>
  SJD2_TEAM void store(Team&, Member, int id, Quad quad) const {
    SJD2_UNROLL(4)
    for (int i = 0; i < 4; ++i)
      if (id + i < row.V) p[id + i] = float_of(quad.w[i]);
  }
};

// Whether quads of T can be read or written whole, in a row that starts at `from`.
template <class T>
SJD2_TEAM bool aligned_quads(const T* from) {
  return reinterpret_cast<uintptr_t>(from) % (4 * sizeof(T)) == 0;
}

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T x[4];
};

// Four consecutive elements that nobody writes meanwhile, `otherwise` past V.
template <class T>
SJD2_TEAM Four<T> load_four(const T* from, int id, int V, bool aligned, T otherwise) {
  if (aligned && id + 4 <= V) {
#ifdef __CUDA_ARCH__
    Four<T> four;
    if constexpr (sizeof four == sizeof(uint4)) {
      const uint4 raw = __ldg(reinterpret_cast<const uint4*>(from + id));
      memcpy(&four, &raw, sizeof four);
    } else {
      const uint2 raw = __ldg(reinterpret_cast<const uint2*>(from + id));
      memcpy(&four, &raw, sizeof four);
    }
    return four;
#else
    return *reinterpret_cast<const Four<T>*>(from + id);
#endif
  }
  Four<T> four;
  SJD2_UNROLL(4)
  for (int i = 0; i < 4; ++i) four.x[i] = id + i < V ? from[id + i] : otherwise;
  return four;
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
