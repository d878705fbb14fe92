// What is done to one row of hidden states: norms, inputs of the products, activations, rotation. See vectors.h.

#ifndef LARGEST_INPUT
#define LARGEST_INPUT 32767  // of a group of inputs
#endif

// Neighbouring scores that are added up in float32, which holds so many well enough.
constexpr int64_t kRun = 1024;

// What follows a row's last whole vector, less `mean`, with zeros behind it.
static inline Vec tail(const float *x, int64_t count, float mean) {
    float rest[LANES] = {};
    for (int64_t k = 0; k < count; ++k) rest[k] = x[k] - mean;
    return load(rest);
}

static void finish(const float *sums, const float *scales, const float *bias, int64_t rows, float *out, int64_t stride,
                   bool add) {
    for (int64_t n = 0; n < kTile; n += LANES) {
        const Vec scale = load(scales + n), more = load(bias + n);
        for (int64_t r = 0; r < rows; ++r) {
            const Vec found = load(sums + r * kTile + n) * scale + more;
            store(out + r * stride + n, add ? load(out + r * stride + n) + found : found);
        }
    }
}

static void norm(const float *x, const float *weight, const float *bias, float epsilon, int64_t width, float *out) {
    const int64_t whole = width / LANES * LANES, padded = (width + LANES - 1) / LANES * LANES;
    float mean = 0.0f;
    if (bias != nullptr) {
        Vec total{};
        for (int64_t i = 0; i < padded; i += LANES) total += load(x + i);
        mean = sum(total) / static_cast<float>(width);
    }
    Vec squares{};
    for (int64_t i = 0; i < whole; i += LANES) {
        const Vec d = load(x + i) - mean;
        squares += d * d;
    }
    const Vec last = tail(x + whole, width - whole, mean);
    const float variance = sum(squares + last * last) / static_cast<float>(width);
    const float factor = 1.0f / __builtin_sqrtf(variance + epsilon);
    for (int64_t i = 0; i < padded; i += LANES) {
        Vec y = (load(x + i) - mean) * factor * load(weight + i);
        if (bias != nullptr) y += load(bias + i);
        store(out + i, y);
    }
}

static void quantize(const float *row_of_x, int64_t row, const Inputs &out, int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kShared) {
        const int64_t last = first + kShared < end ? first + kShared : end;
        Vec limit{}, poison{};
        for (int64_t i = first * kGroup; i < last * kGroup; i += LANES) {
            limit = larger(limit, magnitude(load(row_of_x + i)));
            poison += load(row_of_x + i) * 0.0f;  // NaN where x is no number: integers could not say so
        }
        const float most = largest(limit);
        const float factor = most > 0.0f ? float(LARGEST_INPUT) / most : 0.0f;
        const float scale = most / float(LARGEST_INPUT) + sum(poison);
        for (int64_t g = first; g < last; ++g) {
            const float *x = row_of_x + g * kGroup;
            int16_t *values = out.values + (row * out.groups + g) * kGroup;
            IntVec total{};
            for (int64_t i = 0; i < kGroup; i += LANES) {
                const IntVec steps = __builtin_convertvector(nearest(load(x + i) * factor), IntVec);
                total += steps;
                const ShortVec narrow = __builtin_convertvector(steps, ShortVec);
                __builtin_memcpy(values + i, &narrow, sizeof narrow);
            }
            int32_t whole = 0;
            for (int i = 0; i < LANES; ++i) whole += total[i];
            out.scales[row * out.groups + g] = scale;
            out.sums[row * out.groups + g] = scale * static_cast<float>(whole);
        }
    }
}

// A scale of its own for each head of each token: the largest number becomes 127.
static void narrow(const float *x, int64_t head_dim, int8_t *out, float *scale) {
    Vec limit{}, poison{};
    for (int64_t i = 0; i < head_dim; i += LANES) {
        limit = larger(limit, magnitude(load(x + i)));
        poison += load(x + i) * 0.0f;
    }
    const float most = largest(limit);
    const float factor = most > 0.0f ? 127.0f / most : 0.0f;
    for (int64_t i = 0; i < head_dim; i += LANES) {
        const IntVec steps = __builtin_convertvector(nearest(load(x + i) * factor), IntVec);
        // by way of 16 bits, which compilers know how to do
        const ByteVec bytes = __builtin_convertvector(__builtin_convertvector(steps, ShortVec), ByteVec);
        __builtin_memcpy(out + i, &bytes, sizeof bytes);
    }
    *scale = most / 127.0f + sum(poison);
}

