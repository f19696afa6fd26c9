// Big output buffers that are used again. A fresh 25 MB output costs 6000 page faults, three times the work of the kernel that
// fills it; a freed one is kept here instead and handed to the next call of about that size.
#pragma once

#include <cstddef>

namespace sjd2 {

constexpr std::size_t kRecycleFrom = std::size_t(1) << 20;  // bytes; below it the allocator does as well
constexpr std::size_t kRecycleBlocks = 4;                   // kept at most
constexpr std::size_t kRecycleBytes = std::size_t(256) << 20;

// Memory for the lifetime of the object, uninitialised, on a 2 MiB boundary.
class Recycled {
 public:
  explicit Recycled(std::size_t bytes);
  ~Recycled();
  Recycled(const Recycled&) = delete;
  Recycled& operator=(const Recycled&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_;
  std::size_t bytes_, room_;
};

}  // namespace sjd2
