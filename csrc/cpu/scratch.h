// Per-thread working memory that is kept from call to call.
#pragma once

#include <cstddef>

namespace sjd2 {

// At least `bytes`, 64-byte aligned, uninitialised, valid until the thread's next call.
void* scratch(std::size_t bytes);

}  // namespace sjd2