static inline Vec sigmoid(Vec v) { return 1.0f / (1.0f + exponential(-v)); }

// By Abramowitz and Stegun 7.1.26, within 1.5e-7.
static inline Vec error_function(Vec v) {
    const Vec x = magnitude(v);
    const Vec t = 1.0f / (1.0f + 0.3275911f * x);
    Vec p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const Vec y = 1.0f - p * t * exponential(-x * x);
    return v < Vec{} ? -y : y;
}

static inline Vec activated(Vec v, int64_t activation) {
    switch (activation) {
        case LAMINA_RELU:
            return v < Vec{} ? Vec{} : v;  // what is no number stays none
        case LAMINA_RELU2:
            return v < Vec{} ? Vec{} : v * v;
        case LAMINA_GELU:
            return 0.5f * v * (1.0f + error_function(v * 0.70710678f));
        case LAMINA_GELU_TANH:  // (1 + tanh y) / 2 is the sigmoid of 2 y
            return v * sigmoid(1.59576912f * (v + 0.044715f * v * v * v));
        default:
            return v * sigmoid(v);
    }
}

static void activate(const float *x, const float *up, int64_t activation, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i += LANES) {
        const Vec y = activated(load(x + i), activation);
        store(out + i, up == nullptr ? y : y * load(up + i));
    }
}

// Turns the pairs (x[i], x[i + head_dim / 2]) by their angles; arXiv 2104.09864 in the rotate-half layout.
static void rotate(float *head, const float *cosines, const float *sines, int64_t head_dim) {
    const int64_t half = head_dim / 2;
    for (int64_t i = 0; i < half; ++i) {
        const float a = head[i], b = head[half + i];
        head[i] = a * cosines[i] - b * sines[i];
        head[half + i] = b * cosines[i] + a * sines[i];
    }
}

// The greatest of `count` scores that are numbers; `run`: where the run of kRun begins in which it stands first.
static inline float greatest_of(const float *scores, int64_t count, int64_t &run) {
    float greatest = -__builtin_inff();
    run = 0;
    for (int64_t begin = 0; begin < count; begin += kRun) {
        const int64_t end = begin + kRun < count ? begin + kRun : count;
        Vec most = all(greatest);
        int64_t i = begin;
        for (; i + LANES <= end; i += LANES) most = larger(load(scores + i), most);
        float here = largest(most);
        for (; i < end; ++i) here = scores[i] > here ? scores[i] : here;
        if (here > greatest) run = begin;
        greatest = here;
    }
    return greatest;
}

// Calls use(at, below) for vectors of scores less the greatest, with impossible ones behind the last.
template <class Use>
static inline void below_greatest(const float *scores, int64_t begin, int64_t end, float greatest, const Use &use) {
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES) use(i, load(scores + i) - greatest);
    if (i == end) return;
    float rest[LANES];
    for (int64_t k = 0; k < LANES; ++k) rest[k] = i + k < end ? scores[i + k] - greatest : -__builtin_inff();
    use(i, load(rest));
}

static void summarize(const float *scores, int64_t count, double *out) {
    int64_t place;
    const float greatest = greatest_of(scores, count, place);
    while (place < count - 1 && scores[place] != greatest) ++place;
    double mass = 0.0, weighted = 0.0;
    for (int64_t begin = 0; begin < count; begin += kRun) {
        Vec of_mass{}, of_weighted{};
        below_greatest(scores, begin, begin + kRun < count ? begin + kRun : count, greatest, [&](int64_t, Vec below) {
            const Vec share = exponential(below);
            of_mass += share;
            of_weighted += share * larger(below, all(-1e30f));  // what is impossible weighs nothing
        });
        mass += sum(of_mass);
        weighted += sum(of_weighted);
    }
    out[0] = greatest;
    out[1] = mass;
    out[2] = weighted;
    out[3] = static_cast<double>(place);
}

static void shares(const float *scores, int64_t count, float temperature, float *out) {
    int64_t run;
    const float greatest = greatest_of(scores, count, run);
    below_greatest(scores, 0, count, greatest, [&](int64_t at, Vec below) {
        const Vec share = exponential(below / temperature);
        if (at + LANES <= count)
            store(out + at, share);
        else
            __builtin_memcpy(out + at, &share, (count - at) * sizeof(float));
    });
}

static void embed(const int8_t *row, float scale, const float *place, int64_t width, float *out) {
    for (int64_t i = 0; i < width; ++i)
        out[i] = static_cast<float>(row[i]) * scale + (place == nullptr ? 0.0f : place[i]);
}
