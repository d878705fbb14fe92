// Attention of the query heads that share a key-value head, over at most kSpan stored tokens. See vectors.h; a level
// gives `load` for int8 and halves besides, and `store` for halves: compilers do not find these conversions by themselves.
// Each span yields its weighted sum, greatest score and mass; `join` adds spans up (Milakov and Gimelshein 2018,
// arXiv 1805.02867).

constexpr int64_t kQueries = 16;  // that share the keys in the first-level cache

// One query, its scores, and how many of a span's tokens it sees.
struct Query {
    const float *query;
    float *scores, *out;
    int64_t count;
};

// Scores of `count` neighbouring keys from `at` on for Queries queries; four keys at a time, so that sums are under way
// while others wait.
template <int Queries>
static inline void score(const Query *queries, const float *keys, int64_t at, int64_t count, int64_t head_dim) {
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const float *key = keys + j * head_dim;
        Vec total[Queries][4];
        for (int n = 0; n < Queries; ++n)
            for (int k = 0; k < 4; ++k) total[n][k] = Vec{};
        for (int64_t i = 0; i < head_dim; i += LANES) {
            Vec q[Queries];
            for (int n = 0; n < Queries; ++n) q[n] = load(queries[n].query + i);
            for (int k = 0; k < 4; ++k) {
                const Vec of_key = load(key + k * head_dim + i);
                for (int n = 0; n < Queries; ++n) total[n][k] += q[n] * of_key;
            }
        }
        for (int n = 0; n < Queries; ++n) {
            const Quad four = sums(total[n][0], total[n][1], total[n][2], total[n][3]);
            __builtin_memcpy(queries[n].scores + at + j, &four, sizeof four);
        }
    }
    for (; j < count; ++j)
        for (int n = 0; n < Queries; ++n) {
            Vec total{};
            for (int64_t i = 0; i < head_dim; i += LANES)
                total += load(queries[n].query + i) * load(keys + j * head_dim + i);
            queries[n].scores[at + j] = sum(total);
        }
}

// out[i] += sum_j score[j] * values[j][i] of Queries queries, for the Parts vectors of a head from `i` on, which stay in
// registers.
template <int Queries, int Parts>
static inline void add_part(const Query *queries, const float *values, int64_t at, int64_t count, int64_t head_dim,
                            int64_t i) {
    Vec total[Queries][Parts];
    for (int n = 0; n < Queries; ++n)
        for (int p = 0; p < Parts; ++p) total[n][p] = load(queries[n].out + i + p * LANES);
    for (int64_t j = 0; j < count; ++j)
        for (int p = 0; p < Parts; ++p) {
            const Vec value = load(values + j * head_dim + i + p * LANES);
            for (int n = 0; n < Queries; ++n) total[n][p] += queries[n].scores[at + j] * value;
        }
    for (int n = 0; n < Queries; ++n)
        for (int p = 0; p < Parts; ++p) store(queries[n].out + i + p * LANES, total[n][p]);
}

