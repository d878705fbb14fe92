// An encoder: texts in rows one after another, each token of a text attending to all of it.
#pragma once

#include <vector>

#include "stack.h"

namespace lamina {

class Encoder : public Stack {
  public:
    // Throws std::bad_alloc, or std::invalid_argument for shapes that it does not know.
    Encoder(const lamina_encoder_model &model, int threads, int64_t level);
    ~Encoder() override { Pool::shared().settle(); }

    void encode(const float *embedded, const int64_t *ends, int64_t texts, float *out);

  private:
    // What a call was asked for.
    struct Asked {
        const float *embedded;
        const int64_t *ends;
        int64_t texts;
        float *out;
    };
    // Neighbouring rows that attend together, and the rows of their text.
    struct Chunk {
        int64_t first, rows, begin, end;
    };

    void prepare();
    void run(Worker &worker);
    void attention(Worker &worker, const Layer &layer);
    void place(const Layer &layer, int64_t row, int64_t position);
    void attend(const Layer &layer, const Chunk &chunk, int64_t head, float *parts);

    int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0;  // the most of a layer

    // Read by whoever is in the program, also too late: changed only by `prepare`, when nobody is.
    Asked asked_{};
    std::vector<Chunk> chunks_;
    std::vector<int64_t> positions_;
    int64_t most_spans_ = 0;
    Asked next_{};

    std::vector<float> store_, parts_;  // store: (2 * kv_heads, rows, head_dim), keys, then values, of one layer
};

}  // namespace lamina
