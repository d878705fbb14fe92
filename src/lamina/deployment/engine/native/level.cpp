// Which instructions this machine has.
#include "kernels.h"
#include "lamina.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace lamina {

namespace {

bool has(int64_t level) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (level == LAMINA_AVX2) return avx2;
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    if (level == LAMINA_AVX512_VNNI) return avx512;
    if (level == LAMINA_AMX) return avx512 && amx_works();
#elif defined(__aarch64__)
    if (level == LAMINA_NEON) return true;
#if defined(__linux__)
    if (level == LAMINA_NEON_DOTPROD) return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
#endif
    return level == LAMINA_PORTABLE;
}

}  // namespace

int64_t best_level(int64_t wanted) {
    const int64_t highest = wanted < 0 || wanted > LAMINA_NEON_DOTPROD ? int64_t{LAMINA_NEON_DOTPROD} : wanted;
    for (int64_t level = highest; level > LAMINA_PORTABLE; --level)
        if (has(level)) return level;
    return LAMINA_PORTABLE;
}

const Kernels &kernels_of(int64_t level) {
    const Kernels *found = nullptr;
    if (level == LAMINA_AVX2) found = avx2_kernels();
    if (level == LAMINA_AVX512_VNNI) found = avx512_kernels();
    if (level == LAMINA_AMX) found = amx_kernels();
    if (level == LAMINA_NEON) found = neon_kernels();
    if (level == LAMINA_NEON_DOTPROD) found = dotprod_kernels();
    return found != nullptr ? *found : *portable_kernels();
}

}  // namespace lamina
