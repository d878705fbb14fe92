// ARM with sdot: sixteen products of 8 bits, added up by fours. An input of 16 bits is 256 * high + low, both of 8 bits,
// so that two of them do what takes NEON six instructions, as exactly.
#include <cstring>

#include "kernels.h"
#include "lamina.h"
#include "layout.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include "target.h"

#define LANES 4
#define LARGEST_INPUT 32639  // 256 * 127 + 127

TARGET_DOTPROD

namespace lamina {
namespace dotprod {

#include "vectors.h"

#include "rows.h"
#include "low_rank.h"

#include "neon_stored.h"

#include "attention.h"

// As everywhere; then each group's int16 become 32 high bytes and 32 low ones in their place.
static void quantize_parted(const float *x, int64_t row, const Inputs &out, int64_t begin, int64_t end) {
    quantize(x, row, out, begin, end);
    for (int64_t g = begin; g < end; ++g) {
        int16_t *values = out.values + (row * out.groups + g) * kGroup;
        int8x8_t high[4], low[4];
        for (int i = 0; i < 4; ++i) {
            const int16x8_t whole = vld1q_s16(values + 8 * i);
            high[i] = vrshrn_n_s16(whole, 8);
            low[i] = vmovn_s16(whole);
        }
        std::memcpy(values, high, sizeof high);
        std::memcpy(values + kGroup / 2, low, sizeof low);
    }
}

// Integer sums of a group for Rows rows of inputs.
template <int Rows> struct Sums {
    int32x4_t high[Rows][4], low[Rows][4];

    Sums() {
        for (int m = 0; m < Rows; ++m)
            for (int i = 0; i < 4; ++i) high[m][i] = low[m][i] = vdupq_n_s32(0);
    }

    // Four columns of the matrix rows 4 i to 4 i + 3 times the four inputs at `Lane`.
    template <int Lane> inline void add(int i, int8x16_t w, const int8x8_t *highs, const int8x8_t *lows) {
        for (int m = 0; m < Rows; ++m) {
            high[m][i] = vdotq_lane_s32(high[m][i], w, highs[m], Lane);
            low[m][i] = vdotq_lane_s32(low[m][i], w, lows[m], Lane);
        }
    }

    inline void total(int32x4_t (*out)[4]) const {
        for (int m = 0; m < Rows; ++m)
            for (int i = 0; i < 4; ++i) out[m][i] = vaddq_s32(vshlq_n_s32(high[m][i], 8), low[m][i]);
    }
};

// Eight inputs of each row, from column `at` of a group on.
template <int Rows>
static inline void eight(const int16_t *x, int64_t stride, int64_t at, int8x8_t *highs, int8x8_t *lows) {
    for (int m = 0; m < Rows; ++m) {
        const int8_t *bytes = reinterpret_cast<const int8_t *>(x + m * stride) + at;
        highs[m] = vld1_s8(bytes);
        lows[m] = vld1_s8(bytes + kGroup);
    }
}

// Columns 2 p, 2 p + 1 and 2 p + 2, 2 p + 3 of eight matrix rows, side by side.
static inline int8x16x2_t fours(const uint8_t *pairs) {
    const int16x8_t a = vreinterpretq_s16_u8(vld1q_u8(pairs)), b = vreinterpretq_s16_u8(vld1q_u8(pairs + 2 * kTile));
    return {vreinterpretq_s8_s16(vzip1q_s16(a, b)), vreinterpretq_s8_s16(vzip2q_s16(a, b))};
}

template <int Rows>
static inline void int8_sums(const uint8_t *w, const int16_t *x, int64_t stride, int32x4_t (*total)[4]) {
    Sums<Rows> sums;
    int8x8_t highs[Rows], lows[Rows];
    for (int64_t at = 0; at < kGroup; at += 8, w += 8 * kTile) {
        eight<Rows>(x, stride, at, highs, lows);
        for (int half = 0; half < 2; ++half) {
            const int8x16x2_t first = fours(w + half * kTile), second = fours(w + 4 * kTile + half * kTile);
            for (int i = 0; i < 2; ++i) {
                sums.template add<0>(2 * half + i, first.val[i], highs, lows);
                sums.template add<1>(2 * half + i, second.val[i], highs, lows);
            }
        }
    }
    sums.total(total);
}

template <int Rows>
static inline void int4_sums(const uint8_t *w, const int16_t *x, int64_t stride, int32x4_t (*total)[4]) {
    Sums<Rows> sums;
    int8x8_t highs[Rows], lows[Rows];
    // The lower nibbles of a row's four bytes are the columns 0, 4, 1, 5 of a word's eight, the upper ones 2, 6, 3, 7.
    const uint8x8_t order = {0, 4, 1, 5, 2, 6, 3, 7};
    for (int64_t at = 0; at < kGroup; at += 8, w += 4 * kTile) {
        eight<Rows>(x, stride, at, highs, lows);
        for (int m = 0; m < Rows; ++m) {
            highs[m] = vtbl1_s8(highs[m], vreinterpret_s8_u8(order));
            lows[m] = vtbl1_s8(lows[m], vreinterpret_s8_u8(order));
        }
        for (int i = 0; i < 4; ++i) {
            const uint8x16_t bits = vld1q_u8(w + i * kTile);
            sums.template add<0>(i, vreinterpretq_s8_u8(vandq_u8(bits, vdupq_n_u8(15))), highs, lows);
            sums.template add<1>(i, vreinterpretq_s8_u8(vshrq_n_u8(bits, 4)), highs, lows);
        }
    }
    sums.total(total);
}

#include "neon.h"

}  // namespace dotprod

const Kernels *dotprod_kernels() {
    using namespace dotprod;
    static const Kernels kernels = {"NEON with dot products", kBatch, product<Int8>, product<Int4<false>>,
                                    product<Int4<true>>, finish, norm, quantize_parted, activate, rotate, narrow, halve,
                                    attend, join, embed, summarize, shares, shrink, expand};
    return &kernels;
}

}  // namespace lamina

TARGET_END

#else

namespace lamina {
const Kernels *dotprod_kernels() { return nullptr; }
}  // namespace lamina

#endif
