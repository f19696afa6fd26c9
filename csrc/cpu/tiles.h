// The two matrix products of attention in register tiles of up to 6 rows, and the packing of their right-hand sides.
//
// A right-hand side is packed in panels of kPanel columns: panel[t][column], so that a step of a tile reads two vectors.
// Every element of a product is a sum of parts, each a chain of up to kChain multiply-adds over t in rising order, and parts
// start at multiples of kChain: tile shapes change no bit. One chain over 128 terms would have twice the error of BLAS.
#pragma once

#include "cpu/lanes.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

template <class T>
constexpr int kPanel = 2 * kLanes<T>;

constexpr int64_t kChain = 32;

// Panels that a tile of few rows takes at once, so that 8 accumulators or more hide the latency of the multiply-add.
constexpr int panels_at_once(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }

// acc[i][column] += sum over from <= t < to of left[i][t] * right[t][column].
template <class T, int rows, int panels>
SJD2_INLINE void multiply(const T* left, int64_t left_row, const T* right, int64_t right_step, int64_t right_panel,
                          int64_t from, int64_t to, Lanes<T> (&acc)[rows][2 * panels]) {
  for (int64_t t = from; t < to; ++t) {
    Lanes<T> column[2 * panels];
#pragma GCC unroll 8
    for (int j = 0; j < 2 * panels; ++j) {
      column[j] = load_lanes(right + t * right_step + (j / 2) * right_panel + (j % 2) * kLanes<T>);
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
      const T x = left[i * left_row + t];
#pragma GCC unroll 8
      for (int j = 0; j < 2 * panels; ++j) acc[i][j] += x * column[j];
    }
  }
}

// scores[i][key] = factor * query[i] . key; scores has rows of `scores_row`, keys are packed [panels][D][kPanel].
template <class T, int rows, int panels>
SJD2_INLINE void score_panels(const T* query, int64_t query_row, const T* keys, int64_t D, T factor, T* scores,
                              int64_t scores_row) {
  for (int64_t from = 0; from < D; from += kChain) {
    Lanes<T> acc[rows][2 * panels] = {};
    multiply<T, rows, panels>(query, query_row, keys, kPanel<T>, D * kPanel<T>, from, from + kChain < D ? from + kChain : D, acc);
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < 2 * panels; ++j) {
        T* to = scores + i * scores_row + j * kLanes<T>;
        store_vector(to, from == 0 ? acc[i][j] * factor : load_lanes(to) + acc[i][j] * factor);
      }
    }
  }
}

template <class T, int rows>
void score_tile(const T* query, int64_t query_row, const T* keys, int64_t panels, int64_t D, T factor, T* scores,
                int64_t scores_row) {
  constexpr int step = panels_at_once(rows);
  int64_t p = 0;
  for (; p + step <= panels; p += step) {
    score_panels<T, rows, step>(query, query_row, keys + p * D * kPanel<T>, D, factor, scores + p * kPanel<T>, scores_row);
  }
  for (; p < panels; ++p) {
    score_panels<T, rows, 1>(query, query_row, keys + p * D * kPanel<T>, D, factor, scores + p * kPanel<T>, scores_row);
  }
}

// Where a block's values lie: element (t, column) at base + (column / kPanel) * panel + t * step + column % kPanel.
template <class T>
struct Values {
  const T* base;
  int64_t step, panel;
};

