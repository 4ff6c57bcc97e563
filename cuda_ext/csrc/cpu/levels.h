// The instruction sets that kernels are compiled for, and the choice among them at run time.
#pragma once

#include <cstdint>

#define MONET_INLINE static inline __attribute__((always_inline))
#define MONET_INLINE_MEMBER inline __attribute__((always_inline))

// The same source is compiled for wider vectors too, so that one binary serves every machine.
#if defined(__x86_64__)
#define MONET_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define MONET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,popcnt")))
#define MONET_VBMI2 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,bmi,bmi2,popcnt")))
// Defines the array `name` of `function(arguments, begin, end)` by level. `function` must be MONET_INLINE.
#define MONET_LEVELS(name, Arguments, function)                                                                    \
  static void name##_baseline(const Arguments& a, int64_t begin, int64_t end) { function(a, begin, end); }         \
  MONET_AVX2 static void name##_avx2(const Arguments& a, int64_t begin, int64_t end) { function(a, begin, end); }  \
  MONET_AVX512 static void name##_avx512(const Arguments& a, int64_t begin, int64_t end) { function(a, begin, end); } \
  static void (*const name[])(const Arguments&, int64_t, int64_t) = {name##_baseline, name##_avx2, name##_avx512,    \
                                                                     name##_avx512};
#else
#define MONET_LEVELS(name, Arguments, function)                                                            \
  static void name##_baseline(const Arguments& a, int64_t begin, int64_t end) { function(a, begin, end); } \
  static void (*const name[])(const Arguments&, int64_t, int64_t) = {name##_baseline};
#endif

namespace monet {

// Levels: 0 baseline, 1 AVX2, 2 AVX-512 of Skylake and Cascade Lake servers, 3 AVX-512 from Ice Lake and Zen 4 on,
// which can compress bytes.
inline int64_t best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2"))
    return __builtin_cpu_supports("avx512vbmi2") ? 3 : 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return 1;
#endif
  return 0;
}

}  // namespace monet
