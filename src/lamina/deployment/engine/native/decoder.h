// A model's layers, packed, and the program that all threads run for a step.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels.h"
#include "lamina.h"
#include "matrix.h"
#include "memory.h"
#include "pool.h"

namespace lamina {

// A norm with its arrays filled up to whole groups of columns.
struct Norm {
    Norm() = default;
    Norm(const lamina_norm &given, int64_t width);

    const float *bias() const { return bias_.empty() ? nullptr : bias_.data(); }

    std::vector<float> weight, bias_;
    float epsilon = 0.0f;
};

struct Layer {
    Matrix qkv, o, up, down;
    Norm attention_norm, feedforward_norm, query_norm, key_norm;
    lamina_layer given;  // its numbers; of its pointers `store`, `scales` and the angles are read
};

// Memory for rows of inputs; of as many columns as a product needs, since only one product at a time needs some.
class InputRows {
  public:
    void fit(int64_t rows, int64_t columns);
    Inputs of(int64_t columns) { return {values_.data(), scales_.data(), sums_.data(), columns / kGroup}; }

  private:
    std::vector<int16_t> values_;
    std::vector<float> scales_, sums_;
};

class Decoder {
  public:
    // Throws std::bad_alloc, or std::invalid_argument for shapes that it does not know.
    Decoder(const lamina_model &model, int threads, int64_t level);
    ~Decoder();
    Decoder(const Decoder &) = delete;
    Decoder &operator=(const Decoder &) = delete;

    void step(const int64_t *tokens, const int64_t *positions, const int64_t *tables, int64_t rows, int64_t blocks,
              const int64_t *wanted, int64_t count, float *scores, const lamina_low_rank *const *adapters);

    // From the next call on.
    void use_threads(int threads) { next_threads_ = threads; }

    int64_t bytes() const { return bytes_; }
    uint64_t read();

  private:
    // What a step was asked for.
    struct Asked {
        const int64_t *tokens, *positions, *tables, *wanted;
        int64_t rows, blocks, count;
        float *scores;
        const lamina_low_rank *const *adapters;  // null: no row has one
    };
    // Rows of floats, `stride` apart.
    struct Rows {
        float *data;
        int64_t stride, columns;
    };

    void prepare();
    void run(Worker &worker);
    void embed(int64_t row);
    void attention(Worker &worker, const Layer &layer);
    void feedforward(Worker &worker, const Layer &layer);
    void normed_inputs(Worker &worker, const Norm &norm);
    void place(const Layer &layer, int64_t row);
    void attend(const Layer &layer, int64_t row, int64_t rows, int64_t head, int64_t span, float *parts);
    void attend_in_spans(Worker &worker, const Layer &layer);
    void join(const Layer &layer, int64_t row);
    void attend_by_rows(Worker &worker, const Layer &layer);
    void scores(Worker &worker);
    void read_pieces(Worker &worker);
    // low_rank.cpp
    void prepare_adapters();
    const lamina_low_rank *parts_of(int64_t row, int64_t layer, int64_t product) const;
    template <class Visit> void for_rows(int64_t block, int64_t layer, int64_t product, const Visit &visit);
    void add_adapters(Worker &worker, const Layer &layer, int64_t product, const Rows &x, const Rows &out);
    int64_t spans(int64_t row) const { return (asked_.positions[row] + kSpan) / kSpan; }

    const Kernels &kernels_;
    int next_threads_;
    lamina_model given_;  // its numbers, the token table and the places
    int64_t bytes_ = 0;
    std::unique_ptr<Memory> memory_;
    std::vector<Layer> layers_;
    Norm norm_;
    std::unique_ptr<Matrix> head_;

    // Read by whoever is in the program, also too late: changed only by `prepare`, when nobody is.
    Asked asked_{};
    int threads_ = 1;
    int64_t most_spans_ = 0;
    int64_t together_ = 1;  // neighbouring rows that attend together
    int64_t rows_a_task_ = 1;
    int64_t most_ranks_ = 0;  // of an adapter's parts of one product together; 0: no row has an adapter
    Asked next_{};

    // A row of each begins at a multiple of its stride; what lies behind a row's end is zero.
    int64_t width_, qkv_stride_ = 0, attended_stride_ = 0, up_stride_ = 0, inner_stride_ = 0;
    std::vector<float> hidden_, normed_, qkv_, attended_, up_, inner_, parts_, low_;
    InputRows inputs_;
    std::atomic<uint64_t> total_{0};
};

}  // namespace lamina
