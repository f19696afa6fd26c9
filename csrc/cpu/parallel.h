// A small thread pool: the caller starts at once, workers join as they wake, and the caller never waits for a worker that
// has not started. (An OpenMP region waits for all of its threads: 12 ms on a busy machine.)
#pragma once

#include <cstdint>

namespace sjd2 {

// Calls run(context, i) once for every i in 0..count-1, on at most `threads` threads. Results must not depend on the order.
void parallel_for(int64_t count, int threads, void (*run)(void* context, int64_t i), void* context);

template <class F>
void parallel_for(int64_t count, int threads, F&& body) {
  parallel_for(
      count, threads, [](void* context, int64_t i) { (*static_cast<F*>(context))(i); }, const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace sjd2