// sum[i] = fade[i] * sum[i] + sum over t < seen[i] of weights[i][t] * values[t], for `panels` panels from column 0 of values.
// Row i must not touch the values past seen[i], which may be NaN: rows share the first `common` steps only.
template <class T, int rows, int panels>
SJD2_INLINE void add_panels(const T* weights, int64_t weights_row, const int64_t* seen, int64_t common, const Values<T>& values,
                            const T* fade, T* sum, int64_t sum_row) {
  for (int64_t from = 0; from == 0 || from < seen[rows - 1]; from += kChain) {
    const int64_t shared = common < from ? from : common < from + kChain ? common : from + kChain;
    Lanes<T> acc[rows][2 * panels] = {};
    multiply<T, rows, panels>(weights, weights_row, values.base, values.step, values.panel, from, shared, acc);
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
      const int64_t last = seen[i] < from + kChain ? seen[i] : from + kChain;
      for (int64_t t = shared; t < last; ++t) {
#pragma GCC unroll 8
        for (int j = 0; j < 2 * panels; ++j) {
          acc[i][j] += weights[i * weights_row + t] *
                       load_lanes(values.base + t * values.step + (j / 2) * values.panel + (j % 2) * kLanes<T>);
        }
      }
      if (from > 0 && last <= from) continue;
#pragma GCC unroll 8
      for (int j = 0; j < 2 * panels; ++j) {
        T* to = sum + i * sum_row + j * kLanes<T>;
        store_vector(to, from == 0 ? fade[i] * load_lanes(to) + acc[i][j] : load_lanes(to) + acc[i][j]);
      }
    }
  }
}

template <class T, int rows>
void add_tile(const T* weights, int64_t weights_row, const int64_t* seen, Values<T> values, int64_t panels, const T* fade,
              T* sum, int64_t sum_row) {
  constexpr int step = panels_at_once(rows);
  const int64_t common = seen[0] > 0 ? seen[0] : 0;  // rows rise in position
  int64_t p = 0;
  for (; p + step <= panels; p += step, values.base += step * values.panel, sum += step * kPanel<T>) {
    add_panels<T, rows, step>(weights, weights_row, seen, common, values, fade, sum, sum_row);
  }
  for (; p < panels; ++p, values.base += values.panel, sum += kPanel<T>) {
    add_panels<T, rows, 1>(weights, weights_row, seen, common, values, fade, sum, sum_row);
  }
}

// Keys as panels [panel][D][kPanel]; columns past n repeat a key of the panel. The rows of the next vector are prefetched:
// a dozen short streams at once are too many for the hardware (5.3 instead of 6.7 us per 128 x 128 from memory, Zen 3).
template <class E, class T = Compute<E>>
void pack_keys(const E* const* keys, int64_t n, int64_t D, T* packed) {
  constexpr int lanes = kLanes<T>;
  for (int64_t first = 0; first < n; first += lanes) {
    const E *row[lanes], *next[lanes];
    for (int i = 0; i < lanes; ++i) {
      row[i] = keys[first + i < n ? first + i : first];
      next[i] = first + lanes + i < n ? keys[first + lanes + i] : row[i];
    }
    T* to = packed + first / kPanel<T> * kPanel<T> * D + first % kPanel<T>;
    int64_t d = 0;
    for (; d + lanes <= D; d += lanes) {
      Lanes<T> x[lanes];
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) {
        x[i] = load_lanes(row[i] + d);
        __builtin_prefetch(next[i] + d);
      }
      transpose<T>(x);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) store_vector(to + (d + i) * kPanel<T>, x[i]);
    }
    for (; d < D; ++d) {
      for (int i = 0; i < lanes; ++i) to[d * kPanel<T> + i] = load(row[i][d]);
    }
  }
}

// Values as panels of n rows, columns past D zero.
template <class E, class T = Compute<E>>
void pack_values(const E* const* rows, int64_t n, int64_t D, int64_t panel, T* packed) {
  constexpr int lanes = kLanes<T>;
  for (int64_t t = 0; t < n; ++t) {
    const E* row = rows[t];
    int64_t d = 0;
    for (; d + lanes <= D; d += lanes) {
      store_vector(packed + d / kPanel<T> * panel + t * kPanel<T> + d % kPanel<T>, load_lanes(row + d));
    }
    for (; d % kPanel<T> != 0 || d < D; ++d) {
      packed[d / kPanel<T> * panel + t * kPanel<T> + d % kPanel<T>] = d < D ? load(row[d]) : T(0);
    }
  }
}

}  // namespace SJD2_TARGET
}  // namespace sjd2
