// Products on ARM, from the integer sums of a group that a level provides: `int8_sums` and `int4_sums`, each
// (const uint8_t *group, const int16_t *inputs, int64_t stride, int32x4_t (*total)[4]) for Rows rows of inputs `stride`
// apart; total[m][i] holds the matrix rows 4 i to 4 i + 3. No include guard: every level has its own copy.

static inline float32x4_t halves(const uint8_t *from) {
    uint16x4_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return vcvt_f32_f16(vreinterpret_f16_u16(bits));
}

struct Int8 {
    static constexpr int64_t kBytes = kInt8Group;

    template <int Rows>
    static void sums(const uint8_t *group, const int16_t *x, int64_t stride, int32x4_t (*total)[4]) {
        int8_sums<Rows>(group, x, stride, total);
    }
    static float32x4_t joined(const uint8_t *, int, int32x4_t total, float scale, float, float32x4_t sum) {
        return vfmaq_n_f32(sum, vcvtq_f32_s32(total), scale);
    }
};

// sum + scale * (product - 8 * mass), or sum + scale * product + minimum * mass
template <bool Minimum> struct Int4 {
    static constexpr int64_t kBytes = Minimum ? kInt4MinimumGroup : kInt4Group;

    template <int Rows>
    static void sums(const uint8_t *group, const int16_t *x, int64_t stride, int32x4_t (*total)[4]) {
        int4_sums<Rows>(group, x, stride, total);
    }
    static float32x4_t joined(const uint8_t *group, int i, int32x4_t total, float of, float mass, float32x4_t sum) {
        const float32x4_t scale = halves(group + kNibbles + 8 * i), product = vmulq_n_f32(vcvtq_f32_s32(total), of);
        if (Minimum)
            return vfmaq_f32(vfmaq_n_f32(sum, halves(group + kNibbles + kHalves + 8 * i), mass), scale, product);
        return vfmaq_f32(sum, scale, vsubq_f32(product, vdupq_n_f32(8.0f * mass)));
    }
};

template <class Form, int Rows>
static void few_rows(const uint8_t *w, const Inputs &inputs, int64_t first, float *sums) {
    const int64_t stride = inputs.groups * kGroup;
    const int16_t *x = inputs.values + first * stride;
    const float *scales = inputs.scales + first * inputs.groups, *masses = inputs.sums + first * inputs.groups;
    float32x4_t sum[Rows][4];
    for (int m = 0; m < Rows; ++m)
        for (int i = 0; i < 4; ++i) sum[m][i] = vdupq_n_f32(0.0f);
    for (int64_t g = 0; g < inputs.groups; ++g, w += Form::kBytes, x += kGroup) {
        int32x4_t total[Rows][4];
        Form::template sums<Rows>(w, x, stride, total);
        for (int m = 0; m < Rows; ++m)
            for (int i = 0; i < 4; ++i)
                sum[m][i] = Form::joined(w, i, total[m][i], scales[m * inputs.groups + g],
                                         masses[m * inputs.groups + g], sum[m][i]);
    }
    for (int m = 0; m < Rows; ++m)
        for (int i = 0; i < 4; ++i) vst1q_f32(sums + m * kTile + 4 * i, sum[m][i]);
}

// Two rows of inputs at a time: their sums and the weights fill the registers.
template <class Form>
static void product(const uint8_t *w, const Inputs &x, int64_t first, int64_t rows, float *sums) {
    int64_t m = 0;
    for (; m + 2 <= rows; m += 2) few_rows<Form, 2>(w, x, first + m, sums + m * kTile);
    if (m < rows) few_rows<Form, 1>(w, x, first + m, sums + m * kTile);
}
