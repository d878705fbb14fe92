// The program of an encoder: layers, then their hidden states. Each `share` is a phase; see pool.h.
#include "encoder.h"

#include <algorithm>

namespace lamina {

namespace {

constexpr int64_t kPhasesPerLayer = 10;  // six of attention, four of feed-forward
constexpr int64_t kPhasesBeside = 2;     // what comes in, what goes out
// Rows of a text that read its keys and values together.
constexpr int64_t kTogether = 16;

}  // namespace

Encoder::Encoder(const lamina_encoder_model &model, int threads, int64_t level)
    : Stack(model.layer, model.layers, model.width, model.norm, nullptr, model.in_place != 0, threads, level) {
    for (const Layer &layer : layers_) {
        heads_ = std::max(heads_, layer.given.heads);
        kv_heads_ = std::max(kv_heads_, layer.given.kv_heads);
        head_dim_ = std::max(head_dim_, layer.given.head_dim);
    }
}

void Encoder::encode(const float *embedded, const int64_t *ends, int64_t texts, float *out) {
    next_ = Asked{embedded, ends, texts, out};
    Pool::shared().run(
        next_threads_, kPhasesPerLayer * static_cast<int64_t>(layers_.size()) + kPhasesBeside,
        [](void *encoder) { static_cast<Encoder *>(encoder)->prepare(); },
        [](void *encoder, Worker &worker) { static_cast<Encoder *>(encoder)->run(worker); }, this);
}

void Encoder::prepare() {
    asked_ = next_;
    chunks_.clear();
    positions_.clear();
    most_spans_ = 1;
    int64_t begin = 0;
    for (int64_t text = 0; text < asked_.texts; ++text) {
        const int64_t end = asked_.ends[text];
        for (int64_t row = begin; row < end; row += kTogether)
            chunks_.push_back({row, std::min(kTogether, end - row), begin, end});
        for (int64_t row = begin; row < end; ++row) positions_.push_back(row - begin);
        most_spans_ = std::max(most_spans_, (end - begin + kSpan - 1) / kSpan);
        begin = end;
    }
    prepare_rows(begin);
    fit(store_, 2 * kv_heads_ * rows_ * head_dim_);
    fit(parts_, threads_ * kTogether * heads_ * most_spans_ * (head_dim_ + 2));
}

void Encoder::run(Worker &worker) {
    const int64_t width = given_width_;
    worker.share(rows_, [&](int64_t row) {
        float *hidden = hidden_.data() + row * width_;
        std::copy(asked_.embedded + row * width, asked_.embedded + (row + 1) * width, hidden);
        std::fill(hidden + width, hidden + width_, 0.0f);
    });
    for (const Layer &layer : layers_) {
        attention(worker, layer);
        feedforward(worker, layer);
    }
    worker.share(rows_, [&](int64_t row) {
        float *hidden = hidden_.data() + row * width_;
        if (!norm_.weight.empty())
            kernels_.norm(hidden, norm_.weight.data(), norm_.bias(), norm_.epsilon, width, hidden);
        std::copy(hidden, hidden + width, asked_.out + row * width);
    });
}

void Encoder::attention(Worker &worker, const Layer &layer) {
    const lamina_layer &given = layer.given;
    normed_inputs(worker, layer.attention_norm);
    layer.qkv.multiply(worker, threads_, inputs_.of(width_), rows_, qkv_.data(), qkv_stride_, false);
    worker.share(rows_, [&](int64_t row) { place(layer, row, positions_[row]); });
    const int64_t count = static_cast<int64_t>(chunks_.size());
    float *parts = parts_.data() + worker.index() * kTogether * heads_ * most_spans_ * (head_dim_ + 2);
    // A head's chunks are neighbours, so that its keys and values are near for all but the first.
    worker.share(count * given.kv_heads,
                 [&](int64_t task) { attend(layer, chunks_[task % count], task / count, parts); });
    worker.share(rows_, [&](int64_t row) { attended_inputs(layer, row); });
    layer.o.multiply(worker, threads_, inputs_.of(whole_groups(given.heads * given.head_dim)), rows_, hidden_.data(),
                     width_, true);
}

// Turns the queries and keys of a row, then puts its keys and values beside those of the others, head by head.
void Encoder::place(const Layer &layer, int64_t row, int64_t position) {
    const lamina_layer &given = layer.given;
    turn(layer, row, position);
    const float *values = qkv_.data() + row * qkv_stride_ + given.heads * given.head_dim;
    for (int64_t head = 0; head < 2 * given.kv_heads; ++head, values += given.head_dim)
        std::copy(values, values + given.head_dim, store_.data() + (head * rows_ + row) * given.head_dim);
}

// What the query heads of key-value head `head` make of the text of a chunk; `parts` are the thread's own.
void Encoder::attend(const Layer &layer, const Chunk &chunk, int64_t head, float *parts) {
    const lamina_layer &given = layer.given;
    const int64_t dim = given.head_dim, group = given.heads / given.kv_heads;
    Span task{};
    task.queries = qkv_.data() + chunk.first * qkv_stride_ + head * group * dim;
    task.rows = chunk.rows;
    task.heads = group;
    task.head_dim = dim;
    task.query_stride = qkv_stride_;
    task.keys = store_.data() + (head * rows_ + chunk.begin) * dim;
    task.values = store_.data() + ((given.kv_heads + head) * rows_ + chunk.begin) * dim;
    attend_to_all(task, chunk.end - chunk.begin, parts,
                  attended_.data() + chunk.first * attended_stride_ + head * group * dim, attended_stride_);
}

}  // namespace lamina
