// What adapters add to the products of a step: two phases after each product, in steps that have a row with an adapter.
#include <algorithm>

#include "decoder.h"

namespace lamina {

namespace {

// Rows of `down`, and outputs of `up`, that a thread computes at a time: some microseconds.
constexpr int64_t kRanks = 8;
constexpr int64_t kOutputs = 512;
// Rows for which a thread does so in turn, where there are many: its part of the matrices stays in the cache.
constexpr int64_t kRows = 16;

}  // namespace

// The parts that the adapter of `row` has for a product of `layer`; null: it has no adapter.
const lamina_low_rank *Decoder::parts_of(int64_t row, int64_t layer, int64_t product) const {
    const lamina_low_rank *adapter = asked_.adapters[row];
    return adapter == nullptr ? nullptr : adapter + (layer * LAMINA_PRODUCTS + product) * LAMINA_PARTS;
}

// visit(row, parts, low) for the rows of a block that have an adapter; `low`: their values between the halves.
template <class Visit>
void Decoder::for_rows(int64_t block, int64_t layer, int64_t product, const Visit &visit) {
    const int64_t end = std::min(asked_.rows, (block + 1) * rows_a_task_);
    for (int64_t row = block * rows_a_task_; row < end; ++row)
        if (const lamina_low_rank *parts = parts_of(row, layer, product))
            visit(row, parts, low_.data() + row * most_ranks_);
}

void Decoder::prepare_adapters() {
    most_ranks_ = 0;
    rows_a_task_ = asked_.rows > kRows ? kRows : 1;
    if (asked_.adapters == nullptr) return;
    for (int64_t row = 0; row < asked_.rows; ++row) {
        if (row > 0 && asked_.adapters[row] == asked_.adapters[row - 1]) continue;  // a prompt's rows have one adapter
        for (int64_t place = 0; place < given_.layers * LAMINA_PRODUCTS; ++place) {
            const lamina_low_rank *parts = parts_of(row, place / LAMINA_PRODUCTS, place % LAMINA_PRODUCTS);
            int64_t ranks = 0;
            for (int64_t p = 0; parts != nullptr && p < LAMINA_PARTS; ++p) ranks += parts[p].rank;
            most_ranks_ = std::max(most_ranks_, ranks);
        }
    }
    const int64_t size = asked_.rows * most_ranks_;
    if (static_cast<int64_t>(low_.size()) < size) low_.resize(size);
}

// out = out + up · (down · x) for the rows that have an adapter.
void Decoder::adapt(Worker &worker, const Layer &layer, int64_t product, const Rows &x, const Rows &out) {
    // Read by threads that come late, too: not what the caller holds only while a step runs.
    if (most_ranks_ == 0) return;
    const int64_t index = &layer - layers_.data(), blocks = (asked_.rows + rows_a_task_ - 1) / rows_a_task_;
    worker.share((most_ranks_ + kRanks - 1) / kRanks * blocks, [&](int64_t task) {
        const int64_t first = task / blocks * kRanks;
        for_rows(task % blocks, index, product, [&](int64_t row, const lamina_low_rank *part, float *low) {
            for (int64_t p = 0, at = 0; p < LAMINA_PARTS; at += part->rank, ++p, ++part) {
                const int64_t begin = std::max(first, at) - at, end = std::min(first + kRanks, at + part->rank) - at;
                if (begin < end)
                    kernels_.shrink(x.data + row * x.stride, part->down, begin, end, x.columns, low + at);
            }
        });
    });
    worker.share((out.columns + kOutputs - 1) / kOutputs * blocks, [&](int64_t task) {
        const int64_t first = task / blocks * kOutputs;
        for_rows(task % blocks, index, product, [&](int64_t row, const lamina_low_rank *part, float *low) {
            for (int64_t p = 0; p < LAMINA_PARTS; low += part->rank, ++p, ++part) {
                const int64_t begin = std::max(first, part->begin) - part->begin;
                const int64_t end = std::min(first + kOutputs, part->begin + part->rows) - part->begin;
                if (begin < end)
                    kernels_.expand(low, part->rank, part->up, part->rows, begin, end,
                                    out.data + row * out.stride + part->begin);
            }
        });
    });
}

}  // namespace lamina
