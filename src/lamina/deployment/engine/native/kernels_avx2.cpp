// AVX2: weights are widened to 16 bits and multiplied with the int16 inputs by vpmaddwd, whose sums are exact.
// (vpmaddubsw on 8-bit inputs needs as many instructions, for the signs, and rounds the inputs 256 times as coarsely.)
#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "lamina.h"
#include "layout.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"

#define LANES 8

TARGET_AVX2

namespace lamina {
namespace avx2 {

#include "vectors.h"

#include "rows.h"
#include "low_rank.h"

static inline Vec load(const int8_t *from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(from))));
}

static inline Vec load(const uint16_t *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
}

static inline void store(uint16_t *to, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#include "attention.h"

// Two columns of a row of inputs, in all lanes.
static inline __m256i pair(const int16_t *x) {
    int32_t both;
    std::memcpy(&both, x, 4);
    return _mm256_set1_epi32(both);
}

static inline __m256i widened(const uint8_t *w) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(w)));
}

// A row alone is done as soon as its weights have come: these are asked for ahead of what the processor foresees (2 and
// 4 KiB were slower). Several rows have time enough.
template <int Rows> static inline void fetch(const uint8_t *w) {
    constexpr int64_t kAhead = 1024;
    if (Rows == 1) _mm_prefetch(reinterpret_cast<const char *>(w + kAhead), _MM_HINT_T0);
}

// sum += product. By hand, so that a sum stays in its register: g++ 12 moves them about, and one of eight to memory.
static inline void add_to(__m256i &sum, __m256i product) {
    asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(product));
}

// Integer sums of groups that share a scale, for Rows rows of inputs, eight matrix rows in a register.
template <int Rows> struct Sums {
    __m256i low[Rows], high[Rows];

    Sums() {
        for (int m = 0; m < Rows; ++m) low[m] = high[m] = _mm256_setzero_si256();
    }

    inline void add(__m256i w0, __m256i w1, const int16_t *x, int64_t stride) {
        for (int m = 0; m < Rows; ++m) {
            const __m256i a = pair(x + m * stride);
            add_to(low[m], _mm256_madd_epi16(w0, a));
            add_to(high[m], _mm256_madd_epi16(w1, a));
        }
    }
};

template <int Rows>
static void int8_rows(const uint8_t *w, const Inputs &inputs, int64_t first, float *sums) {
    const int64_t stride = inputs.groups * kGroup;
    const int16_t *x = inputs.values + first * stride;
    const float *scales = inputs.scales + first * inputs.groups;
    __m256 low[Rows], high[Rows];
    for (int m = 0; m < Rows; ++m) low[m] = high[m] = _mm256_setzero_ps();
    for (int64_t g = 0; g < inputs.groups; g += kShared) {
        Sums<Rows> total;
        for (int64_t left = std::min(kShared, inputs.groups - g); left > 0; --left)
#pragma GCC unroll 4
            for (int64_t p = 0; p < kGroup / 2; ++p, w += 2 * kTile, x += 2) {
                if (p % 2 == 0) fetch<Rows>(w);
                total.add(widened(w), widened(w + kTile), x, stride);
            }
        for (int m = 0; m < Rows; ++m) {
            const __m256 scale = _mm256_set1_ps(scales[m * inputs.groups + g]);
            low[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total.low[m]), scale, low[m]);
            high[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total.high[m]), scale, high[m]);
        }
    }
    for (int m = 0; m < Rows; ++m) {
        _mm256_storeu_ps(sums + m * kTile, low[m]);
        _mm256_storeu_ps(sums + m * kTile + 8, high[m]);
    }
}

static inline __m256 halves(const uint8_t *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
}

// sum + scale * (product - 8 * mass), or sum + scale * product + minimum * mass
template <bool Minimum>
static inline __m256 joined(__m256i total, __m256 scale, __m256 minimum, float of, float mass, __m256 sum) {
    const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_set1_ps(of));
    if (Minimum)
        return _mm256_fmadd_ps(scale, product, _mm256_fmadd_ps(minimum, _mm256_set1_ps(mass), sum));
    return _mm256_fmadd_ps(scale, _mm256_sub_ps(product, _mm256_set1_ps(8.0f * mass)), sum);
}

