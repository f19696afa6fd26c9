#include "recycled.h"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace sjd2 {
namespace {

constexpr std::size_t kPage = std::size_t(2) << 20;

struct Block {
  void* data;
  std::size_t room;
};

// Leaked on purpose: tensors may be freed after static destruction.
struct FreeList {
  std::mutex mutex;
  std::vector<Block> blocks;  // oldest first
  std::size_t bytes = 0;
};

FreeList& free_list() {
  static FreeList* list = new FreeList;
  return *list;
}

}  // namespace

Recycled::Recycled(std::size_t bytes) : data_(nullptr), bytes_(bytes), room_((bytes + kPage - 1) / kPage * kPage) {
  {
    FreeList& list = free_list();
    std::lock_guard<std::mutex> lock(list.mutex);
    for (std::size_t i = list.blocks.size(); i-- > 0;) {
      if (list.blocks[i].room != room_) continue;
      data_ = list.blocks[i].data;
      list.bytes -= room_;
      list.blocks.erase(list.blocks.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }
  data_ = std::aligned_alloc(kPage, room_);
  if (data_ == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  madvise(data_, room_, MADV_HUGEPAGE);
#endif
}

Recycled::~Recycled() {
  FreeList& list = free_list();
  std::vector<Block> dropped;
  {
    std::lock_guard<std::mutex> lock(list.mutex);
    if (room_ <= kRecycleBytes) {
      list.blocks.push_back({data_, room_});
      list.bytes += room_;
    } else {
      dropped.push_back({data_, room_});
    }
    while (list.blocks.size() > kRecycleBlocks || list.bytes > kRecycleBytes) {
      dropped.push_back(list.blocks.front());
      list.bytes -= list.blocks.front().room;
      list.blocks.erase(list.blocks.begin());
    }
  }
  for (const Block& block : dropped) std::free(block.data);
}

}  // namespace sjd2
