#include "parallel.h"

#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sjd2 {
namespace {

// After an OpenMP region of PyTorch its threads spin for milliseconds on the cores that the workers need. Linux (6.6 on) lets
// them spin out their time slice of some 3 ms before it runs a thread that wakes, longer than most jobs here take, unless that
// thread asks for shorter slices (6.12 on). Needs no privilege; where it is refused or ignored, a worker comes when it comes.
void wake_promptly() {
#ifdef SYS_sched_setattr
  struct Attributes {  // the first version of the kernel's struct sched_attr
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes{};
  constexpr uint64_t kSliceNs = 100000;  // the kernel's least
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 || attributes.policy != SCHED_OTHER) return;
  attributes.runtime = kSliceNs;
  syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
}

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// One parallel_for: chunks are claimed by a counter; shared ownership lets a late worker find it finished.
struct Job {
  void (*run)(void*, int64_t);
  void* context;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> finished{0};

  bool help() {  // returns whether the last chunk was finished here
    bool last = false;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      run(context, i);
      last = finished.fetch_add(1, std::memory_order_acq_rel) + 1 == count;
    }
    return last;
  }
};

class Pool {
 public:
  void submit(const std::shared_ptr<Job>& job, int helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_) < helpers) {
        std::thread([this] { serve(); }).detach();
        ++workers_;
      }
      jobs_.insert(jobs_.end(), static_cast<size_t>(helpers), job);
    }
    if (helpers == 1) wake_.notify_one();
    else wake_.notify_all();
  }

  void wait(const Job& job) {
    // a chunk's time, for it takes about as long to sleep and be woken
    constexpr std::chrono::microseconds kPatience{50};
    const auto start = std::chrono::steady_clock::now();
    do {
      for (int spin = 0; spin < 32; ++spin) {
        if (job.finished.load(std::memory_order_acquire) == job.count) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() - start < kPatience);
    std::unique_lock<std::mutex> lock(mutex_);
    ready_.wait(lock, [&] { return job.finished.load(std::memory_order_acquire) == job.count; });
  }

  void withdraw(const std::shared_ptr<Job>& job) {  // invitations nobody took
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = jobs_.size(); i-- > 0;) {
      if (jobs_[i] == job) jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

 private:
  void serve() {
    wake_promptly();
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return !jobs_.empty(); });
        job = jobs_.back();
        jobs_.pop_back();
      }
      if (job->help()) {
        std::lock_guard<std::mutex> lock(mutex_);
        ready_.notify_all();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, ready_;
  std::vector<std::shared_ptr<Job>> jobs_;
  int workers_ = 0;
};

// Leaked on purpose: detached workers may outlive static destruction. A forked child has no workers and starts a new pool.
Pool* pool = nullptr;
std::mutex pool_mutex;

Pool& the_pool() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (pool == nullptr) {
    static const int registered = pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                                                 [] { pool = nullptr; pool_mutex.unlock(); });
    (void)registered;
    pool = new Pool;
  }
  return *pool;
}

}  // namespace

void parallel_for(int64_t count, int threads, void (*run)(void*, int64_t), void* context) {
  const int64_t helpers = (count < threads ? count : threads) - 1;
  if (helpers < 1) {
    for (int64_t i = 0; i < count; ++i) run(context, i);
    return;
  }
  auto job = std::make_shared<Job>();
  job->run = run;
  job->context = context;
  job->count = count;
  Pool& workers = the_pool();
  workers.submit(job, static_cast<int>(helpers));
  job->help();
  workers.withdraw(job);
  workers.wait(*job);
}

}  // namespace sjd2
