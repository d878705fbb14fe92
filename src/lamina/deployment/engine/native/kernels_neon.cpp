// ARM's NEON, which every 64-bit processor has: weights are widened to 16 bits, multiplied with the int16 inputs and
// added up exactly in 32 bits.
#include <cstring>

#include "kernels.h"
#include "lamina.h"
#include "layout.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define LANES 4

namespace lamina {
namespace neon {

#include "vectors.h"

#include "rows.h"
#include "low_rank.h"

#include "neon_stored.h"

#include "attention.h"

// Integer sums of a group for Rows rows of inputs; even and odd columns of a matrix row lie in neighbouring lanes.
template <int Rows> struct Sums {
    int32x4_t of[Rows][8];

    Sums() {
        for (int m = 0; m < Rows; ++m)
            for (int i = 0; i < 8; ++i) of[m][i] = vdupq_n_s32(0);
    }

    // Two columns of the matrix rows 4 i to 4 i + 3 times those of the inputs `x`.
    inline void add(int i, int16x8_t w, const int16_t *x, int64_t stride) {
        for (int m = 0; m < Rows; ++m) {
            int32_t both;
            std::memcpy(&both, x + m * stride, 4);
            const int16x8_t pair = vreinterpretq_s16_s32(vdupq_n_s32(both));
            of[m][2 * i] = vmlal_s16(of[m][2 * i], vget_low_s16(w), vget_low_s16(pair));
            of[m][2 * i + 1] = vmlal_high_s16(of[m][2 * i + 1], w, pair);
        }
    }

    inline void total(int32x4_t (*out)[4]) const {
        for (int m = 0; m < Rows; ++m)
            for (int i = 0; i < 4; ++i) out[m][i] = vpaddq_s32(of[m][2 * i], of[m][2 * i + 1]);
    }
};

template <int Rows>
static inline void int8_sums(const uint8_t *w, const int16_t *x, int64_t stride, int32x4_t (*total)[4]) {
    Sums<Rows> sums;
    for (int64_t p = 0; p < kGroup / 2; ++p, w += 2 * kTile, x += 2)
        for (int half = 0; half < 2; ++half) {
            const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(w + half * kTile));
            sums.add(2 * half, vmovl_s8(vget_low_s8(bytes)), x, stride);
            sums.add(2 * half + 1, vmovl_high_s8(bytes), x, stride);
        }
    sums.total(total);
}

template <int Rows>
static inline void int4_sums(const uint8_t *w, const int16_t *x, int64_t stride, int32x4_t (*total)[4]) {
    Sums<Rows> sums;
    const uint16x8_t nibble = vdupq_n_u16(15);
    for (int word = 0; word < 4; ++word, w += 4 * kTile, x += 8)
        for (int i = 0; i < 4; ++i) {
            uint16x8_t bits = vreinterpretq_u16_u8(vld1q_u8(w + i * kTile));
            for (int n = 0; n < 4; ++n, bits = vshrq_n_u16(bits, 4))
                sums.add(i, vreinterpretq_s16_u16(vandq_u16(bits, nibble)), x + 2 * n, stride);
        }
    sums.total(total);
}

#include "neon.h"

}  // namespace neon

const Kernels *neon_kernels() {
    using namespace neon;
    static const Kernels kernels = {"NEON", kBatch, product<Int8>, product<Int4<false>>, product<Int4<true>>, finish,
                                    norm, quantize, activate, rotate, narrow, halve, attend, join, embed, summarize,
                                    shares, shrink, expand};
    return &kernels;
}

}  // namespace lamina

#else

namespace lamina {
const Kernels *neon_kernels() { return nullptr; }
}  // namespace lamina

#endif
