// Work shared among the threads of PyTorch's OpenMP runtime, chunk by chunk: who comes late finds less left to do.
#pragma once

#include <cstdint>

namespace sjd2 {

// Whether there is an OpenMP runtime in this process, and it is not a forked child.
bool has_threads();

// Calls run(context, i) once for every i in 0..count-1, on at most `threads` threads; without has_threads() on the caller's alone.
// Results must not depend on the order. What `run` throws, one of it, the caller gets; other chunks may then be left out.
void parallel_for(int64_t count, int threads, void (*run)(void* context, int64_t i), void* context);

template <class F>
void parallel_for(int64_t count, int threads, F&& body) {
  parallel_for(
      count, threads, [](void* context, int64_t i) { (*static_cast<F*>(context))(i); }, const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace sjd2
