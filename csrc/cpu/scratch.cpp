#include "scratch.h"

#include <cstdlib>
#include <new>

namespace sjd2 {
namespace {

struct Buffer {
  void* data = nullptr;
  std::size_t size = 0;
  ~Buffer() { std::free(data); }
};

}  // namespace

void* scratch(std::size_t bytes) {
  thread_local Buffer buffer;
  if (bytes > buffer.size) {
    std::free(buffer.data);
    buffer.size = 0;
    buffer.data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (buffer.data == nullptr) throw std::bad_alloc();
    buffer.size = bytes;
  }
  return buffer.data;
}

}  // namespace sjd2
