#include "target.h"

#include <cstdlib>
#include <cstring>

namespace sjd2 {
namespace {

Target best() {
#ifdef SJD2_HAS_X86_TARGETS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Target::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
      __builtin_cpu_supports("bmi2"))
    return Target::kAvx2;
#endif
  return Target::kBaseline;
}

Target chosen() {
  const Target have = best();
  const char* asked = std::getenv("SJD2_CPU_TARGET");
  if (asked == nullptr) return have;
  Target want = have;
  if (std::strcmp(asked, "baseline") == 0) want = Target::kBaseline;
  if (std::strcmp(asked, "avx2") == 0) want = Target::kAvx2;
  return want < have ? want : have;
}

}  // namespace

Target target() {
  static const Target once = chosen();
  return once;
}

const char* target_name() {
  switch (target()) {
    case Target::kAvx512: return "avx512";
    case Target::kAvx2: return "avx2";
    default: return "baseline";
  }
}

}  // namespace sjd2
