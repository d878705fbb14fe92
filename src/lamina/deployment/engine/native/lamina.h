// The C interface of the library. Whoever fills these structures keeps their arrays alive while a call runs; those that
// a comment calls "read later" must live as long as the decoder. Matrices and norms are copied.
#ifndef LAMINA_H
#define LAMINA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LAMINA_ABI 7

enum lamina_kind { LAMINA_INT8 = 8, LAMINA_INT4 = 4 };
// A processor has some of them; a higher one is the better one.
enum lamina_level {
    LAMINA_PORTABLE = 0,
    LAMINA_AVX2 = 1,
    LAMINA_AVX512_VNNI = 2,
    LAMINA_AMX = 3,
    LAMINA_NEON = 4,
    LAMINA_NEON_DOTPROD = 5,
};
// Bits of a stored key's or value's numbers: float32, IEEE half precision, or int8 with scales.
enum lamina_stored { LAMINA_STORED_FLOAT = 32, LAMINA_STORED_HALF = 16, LAMINA_STORED_INT8 = 8 };
enum lamina_activation {
    LAMINA_RELU = 0,
    LAMINA_RELU2 = 1,
    LAMINA_GELU = 2,
    LAMINA_GELU_TANH = 3,
    LAMINA_SILU = 4,
};

// Weights (rows, columns). int8: one byte each, `scales` float32 (rows). int4: GGUF's nibbles, (rows, columns / 32, 16)
// bytes, byte j of a group holding element j below and element j + 16 above; `scales` and `minimums` float16
// (rows, columns / 32). Without `minimums` (Q4_0) a nibble q means scale * (q - 8), with them (Q4_1) scale * q + minimum.
typedef struct {
    int64_t rows, columns;
    int64_t kind;
    const void *weights;
    const void *scales;
    const void *minimums;  // int4 only; may be null
    const float *bias;     // (rows), or null
} lamina_matrix;

typedef struct {
    const float *weight;  // (width)
    const float *bias;    // (width) of LayerNorm; null: RMSNorm
    double epsilon;
} lamina_norm;

typedef struct {
    lamina_matrix qkv, o, up, down;  // up: gate and up one below the other where `gated`
    lamina_norm attention_norm, feedforward_norm;
    lamina_norm query_norm, key_norm;  // of each head; weight null: none
    lamina_matrix cross_q, cross_o;    // attention to a source, after that to the text; no rows: none
    lamina_norm cross_norm;
    const float *cosines, *sines;      // (context, head_dim / 2), or null: no rotary positions; read later
    void *store;                       // (2 * kv_heads, slots, head_dim): keys, then values; read later
    float *scales;                     // (2 * kv_heads, slots) of int8 numbers in `store`; of others null
    int64_t stored;                    // which numbers `store` holds, a lamina_stored
    int64_t heads, kv_heads, head_dim, inner;  // heads are those of the attention to a source, too
    int64_t activation, gated;
} lamina_layer;

typedef struct {
    int64_t layers, width, vocabulary, context, slots, block_tokens;
    const lamina_layer *layer;
    const int8_t *table;        // (vocabulary, width) token vectors; read later
    const float *table_scales;  // (vocabulary), read later
    const float *places;        // (context, width) added to them, or null; read later
    double table_factor;
    // 0: a layer's norms are before its parts. 1: a norm replaces the hidden states that it reads; so norms after the
    // residual sums are each that of the part that follows, and that of the first part is null.
    int64_t in_place;
    lamina_norm norm;
    lamina_matrix head;
} lamina_model;

// An encoder's layers, of which `store`, `scales` and `stored` are not read. Its embeddings are computed elsewhere.
typedef struct {
    int64_t layers, width, in_place;  // see lamina_model
    const lamina_layer *layer;
    lamina_norm norm;  // of the last hidden states; weight null: none
} lamina_encoder_model;

typedef struct lamina_decoder lamina_decoder;
typedef struct lamina_encoder lamina_encoder;
typedef struct lamina_product lamina_product;

