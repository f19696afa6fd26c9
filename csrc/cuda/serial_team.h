// The team of the tests: one thread that plays all members, phase by phase, in an order that the test picks. A result that
// depends on the order is a data race on the device.
#pragma once

#include <vector>

#include "team.h"

namespace sjd2 {
inline namespace SJD2_TARGET {

enum class Order : int { kForward = 0, kBackward = 1, kScattered = 2 };

class SerialTeam {
 public:
  SerialTeam(int ranks, int threads, Order order, size_t quads)
      : ranks_(ranks), threads_(threads), order_(order), bins_(size_t(ranks)), cells_(size_t(ranks)) {
    for (auto& cells : cells_) cells.assign(quads, Quad{{0xDEADBEEFu, 0x7FC00000u, 0xFFFFFFFFu, 0x12345678u}});
    for (auto& bins : bins_) memset(static_cast<void*>(&bins), 0xA5, sizeof bins);
  }

  int ranks() const { return ranks_; }
  int threads() const { return threads_; }
  Bins& bins(int rank) { return bins_[size_t(rank)]; }
  Bins& own_bins() { return bins_[size_t(order_ == Order::kBackward ? ranks_ - 1 : 0)]; }
  Quad* cells(int rank) { return cells_[size_t(rank)].data(); }

  template <class F>
  void each(F f) {
    for (int i = 0; i < ranks_ * threads_; ++i) f(member(i));
  }

  template <class V, class F, class Combine>
  V reduce(V none, F f, Combine combine) {
    for (int i = 0; i < ranks_ * threads_; ++i) none = combine(none, f(member(i)));
    return none;
  }

  template <class F, class G>
  void scan(F f, G g) {
    std::vector<int64_t> before(size_t(ranks_ * threads_));
    for (int rank = 0; rank < ranks_; ++rank) {
      int64_t sum = 0;
      for (int thread = 0; thread < threads_; ++thread) {
        before[size_t(rank * threads_ + thread)] = sum;
        sum += f(Member{rank, thread});
      }
    }
    each([&](Member m) { g(m, before[size_t(m.rank * threads_ + m.thread)]); });
  }

  template <class F>
  void once(F f) {
    f();
  }

  uint32_t add(uint32_t* cell, uint32_t x) {
    const uint32_t old = *cell;
    *cell = old + x;
    return old;
  }

 private:
  Member member(int i) const {
    const int n = ranks_ * threads_;
    if (order_ == Order::kBackward) i = n - 1 - i;
    if (order_ == Order::kScattered) i = int((int64_t(i) * 7919 + 31) % n);  // 7919 is prime: every member once
    return {i / threads_, i % threads_};
  }

  int ranks_, threads_;
  Order order_;
  std::vector<Bins> bins_;
  std::vector<std::vector<Quad>> cells_;
};

}  // namespace SJD2_TARGET
}  // namespace sjd2
