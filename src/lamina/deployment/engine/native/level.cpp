// Which instructions this machine has.
#include "kernels.h"
#include "lamina.h"

namespace lamina {

namespace {

bool has(int64_t level) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (level == LAMINA_AVX2) return avx2;
    if (level == LAMINA_AVX512_VNNI)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni");
#endif
    return level == LAMINA_PORTABLE;
}

}  // namespace

int64_t best_level(int64_t wanted) {
    const int64_t highest = wanted < 0 || wanted > LAMINA_AVX512_VNNI ? int64_t{LAMINA_AVX512_VNNI} : wanted;
    for (int64_t level = highest; level > LAMINA_PORTABLE; --level)
        if (has(level)) return level;
    return LAMINA_PORTABLE;
}

const Kernels &kernels_of(int64_t level) {
    if (level == LAMINA_AVX512_VNNI && avx512_kernels() != nullptr) return *avx512_kernels();
    if (level == LAMINA_AVX2 && avx2_kernels() != nullptr) return *avx2_kernels();
    return *portable_kernels();
}

}  // namespace lamina
