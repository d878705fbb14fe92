// The table of functions that a level of instructions provides, and the forms of data that they share.
#pragma once

#include <cstdint>

namespace lamina {

// Columns come in groups of so many: the block of GGUF's 4-bit types, and what shares a scale among the inputs.
constexpr int64_t kGroup = 32;
// Rows of a matrix that a kernel computes side by side.
constexpr int64_t kTile = 16;
// Rows of inputs that one call of a product takes at most.
constexpr int64_t kBatch = 32;
// Keys that are attended to in one go. Fixed, so that an answer's bits depend neither on threads nor on its batch.
constexpr int64_t kSpan = 256;

// Rows of inputs as int16 with a float32 scale for each group: two bytes hold 1 / 65536 of a group's largest value, so
// that the products are as good as float32's, and cost what int8 inputs cost where weights are widened to 16 bits anyway.
struct Inputs {
    int16_t *values;  // (rows, groups * 32)
    float *scales;    // (rows, groups)
    float *sums;      // (rows, groups): scale times the sum of the values
    int64_t groups;
};

// One tile's products with `rows` rows of inputs: sums (rows, kTile), without the scale of a matrix' row.
using Product = void (*)(const uint8_t *tile, const Inputs &inputs, int64_t first, int64_t rows, float *sums);

struct Span {
    const float *queries;  // (heads, head_dim), already divided by the root of head_dim
    int64_t heads, head_dim;
    const float *keys, *values;  // of one key-value head, (slots, head_dim)
    const int64_t *table;        // blocks of the sequence
    int64_t block_tokens, begin, end;
    float *out;  // (heads, head_dim + 2): weighted sum of values, greatest score, mass
    int64_t out_stride;
};

struct Kernels {
    const char *name;
    Product int8, int4, int4_minimum;
    // Norm of a row; `bias` null: RMSNorm. Arrays reach to whole vectors, with zeros after `width`.
    void (*norm)(const float *x, const float *weight, const float *bias, float epsilon, int64_t width, float *out);
    // Groups `begin` to `end` of row `row` of inputs, from the whole row `x`.
    void (*quantize)(const float *x, int64_t row, const Inputs &out, int64_t begin, int64_t end);
    // out[i] = activation(x[i]), times up[i] where `up` is not null.
    void (*activate)(const float *x, const float *up, int64_t activation, int64_t count, float *out);
    void (*rotate)(float *head, const float *cosines, const float *sines, int64_t head_dim);
    void (*attend)(const Span &span);
    // Joins `count` parts of one head (see Span::out) into its answer.
    void (*join)(const float *parts, int64_t count, int64_t stride, int64_t head_dim, float *out);
    // out = table row * scale + place (null: none)
    void (*embed)(const int8_t *row, float scale, const float *place, int64_t width, float *out);
    // The halves of an adapter's product: see low_rank.h.
    void (*shrink)(const float *x, const float *down, int64_t begin, int64_t end, int64_t columns, float *low);
    void (*expand)(const float *low, int64_t rank, const float *up, int64_t width, int64_t begin, int64_t end,
                   float *out);
};

// null where the library was not built for this kind of processor
const Kernels *portable_kernels();
const Kernels *avx2_kernels();
const Kernels *avx512_kernels();

// The highest level at or below `wanted` (negative: any) that this machine has, and its functions.
int64_t best_level(int64_t wanted);
const Kernels &kernels_of(int64_t level);

}  // namespace lamina
