// Between TARGET_… and TARGET_END functions are compiled for these instructions, whatever the rest is compiled for.
// Standard headers come before: their inline functions must not be.
#pragma once

#define LAMINA_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define LAMINA_TARGET(names) LAMINA_PRAGMA(clang attribute push(__attribute__((target(names))), apply_to = function))
#define TARGET_END LAMINA_PRAGMA(clang attribute pop)
#else
#define LAMINA_TARGET(names) LAMINA_PRAGMA(GCC push_options) LAMINA_PRAGMA(GCC target(names))
#define TARGET_END LAMINA_PRAGMA(GCC pop_options)
#endif

#if defined(__clang__)
#define TARGET_DOTPROD LAMINA_TARGET("dotprod")
#else
#define TARGET_DOTPROD LAMINA_TARGET("arch=armv8.2-a+dotprod")
#endif
#define TARGET_AVX2 LAMINA_TARGET("avx2,fma,f16c")
#define TARGET_AVX512 LAMINA_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#define TARGET_AMX LAMINA_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8")
