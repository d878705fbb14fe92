// Short vectors of float by the compiler's vector extension; included into the namespace of each level, LANES wide.
// No include guard: every level has its own copy, compiled for its instructions.

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t IntVec __attribute__((vector_size(LANES * 4)));
typedef int16_t ShortVec __attribute__((vector_size(LANES * 2)));
typedef int8_t ByteVec __attribute__((vector_size(LANES)));

static inline Vec load(const float *from) {
    Vec v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(float *to, Vec v) { __builtin_memcpy(to, &v, sizeof v); }

static inline Vec all(float value) { return value - Vec{}; }

static inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

static inline float sum(Vec v) {
    // Pairwise, so that the compiler folds halves instead of adding lane after lane.
    float lanes[LANES];
    store(lanes, v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    return lanes[0];
}

typedef float Quad __attribute__((vector_size(16)));

#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (IntQuad){__VA_ARGS__})
typedef int32_t IntQuad __attribute__((vector_size(16)));
#endif

// `sum` of each of four, bit for bit: halves are added until four lanes are left of each, then these.
#if LANES == 16 && (defined(__clang__) || __GNUC__ >= 12)
static inline Vec joined(Vec a, Vec b) {
    return PICK(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           PICK(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

static inline Quad sums(Vec a, Vec b, Vec c, Vec d) {
    const Vec ab = joined(a, b), cd = joined(c, d);
    const Vec quads = PICK(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                      PICK(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const Vec pairs = quads + PICK(quads, quads, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    const Vec whole = pairs + PICK(pairs, pairs, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return PICK(whole, whole, 0, 4, 8, 12);
}
#elif LANES == 8 && (defined(__clang__) || __GNUC__ >= 12)
static inline Quad sums(Vec a, Vec b, Vec c, Vec d) {
    const Vec ab = PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    const Vec cd = PICK(c, d, 0, 1, 2, 3, 8, 9, 10, 11) + PICK(c, d, 4, 5, 6, 7, 12, 13, 14, 15);
    const Vec pairs = PICK(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + PICK(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    return PICK(pairs, pairs, 0, 4, 2, 6) + PICK(pairs, pairs, 1, 5, 3, 7);
}
#else
static inline Quad folded(Vec v) {
    Quad quads[LANES / 4];
    __builtin_memcpy(quads, &v, sizeof v);
    for (int width = LANES / 8; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) quads[i] += quads[i + width];
    return quads[0];
}

static inline Quad sums(Vec a, Vec b, Vec c, Vec d) {
    const Quad w = folded(a), x = folded(b), y = folded(c), z = folded(d);
    const Quad first = PICK(w, x, 0, 1, 4, 5) + PICK(w, x, 2, 3, 6, 7);
    const Quad second = PICK(y, z, 0, 1, 4, 5) + PICK(y, z, 2, 3, 6, 7);
    return PICK(first, second, 0, 2, 4, 6) + PICK(first, second, 1, 3, 5, 7);
}
#endif

static inline float largest(Vec v) {
    float lanes[LANES];
    store(lanes, v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    return lanes[0];
}

// To the nearest integer, ties to even: above 1.5 * 2^23 float32 has no fractions. For |v| < 2^22.
static inline Vec nearest(Vec v) {
    const Vec magic = all(12582912.0f);
    return (v + magic) - magic;
}

static inline Vec magnitude(Vec v) { return (Vec)((IntVec)v & 0x7fffffff); }

// e^v within 2 units of the last place; 0 below -87, and never infinite.
static inline Vec exponential(Vec v) {
    const Vec lowest = all(-87.0f), highest = all(88.0f);
    const Vec x = v > highest ? highest : (v < lowest ? lowest : v);
    const Vec n = nearest(x * 1.44269504f);
    // x - n * ln 2, ln 2 in two parts so that the product with n is exact
    const Vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    Vec p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const IntVec power = (__builtin_convertvector(n, IntVec) + 127) << 23;
    const Vec value = p * (Vec)power;
    return v < lowest ? Vec{} : value;
}
