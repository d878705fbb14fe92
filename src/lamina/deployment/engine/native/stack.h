// A model's layers, packed, and the phases that a decoder's program and an encoder's have in common.
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
    Norm attention_norm, feedforward_norm, query_norm, key_norm, cross_norm;
    std::unique_ptr<Matrix> cross_q, cross_o;  // null: it attends to no source
    lamina_layer given;  // its numbers; of its pointers `store`, `scales` and the angles are read
};

// Memory for rows of inputs; of as many columns as a product needs, since only one product at a time needs some.
class InputRows {
  public:
    void fit(int64_t rows, int64_t columns);
    Inputs of(int64_t columns) {
        const uintptr_t bytes = kLine * sizeof(int16_t), at = reinterpret_cast<uintptr_t>(values_.data());
        int16_t *values = reinterpret_cast<int16_t *>((at + bytes - 1) / bytes * bytes);
        return {values, scales_.data(), sums_.data(), columns / kGroup};
    }

  private:
    static constexpr int64_t kLine = 32;  // numbers in a cache line

    std::vector<int16_t> values_;
    std::vector<float> scales_, sums_;
};

// Rows of floats, `stride` apart.
struct Rows {
    float *data;
    int64_t stride, columns;
};

class Stack {
  public:
    Stack(const Stack &) = delete;
    Stack &operator=(const Stack &) = delete;

    // From the next call on.
    void use_threads(int threads) { next_threads_ = threads; }

    int64_t bytes() const { return bytes_; }
    uint64_t read();

  protected:
    // `head`: null where there is none. `in_place`: a norm replaces the hidden states that it reads.
    // Throws std::bad_alloc, or std::invalid_argument for shapes that it does not know.
    Stack(const lamina_layer *layers, int64_t count, int64_t width, const lamina_norm &norm, const lamina_matrix *head,
          bool in_place, int threads, int64_t level);
    virtual ~Stack() = default;  // who derives settles the pool first: what a program reads must still be there

    void prepare_rows(int64_t rows);
    void normed_inputs(Worker &worker, const Norm &norm);
    void turn(const Layer &layer, int64_t row, int64_t position);
    void attend_to_all(Span &task, int64_t tokens, float *parts, float *out, int64_t out_stride) const;
    void attended_inputs(const Layer &layer, int64_t row);
    void feedforward(Worker &worker, const Layer &layer);
    // Called after each product, with what went in and what came out.
    virtual void adapt(Worker &, const Layer &, int64_t /* product */, const Rows & /* x */, const Rows & /* out */) {}

    const Kernels &kernels_;
    const int64_t given_width_, width_;  // the model's; filled up to whole groups
    const bool in_place_;
    int next_threads_;
    int64_t bytes_ = 0;
    std::unique_ptr<Memory> memory_;
    std::vector<Layer> layers_;
    Norm norm_;
    std::unique_ptr<Matrix> head_;

    // Read by whoever is in the program, also too late: changed only by `prepare_rows`, when nobody is.
    int threads_ = 1;
    int64_t rows_ = 0;

    // A row of each begins at a multiple of its stride; what lies behind a row's end is zero.
    int64_t qkv_stride_ = 0, attended_stride_ = 0, up_stride_ = 0, inner_stride_ = 0;
    std::vector<float> hidden_, normed_, qkv_, attended_, up_, inner_;
    InputRows inputs_;

  private:
    void pack(const lamina_layer *layers, int64_t count, const lamina_matrix *head);
    void read_pieces(Worker &worker);

    std::atomic<uint64_t> total_{0};
};

void fit(std::vector<float> &buffer, int64_t size);

}  // namespace lamina
