// Plain C++ for any processor: what the other levels are checked against, and what runs where they do not.
#include <cstring>

#include "kernels.h"
#include "lamina.h"
#include "layout.h"

#define LANES 4

namespace lamina {
namespace portable {

#include "vectors.h"

#include "rows.h"
#include "low_rank.h"

static inline Vec load(const int8_t *from) {
    return Vec{static_cast<float>(from[0]), static_cast<float>(from[1]), static_cast<float>(from[2]),
               static_cast<float>(from[3])};
}

static float widened(uint16_t bits) {
    const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent == 0) {
        const float small = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
        return sign ? -small : small;
    }
    const uint32_t wide = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

// To the nearest, ties to even. `value` is no number, or rounds to a finite one.
static uint16_t halved(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return sign | 0x7e00u | (size >> 13 & 1023);
    if (size < 0x38800000u) {  // below 2^-14 halves are whole steps of 2^-24, the last place of 1/2
        const float from_half = (value < 0.0f ? -value : value) + 0.5f;
        std::memcpy(&bits, &from_half, 4);
        return sign | (bits - 0x3f000000u);
    }
    return sign | (size + 0xfffu + (size >> 13 & 1) - 0x38000000u) >> 13;
}

static inline Vec load(const uint16_t *from) {
    return Vec{widened(from[0]), widened(from[1]), widened(from[2]), widened(from[3])};
}

static inline void store(uint16_t *to, Vec v) {
    for (int i = 0; i < LANES; ++i) to[i] = halved(v[i]);
}

#include "attention.h"

static float half(const uint8_t *from) {
    uint16_t bits;
    std::memcpy(&bits, from, 2);
    return widened(bits);
}

static void int8(const uint8_t *tile, const Inputs &inputs, int64_t first, int64_t rows, float *sums) {
    for (int64_t m = 0; m < rows; ++m, sums += kTile) {
        const int16_t *x = inputs.values + (first + m) * inputs.groups * kGroup;
        const float *scales = inputs.scales + (first + m) * inputs.groups;
        const int8_t *w = reinterpret_cast<const int8_t *>(tile);
        std::memset(sums, 0, kTile * sizeof(float));
        for (int64_t g = 0; g < inputs.groups; ++g) {
            int32_t total[kTile] = {};
            for (int64_t pair = 0; pair < kGroup / 2; ++pair, w += 2 * kTile, x += 2)
                for (int64_t n = 0; n < kTile; ++n) total[n] += w[2 * n] * x[0] + w[2 * n + 1] * x[1];
            for (int64_t n = 0; n < kTile; ++n) sums[n] += static_cast<float>(total[n]) * scales[g];
        }
    }
}

template <bool Minimum>
static void int4(const uint8_t *tile, const Inputs &inputs, int64_t first, int64_t rows, float *sums) {
    for (int64_t m = 0; m < rows; ++m, sums += kTile) {
        const int16_t *x = inputs.values + (first + m) * inputs.groups * kGroup;
        const float *scales = inputs.scales + (first + m) * inputs.groups;
        const float *masses = inputs.sums + (first + m) * inputs.groups;
        const uint8_t *w = tile;
        std::memset(sums, 0, kTile * sizeof(float));
        for (int64_t g = 0; g < inputs.groups; ++g, x += kGroup) {
            int32_t total[kTile] = {};
            for (int64_t word = 0; word < 4; ++word, w += 4 * kTile)
                for (int64_t n = 0; n < 2 * kTile; ++n) {
                    const uint32_t bits = w[2 * n] | w[2 * n + 1] << 8;
                    for (int64_t nibble = 0; nibble < 4; ++nibble)
                        total[n / 2] += (bits >> 4 * nibble & 15) * x[2 * (4 * word + nibble) + n % 2];
                }
            for (int64_t n = 0; n < kTile; ++n) {
                const float product = static_cast<float>(total[n]) * scales[g];
                const float scale = half(w + 2 * n);
                if (Minimum)
                    sums[n] += scale * product + half(w + kHalves + 2 * n) * masses[g];
                else
                    sums[n] += scale * (product - 8.0f * masses[g]);
            }
            w += Minimum ? 2 * kHalves : kHalves;
        }
    }
}

}  // namespace portable

const Kernels *portable_kernels() {
    using namespace portable;
    static const Kernels kernels = {"portable", kBatch, int8, int4<false>, int4<true>, finish, norm, quantize, activate,
                                    rotate, narrow, halve, attend, join, embed, summarize, shares, shrink, expand};
    return &kernels;
}

}  // namespace lamina