template <int Rows, bool Minimum>
static void int4_rows(const uint8_t *w, const Inputs &inputs, int64_t first, float *sums) {
    const int64_t stride = inputs.groups * kGroup;
    const int16_t *x = inputs.values + first * stride;
    const float *scales = inputs.scales + first * inputs.groups, *masses = inputs.sums + first * inputs.groups;
    const __m256i nibble = _mm256_set1_epi16(15);
    __m256 low[Rows], high[Rows];
    for (int m = 0; m < Rows; ++m) low[m] = high[m] = _mm256_setzero_ps();
    for (int64_t g = 0; g < inputs.groups; ++g) {
        Sums<Rows> total;
        for (int word = 0; word < 4; ++word, w += 4 * kTile, x += 8) {
            fetch<Rows>(w);
            __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(w));
            __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(w + 2 * kTile));
            for (int n = 0; n < 4; ++n) {
                total.add(_mm256_and_si256(w0, nibble), _mm256_and_si256(w1, nibble), x + 2 * n, stride);
                w0 = _mm256_srli_epi16(w0, 4);
                w1 = _mm256_srli_epi16(w1, 4);
            }
        }
        fetch<Rows>(w);
        const __m256 scale0 = halves(w), scale1 = halves(w + 16);
        const __m256 least0 = Minimum ? halves(w + kHalves) : scale0, least1 = Minimum ? halves(w + kHalves + 16) : scale1;
        w += Minimum ? 2 * kHalves : kHalves;
        for (int m = 0; m < Rows; ++m) {
            const float of = scales[m * inputs.groups + g], mass = masses[m * inputs.groups + g];
            low[m] = joined<Minimum>(total.low[m], scale0, least0, of, mass, low[m]);
            high[m] = joined<Minimum>(total.high[m], scale1, least1, of, mass, high[m]);
        }
    }
    for (int m = 0; m < Rows; ++m) {
        _mm256_storeu_ps(sums + m * kTile, low[m]);
        _mm256_storeu_ps(sums + m * kTile + 8, high[m]);
    }
}

// Four rows of inputs at a time: their eight sums, two weights and an input fill the registers.
template <template <int> class Few>
static inline void in_fours(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    int64_t m = 0;
    for (; m + 4 <= rows; m += 4) Few<4>::run(w, x, first + m, sums + m * kTile);
    if (rows - m == 3) Few<3>::run(w, x, first + m, sums + m * kTile);
    if (rows - m == 2) Few<2>::run(w, x, first + m, sums + m * kTile);
    if (rows - m == 1) Few<1>::run(w, x, first + m, sums + m * kTile);
}

template <int Rows> struct Int8 {
    static void run(const uint8_t *w, const Inputs &x, int64_t first, float *sums) {
        int8_rows<Rows>(w, x, first, sums);
    }
};
template <int Rows> struct Int4 {
    static void run(const uint8_t *w, const Inputs &x, int64_t first, float *sums) {
        int4_rows<Rows, false>(w, x, first, sums);
    }
};
template <int Rows> struct Int4Minimum {
    static void run(const uint8_t *w, const Inputs &x, int64_t first, float *sums) {
        int4_rows<Rows, true>(w, x, first, sums);
    }
};

static void int8(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    in_fours<Int8>(w, x, first, rows, sums);
}
static void int4(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    in_fours<Int4>(w, x, first, rows, sums);
}
static void int4_minimum(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    in_fours<Int4Minimum>(w, x, first, rows, sums);
}

}  // namespace avx2

const Kernels *avx2_kernels() {
    using namespace avx2;
    static const Kernels kernels = {"AVX2", kBatch, int8, int4, int4_minimum, finish, norm, quantize, activate, rotate,
                                    narrow, halve, attend, join, embed, summarize, shares, shrink, expand};
    return &kernels;
}

}  // namespace lamina

TARGET_END

#else

namespace lamina {
const Kernels *avx2_kernels() { return nullptr; }
}  // namespace lamina

#endif