// The same for whole heads, and `count` tokens from `at` on.
template <int Queries>
static inline void add_values(const Query *queries, const float *values, int64_t at, int64_t count, int64_t head_dim) {
    constexpr int kMost = Queries == 1 ? 8 : 4;
    int64_t i = 0;
    for (; i + kMost * LANES <= head_dim; i += kMost * LANES)
        add_part<Queries, kMost>(queries, values, at, count, head_dim, i);
    for (; i + 4 * LANES <= head_dim; i += 4 * LANES) add_part<Queries, 4>(queries, values, at, count, head_dim, i);
    for (; i + LANES <= head_dim; i += LANES) add_part<Queries, 1>(queries, values, at, count, head_dim, i);
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

constexpr float kLargestHalf = 65504.0f;

static void halve(const float *x, int64_t head_dim, uint16_t *out) {
    const Vec highest = all(kLargestHalf), lowest = all(-kLargestHalf);
    for (int64_t i = 0; i < head_dim; i += LANES) {
        const Vec v = load(x + i);
        // times zero: NaN where x is infinite, which the largest half would hide
        store(out + i, (v > highest ? highest : (v < lowest ? lowest : v)) + v * 0.0f);
    }
}

template <class Number> static inline void widen(const void *stored, int64_t first, int64_t count, float *to) {
    const Number *from = static_cast<const Number *>(stored) + first;
    for (int64_t i = 0; i < count; i += LANES) store(to + i, load(from + i));
}

// Calls `use(at, count, slot, numbers)` for the first `tokens` tokens of a span, as many neighbours at a time as stay in
// the first-level cache: their keys or values in float32, where they lie or widened. Scales come afterwards.
template <class Use> static inline void over(const Span &s, const void *stored, int64_t tokens, const Use &use) {
    alignas(64) float wide[kNear];
    const int64_t most = kNear / s.head_dim, end = s.begin + tokens;
    for (int64_t at = s.begin; at < end;) {
        const int64_t slot = s.table[at / s.block_tokens] * s.block_tokens + at % s.block_tokens;
        int64_t count = s.block_tokens - at % s.block_tokens;
        while (count < most && at + count < end &&
               s.table[(at + count) / s.block_tokens] * s.block_tokens == slot + count)
            count += s.block_tokens;
        count = count < most ? count : most;
        count = count < end - at ? count : end - at;
        const float *numbers = wide;
        if (s.stored == LAMINA_STORED_INT8)
            widen<int8_t>(stored, slot * s.head_dim, count * s.head_dim, wide);
        else if (s.stored == LAMINA_STORED_HALF)
            widen<uint16_t>(stored, slot * s.head_dim, count * s.head_dim, wide);
        else
            numbers = static_cast<const float *>(stored) + slot * s.head_dim;
        use(at - s.begin, count, slot, numbers);
        at += count;
    }
}

// Times the scales of int8 numbers.
static inline void scale(float *numbers, const float *scales, int64_t count) {
    for (int64_t i = 0; i < count; ++i) numbers[i] *= scales[i];
}

// Of `count` tokens from `at` on those that a query sees.
static inline int64_t seen(const Query &query, int64_t at, int64_t count) {
    const int64_t left = query.count - at;
    return left < count ? (left < 0 ? 0 : left) : count;
}

// Calls `use(first, together, count)` for queries that see the same `count` of the tokens from `at` on, three or fewer at
// a time: their sums fit into the registers.
template <class Use>
static inline void in_turn(const Query *queries, int64_t many, int64_t at, int64_t count, const Use &use) {
    for (int64_t n = 0; n < many;) {
        const int64_t some = seen(queries[n], at, count);
        int64_t end = n + 1;
        while (end < many && end < n + 3 && seen(queries[end], at, count) == some) ++end;
        use(queries + n, end - n, some);
        n = end;
    }
}

static void attend_some(const Span &s, const Query *queries, int64_t many) {
    int64_t most = 0;
    for (int64_t n = 0; n < many; ++n) most = queries[n].count > most ? queries[n].count : most;
    over(s, s.keys, most, [&](int64_t at, int64_t count, int64_t slot, const float *keys) {
        in_turn(queries, many, at, count, [&](const Query *first, int64_t together, int64_t some) {
            if (together == 3)
                score<3>(first, keys, at, some, s.head_dim);
            else if (together == 2)
                score<2>(first, keys, at, some, s.head_dim);
            else
                score<1>(first, keys, at, some, s.head_dim);
            for (int64_t n = 0; s.key_scales != nullptr && n < together; ++n)
                scale(first[n].scores + at, s.key_scales + slot, some);
        });
    });
    for (int64_t n = 0; n < many; ++n) {
        float *out = queries[n].out;
        for (int64_t i = 0; i < s.head_dim; ++i) out[i] = 0.0f;
        out[s.head_dim + 1] = soften(queries[n].scores, queries[n].count, out[s.head_dim]);
    }
    over(s, s.values, most, [&](int64_t at, int64_t count, int64_t slot, const float *values) {
        in_turn(queries, many, at, count, [&](const Query *first, int64_t together, int64_t some) {
            for (int64_t n = 0; s.value_scales != nullptr && n < together; ++n)
                scale(first[n].scores + at, s.value_scales + slot, some);
            if (together == 3)
                add_values<3>(first, values, at, some, s.head_dim);
            else if (together == 2)
                add_values<2>(first, values, at, some, s.head_dim);
            else
                add_values<1>(first, values, at, some, s.head_dim);
        });
    });
}

static void attend(const Span &s) {
    alignas(64) float scores[kQueries][kSpan];
    Query queries[kQueries];
    int64_t many = 0;
    for (int64_t row = 0; row < s.rows; ++row) {
        const int64_t sees = s.seen + row * s.more - s.begin, count = sees < kSpan ? sees : kSpan;
        if (count <= 0) continue;
        for (int64_t head = 0; head < s.heads; ++head) {
            queries[many] = {s.queries + row * s.query_stride + head * s.head_dim, scores[many],
                             s.out + row * s.row_stride + head * s.out_stride, count};
            if (++many < kQueries) continue;
            attend_some(s, queries, many);
            many = 0;
        }
    }
    if (many > 0) attend_some(s, queries, many);
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
