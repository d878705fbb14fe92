// AVX-512 with VNNI: vpdpwssd multiplies 32 weights of 16 bits with the int16 inputs and adds them up exactly.
#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "lamina.h"
#include "layout.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"

#define LANES 16

TARGET_AVX512

namespace lamina {
namespace avx512 {

#include "vectors.h"

#include "rows.h"
#include "low_rank.h"

static inline Vec load(const int8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))));
}

static inline Vec load(const uint16_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}

static inline void store(uint16_t *to, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#include "attention.h"

// Two columns of a row of inputs, in all lanes.
static inline __m512i pair(const int16_t *x) {
    int32_t both;
    std::memcpy(&both, x, 4);
    return _mm512_set1_epi32(both);
}

template <int Rows>
static void int8_rows(const uint8_t *w, const Inputs &inputs, int64_t first, float *sums) {
    const int64_t stride = inputs.groups * kGroup;
    const int16_t *x = inputs.values + first * stride;
    const float *scales = inputs.scales + first * inputs.groups;
    __m512 sum[Rows];
    for (int m = 0; m < Rows; ++m) sum[m] = _mm512_setzero_ps();
    for (int64_t g = 0; g < inputs.groups; g += kShared) {
        __m512i total[Rows];
        for (int m = 0; m < Rows; ++m) total[m] = _mm512_setzero_si512();
        for (int64_t left = std::min(kShared, inputs.groups - g); left > 0; --left)
            for (int64_t p = 0; p < kGroup / 2; ++p, w += 2 * kTile, x += 2) {
                const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(w)));
                for (int m = 0; m < Rows; ++m) total[m] = _mm512_dpwssd_epi32(total[m], wide, pair(x + m * stride));
            }
        for (int m = 0; m < Rows; ++m)
            sum[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[m]), _mm512_set1_ps(scales[m * inputs.groups + g]), sum[m]);
    }
    for (int m = 0; m < Rows; ++m) _mm512_storeu_ps(sums + m * kTile, sum[m]);
}

static inline __m512 halves(const uint8_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}

template <int Rows, bool Minimum>
static void int4_rows(const uint8_t *w, const Inputs &inputs, int64_t first, float *sums) {
    const int64_t stride = inputs.groups * kGroup;
    const int16_t *x = inputs.values + first * stride;
    const float *scales = inputs.scales + first * inputs.groups, *masses = inputs.sums + first * inputs.groups;
    const __m512i nibble = _mm512_set1_epi16(15);
    __m512 sum[Rows];
    for (int m = 0; m < Rows; ++m) sum[m] = _mm512_setzero_ps();
    for (int64_t g = 0; g < inputs.groups; ++g) {
        __m512i total[Rows];
        for (int m = 0; m < Rows; ++m) total[m] = _mm512_setzero_si512();
        for (int word = 0; word < 4; ++word, w += 4 * kTile, x += 8) {
            __m512i bits = _mm512_loadu_si512(w);
            for (int n = 0; n < 4; ++n, bits = _mm512_srli_epi16(bits, 4)) {
                const __m512i wide = _mm512_and_si512(bits, nibble);
                for (int m = 0; m < Rows; ++m)
                    total[m] = _mm512_dpwssd_epi32(total[m], wide, pair(x + 2 * n + m * stride));
            }
        }
        const __m512 scale = halves(w), least = Minimum ? halves(w + kHalves) : scale;
        w += Minimum ? 2 * kHalves : kHalves;
        for (int m = 0; m < Rows; ++m) {
            const __m512 product =
                _mm512_mul_ps(_mm512_cvtepi32_ps(total[m]), _mm512_set1_ps(scales[m * inputs.groups + g]));
            const float mass = masses[m * inputs.groups + g];
            if (Minimum)
                sum[m] = _mm512_fmadd_ps(scale, product, _mm512_fmadd_ps(least, _mm512_set1_ps(mass), sum[m]));
            else
                sum[m] = _mm512_fmadd_ps(scale, _mm512_sub_ps(product, _mm512_set1_ps(8.0f * mass)), sum[m]);
        }
    }
    for (int m = 0; m < Rows; ++m) _mm512_storeu_ps(sums + m * kTile, sum[m]);
}

// Eight rows of inputs at a time, then four, then one by one.
static void int8(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    int64_t m = 0;
    for (; m + 8 <= rows; m += 8) int8_rows<8>(w, x, first + m, sums + m * kTile);
    for (; m + 4 <= rows; m += 4) int8_rows<4>(w, x, first + m, sums + m * kTile);
    for (; m < rows; ++m) int8_rows<1>(w, x, first + m, sums + m * kTile);
}

template <bool Minimum>
static void int4(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    int64_t m = 0;
    for (; m + 8 <= rows; m += 8) int4_rows<8, Minimum>(w, x, first + m, sums + m * kTile);
    for (; m + 4 <= rows; m += 4) int4_rows<4, Minimum>(w, x, first + m, sums + m * kTile);
    for (; m < rows; ++m) int4_rows<1, Minimum>(w, x, first + m, sums + m * kTile);
}

}  // namespace avx512

const Kernels *avx512_kernels() {
    using namespace avx512;
    static const Kernels kernels = {"AVX-512 VNNI", kBatch, int8, int4<false>, int4<true>, finish, norm, quantize,
                                    activate, rotate, narrow, halve, attend, join, embed, summarize, shares, shrink,
                                    expand};
    return &kernels;
}

}  // namespace lamina

TARGET_END

#else

namespace lamina {
const Kernels *avx512_kernels() { return nullptr; }
}  // namespace lamina

#endif