int64_t lamina_abi(void);

// The highest level that this machine has, at most `wanted` (negative: the highest).
int64_t lamina_best_level(int64_t wanted);

// A model made ready, or null where memory is short or a shape is not known.
lamina_decoder *lamina_open(const lamina_model *model, int64_t threads, int64_t level);
void lamina_close(lamina_decoder *decoder);

// How many threads compute from the next call on.
void lamina_threads(lamina_decoder *decoder, int64_t threads);

// What an adapter adds to a part of a product: outputs `begin` to `begin + rows` get up · (down · x).
typedef struct {
    int64_t rank, begin, rows;  // rank 0: nothing
    const float *down;          // (rank, columns filled up to whole groups of 32)
    const float *up;            // (rank, rows): the transpose, with the scale in it
} lamina_low_rank;

#define LAMINA_PRODUCTS 4  // of a layer, in the order of lamina_layer
#define LAMINA_PARTS 3     // of a product at most: query, key and value

// Sources of which a step's rows are about: `store` (layers, 2 * kv_heads, tokens, head_dim) has their keys, then their
// values; row r attends to the tokens `begins[r]` to `ends[r]`, at least one.
typedef struct {
    const float *store;
    int64_t tokens;
    const int64_t *begins, *ends;
} lamina_sources;

// A step: `rows` tokens, of which row r stands at `positions[r]` of the sequence whose `blocks` blocks begin at
// `tables + r * stride` (stride 0: all rows have the same). Rows may belong to one sequence (a prompt), to several, or
// to both kinds; a row sees what earlier rows store. Behind the block of a row's position a table may have any numbers.
typedef struct {
    const int64_t *tokens, *positions, *tables;
    int64_t rows, blocks, stride;
    const int64_t *wanted;  // (count): the rows whose scores are written
    int64_t count;
    float *scores;  // (count, vocabulary)
    // null: none has an adapter. Else row r has the parts (layers, LAMINA_PRODUCTS, LAMINA_PARTS), or is null.
    const lamina_low_rank *const *adapters;
    const lamina_sources *sources;  // of a model whose layers attend to sources; of others null
} lamina_step_request;

// Returns 0, -1 where memory is short, or -2 where a token, a position or a block is none of the model's, a wanted row
// none of the request's, or where sources are missing.
int64_t lamina_step(lamina_decoder *decoder, const lamina_step_request *request);

// What drawing asks of all scores, at `level`: of `rows` rows of `count` (at least one) Kernels::summarize (`out`
// (rows, 4)), of one Kernels::shares (`out` (count)).
void lamina_summarize(const float *scores, int64_t rows, int64_t count, int64_t level, double *out);
void lamina_shares(const float *scores, int64_t count, double temperature, int64_t level, float *out);

// The bytes of packed weights that one token reads, and the same bytes read and added up: what memory allows.
int64_t lamina_bytes(const lamina_decoder *decoder);
uint64_t lamina_read(lamina_decoder *decoder);

// The same for an encoder.
lamina_encoder *lamina_encoder_open(const lamina_encoder_model *model, int64_t threads, int64_t level);
void lamina_encoder_close(lamina_encoder *encoder);
void lamina_encoder_threads(lamina_encoder *encoder, int64_t threads);

// Hidden states `out` (rows, width) of texts whose embedded tokens `embedded` (rows, width) follow each other: text t
// ends before row `ends[t]`, the first begins at row 0, none is empty. Returns 0, or -1 where memory is short.
int64_t lamina_encode(lamina_encoder *encoder, const float *embedded, const int64_t *ends, int64_t texts, float *out);

// One matrix alone: out (rows, matrix rows) = x (rows, columns) times its transpose, plus the bias.
lamina_product *lamina_product_open(const lamina_matrix *matrix, int64_t threads, int64_t level);
int64_t lamina_product_apply(lamina_product *product, const float *x, int64_t rows, float *out);
void lamina_product_close(lamina_product *product);

#ifdef __cplusplus
}
#endif
#endif
