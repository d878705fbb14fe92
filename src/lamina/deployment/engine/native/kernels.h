// The table of functions that a level of instructions provides, and the forms of data that they share.
#pragma once

#include <cstdint>

#include "lamina.h"

namespace lamina {

// Columns come in groups of so many: the block of GGUF's 4-bit types, and what shares a scale among the inputs.
constexpr int64_t kGroup = 32;
// Groups of inputs that share a scale, so that int8 products add up so many whole numbers before they become fractions.
constexpr int64_t kShared = 4;
// Rows of a matrix that a kernel computes side by side.
constexpr int64_t kTile = 16;
// Rows of inputs that one call of a product takes at most, see Kernels::batch; and the most that any level takes.
constexpr int64_t kBatch = 32;
constexpr int64_t kMostBatch = 128;
// Keys that are attended to in one go. Fixed, so that an answer's bits depend neither on threads nor on its batch.
constexpr int64_t kSpan = 256;
// Keys' or values' numbers that queries share while they are near: 16 KiB of float32, half of a first-level cache. A head
// has at most so many.
constexpr int64_t kNear = 4096;

// Rows of inputs as int16 with a float32 scale for each group, of kShared groups the same: two bytes hold 1 / 65536 of
// their largest value, so that the products are as good as float32's, and cost what int8 inputs cost where weights are
// widened to 16 bits anyway.
struct Inputs {
    int16_t *values;  // (rows, groups * 32), from the beginning of a cache line on
    float *scales;    // (rows, groups)
    float *sums;      // (rows, groups): scale times the sum of the values
    int64_t groups;
};

// One tile's products with `rows` rows of inputs: sums (rows, kTile), without the scale of a matrix' row.
using Product = void (*)(const uint8_t *tile, const Inputs &inputs, int64_t first, int64_t rows, float *sums);

// Tokens `begin` to `begin` + kSpan of a sequence, and the neighbouring rows that attend to them: row r to those before
// `seen` + r * `more`.
struct Span {
    const float *queries;  // (rows, heads, head_dim), rows `query_stride` apart, divided by the root of head_dim
    int64_t rows, heads, head_dim, query_stride;
    const void *keys, *values;               // of one key-value head, (slots, head_dim)
    int64_t stored = LAMINA_STORED_FLOAT;    // their numbers, a lamina_stored
    const float *key_scales, *value_scales;  // (slots) of int8, else null
    const int64_t *table;                    // blocks of the sequence
    int64_t block_tokens, begin, seen;
    int64_t more;  // 1: each row sees a token more than the row before it; 0: all see the same
    // (rows, heads, head_dim + 2): weighted sum of values, greatest score, mass. Untouched where a row sees none of them.
    float *out;
    int64_t row_stride, out_stride;
};

struct Kernels {
    const char *name;
    int64_t batch;  // rows of inputs that a product takes at most
    Product int8, int4, int4_minimum;
    // out[r][n] = or += sums[r][n] * scales[n] + bias[n] of a tile, for `rows` rows that are `stride` apart.
    void (*finish)(const float *sums, const float *scales, const float *bias, int64_t rows, float *out, int64_t stride,
                   bool add);
    // Norm of a row; `bias` null: RMSNorm. Arrays reach to whole vectors, with zeros after `width`.
    void (*norm)(const float *x, const float *weight, const float *bias, float epsilon, int64_t width, float *out);
    // Groups `begin` to `end` of row `row` of inputs, from the whole row `x`; both are multiples of kShared, or the row's
    // end.
    void (*quantize)(const float *x, int64_t row, const Inputs &out, int64_t begin, int64_t end);
    // out[i] = activation(x[i]), times up[i] where `up` is not null.
    void (*activate)(const float *x, const float *up, int64_t activation, int64_t count, float *out);
    void (*rotate)(float *head, const float *cosines, const float *sines, int64_t head_dim);
    // One head's key or value as int8, and its scale.
    void (*narrow)(const float *x, int64_t head_dim, int8_t *out, float *scale);
    // The same as halves: to the nearest, ties to even; beyond 65504 that with its sign. What is not finite becomes no
    // number, so that its row is found.
    void (*halve)(const float *x, int64_t head_dim, uint16_t *out);
    void (*attend)(const Span &span);
    // Joins `count` parts of one head (see Span::out) into its answer.
    void (*join)(const float *parts, int64_t count, int64_t stride, int64_t head_dim, float *out);
    // out = table row * scale + place (null: none)
    void (*embed)(const int8_t *row, float scale, const float *place, int64_t width, float *out);
    // Of `count` scores (at least one) the greatest, the sum of e^(score - greatest), that of those times
    // (score - greatest), and where the greatest stands first. Both sums are no number where one of the scores is none.
    void (*summarize)(const float *scores, int64_t count, double *out);
    // out[i] = e^((scores[i] - the greatest) / temperature)
    void (*shares)(const float *scores, int64_t count, float temperature, float *out);
    // The halves of an adapter's product: see low_rank.h.
    void (*shrink)(const float *x, const float *down, int64_t begin, int64_t end, int64_t columns, float *low);
    void (*expand)(const float *low, int64_t rank, const float *up, int64_t width, int64_t begin, int64_t end,
                   float *out);
};

// null where the library was not built for this kind of processor
const Kernels *portable_kernels();
const Kernels *avx2_kernels();
const Kernels *avx512_kernels();
const Kernels *amx_kernels();
const Kernels *neon_kernels();
const Kernels *dotprod_kernels();

// Whether tiles are here, the system gives them to this process, and they give the right products.
bool amx_works();

// The highest level at or below `wanted` (negative: any) that this machine has, and its functions.
int64_t best_level(int64_t wanted);
const Kernels &kernels_of(int64_t level);

}  // namespace lamina
