// The two halves of a low-rank product, for one row of inputs. See vectors.h; included like it.

// low[i] = row i of `down` times x, for i from `begin` to `end`; `columns` are whole groups.
static void shrink(const float *x, const float *down, int64_t begin, int64_t end, int64_t columns, float *low) {
    static_assert(kGroup % (2 * LANES) == 0, "two sums are under way");
    for (int64_t i = begin; i < end; ++i) {
        const float *row = down + i * columns;
        Vec a{}, b{};
        for (int64_t k = 0; k < columns; k += 2 * LANES) {
            a += load(x + k) * load(row + k);
            b += load(x + k + LANES) * load(row + k + LANES);
        }
        low[i] = sum(a + b);
    }
}

// out[j] += the sum of low[i] * up[i][j], for j from `begin` to `end`; `up` has rows of `width`.
static void expand(const float *low, int64_t rank, const float *up, int64_t width, int64_t begin, int64_t end,
                   float *out) {
    for (int64_t i = 0; i < rank; ++i) {
        const float *row = up + i * width;
        int64_t j = begin;
        for (; j + LANES <= end; j += LANES) store(out + j, load(out + j) + low[i] * load(row + j));
        for (; j < end; ++j) out[j] += low[i] * row[j];
    }
}
