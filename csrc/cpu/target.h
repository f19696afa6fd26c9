// The instruction sets the kernels are compiled for, and which one this machine gets.
#pragma once

namespace sjd2 {

enum class Target { kBaseline, kAvx2, kAvx512 };

// The best supported target; SJD2_CPU_TARGET=baseline|avx2|avx512 lowers it (read once).
Target target();
const char* target_name();

}  // namespace sjd2

#ifdef SJD2_HAS_X86_TARGETS
#define SJD2_DECLARE(function, Arguments)                      \
  namespace baseline { void function(const Arguments&); }      \
  namespace avx2 { void function(const Arguments&); }          \
  namespace avx512 { void function(const Arguments&); }        \
  inline void function##_dispatch(const Arguments& arguments) { \
    switch (target()) {                                        \
      case Target::kAvx512: return avx512::function(arguments); \
      case Target::kAvx2: return avx2::function(arguments);    \
      default: return baseline::function(arguments);           \
    }                                                          \
  }
#else
#define SJD2_DECLARE(function, Arguments)                 \
  namespace baseline { void function(const Arguments&); } \
  inline void function##_dispatch(const Arguments& arguments) { baseline::function(arguments); }
#endif
