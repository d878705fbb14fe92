// Attention of the query heads that share a key-value head, over at most kSpan stored tokens. See vectors.h.
// Each span yields its weighted sum, greatest score and mass; `join` adds spans up (Milakov and Gimelshein 2018,
// arXiv 1805.02867).

constexpr int64_t kQueries = 8;  // whose scores lie in the first-level cache at a time

// Scores of `count` neighbouring keys; four at a time, so that four sums are under way.
static inline void score(const float *query, const float *keys, int64_t count, int64_t head_dim, float *scores) {
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const float *key = keys + j * head_dim;
        Vec a{}, b{}, c{}, d{};
        for (int64_t i = 0; i < head_dim; i += LANES) {
            const Vec q = load(query + i);
            a += q * load(key + i);
            b += q * load(key + head_dim + i);
            c += q * load(key + 2 * head_dim + i);
            d += q * load(key + 3 * head_dim + i);
        }
        scores[j] = sum(a);
        scores[j + 1] = sum(b);
        scores[j + 2] = sum(c);
        scores[j + 3] = sum(d);
    }
    for (; j < count; ++j) {
        Vec a{};
        for (int64_t i = 0; i < head_dim; i += LANES) a += load(query + i) * load(keys + j * head_dim + i);
        scores[j] = sum(a);
    }
}

// out[i] += sum_j weights[j] * values[j][i] for `Parts` vectors of a head, which stay in registers.
template <int Parts>
static inline void add_part(const float *weights, const float *values, int64_t count, int64_t head_dim, float *out) {
    Vec total[Parts];
    for (int p = 0; p < Parts; ++p) total[p] = load(out + p * LANES);
    for (int64_t j = 0; j < count; ++j)
        for (int p = 0; p < Parts; ++p) total[p] += weights[j] * load(values + j * head_dim + p * LANES);
    for (int p = 0; p < Parts; ++p) store(out + p * LANES, total[p]);
}

static inline void add_values(const float *weights, const float *values, int64_t count, int64_t head_dim, float *out) {
    int64_t i = 0;
    for (; i + 8 * LANES <= head_dim; i += 8 * LANES) add_part<8>(weights, values + i, count, head_dim, out + i);
    for (; i + 4 * LANES <= head_dim; i += 4 * LANES) add_part<4>(weights, values + i, count, head_dim, out + i);
    for (; i + LANES <= head_dim; i += LANES) add_part<1>(weights, values + i, count, head_dim, out + i);
}

// Scores to weights e^(score - greatest); returns their sum.
static inline float soften(float *scores, int64_t count, float &greatest) {
    const int64_t whole = (count + LANES - 1) / LANES * LANES;
    for (int64_t j = count; j < whole; ++j) scores[j] = -__builtin_inff();
    Vec most = load(scores);
    for (int64_t j = LANES; j < whole; j += LANES) most = larger(most, load(scores + j));
    greatest = largest(most);
    Vec mass{};
    for (int64_t j = 0; j < whole; j += LANES) {
        const Vec weight = exponential(load(scores + j) - greatest);
        store(scores + j, weight);
        mass += weight;
    }
    return sum(mass);
}

// Calls `visit(first, count, slot)` for each run of tokens whose slots are neighbours, from `begin` to `end`.
template <class Visit> static inline void runs(const Span &s, const Visit &visit) {
    int64_t at = s.begin;
    while (at < s.end) {
        const int64_t slot = s.table[at / s.block_tokens] * s.block_tokens + at % s.block_tokens;
        int64_t count = s.block_tokens - at % s.block_tokens;
        while (at + count < s.end && s.table[(at + count) / s.block_tokens] * s.block_tokens == slot + count)
            count += s.block_tokens;
        if (count > s.end - at) count = s.end - at;
        visit(at - s.begin, count, slot);
        at += count;
    }
}

static void attend(const Span &s) {
    alignas(64) float scores[kQueries][kSpan];
    for (int64_t first = 0; first < s.heads; first += kQueries) {
        const int64_t heads = s.heads - first < kQueries ? s.heads - first : kQueries;
        runs(s, [&](int64_t at, int64_t count, int64_t slot) {
            for (int64_t h = 0; h < heads; ++h)
                score(s.queries + (first + h) * s.head_dim, s.keys + slot * s.head_dim, count, s.head_dim, scores[h] + at);
        });
        for (int64_t h = 0; h < heads; ++h) {
            float *out = s.out + (first + h) * s.out_stride;
            for (int64_t i = 0; i < s.head_dim; ++i) out[i] = 0.0f;
            out[s.head_dim + 1] = soften(scores[h], s.end - s.begin, out[s.head_dim]);
        }
        runs(s, [&](int64_t at, int64_t count, int64_t slot) {
            for (int64_t h = 0; h < heads; ++h)
                add_values(scores[h] + at, s.values + slot * s.head_dim, count, s.head_dim,
                           s.out + (first + h) * s.out_stride);
        });
    }
}

static void join(const float *parts, int64_t count, int64_t stride, int64_t head_dim, float *out) {
    float greatest = parts[head_dim];
    for (int64_t c = 1; c < count; ++c)
        if (parts[c * stride + head_dim] > greatest) greatest = parts[c * stride + head_dim];
    float mass = 0.0f;
    for (int64_t i = 0; i < head_dim; ++i) out[i] = 0.0f;
    for (int64_t c = 0; c < count; ++c) {
        const float *part = parts + c * stride;
        const float weight = exponential(all(part[head_dim] - greatest))[0];
        mass += weight * part[head_dim + 1];
        for (int64_t i = 0; i < head_dim; i += LANES) store(out + i, load(out + i) + weight * load(part + i));
    }
    for (int64_t i = 0; i < head_dim; i += LANES) store(out + i, load(out + i) / mass);
}
