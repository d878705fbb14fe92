// How ARM reads and writes stored keys and values. No include guard: every level has its own copy.

static inline Vec load(const int8_t *from) {
    int32_t bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(bytes)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

static inline Vec load(const uint16_t *from) {
    uint16x4_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return vcvt_f32_f16(vreinterpret_f16_u16(bits));
}

static inline void store(uint16_t *to, Vec v) {
    const uint16x4_t bits = vreinterpret_u16_f16(vcvt_f16_f32(v));
    std::memcpy(to, &bits, sizeof bits);
}
