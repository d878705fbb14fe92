#include "stack.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace lamina {

namespace {

// Columns of a feed-forward's inner row that a thread activates at a time.
constexpr int64_t kActivated = 512;
static_assert(kActivated % (kShared * kGroup) == 0, "groups that share a scale are of one piece");

int64_t packed_bytes(const lamina_matrix &matrix) {
    const int64_t bytes = Matrix::bytes(matrix);
    if (bytes == 0) throw std::invalid_argument("a matrix of an unknown form");
    return (bytes + 63) / 64 * 64;
}

}  // namespace

void fit(std::vector<float> &buffer, int64_t size) {
    if (static_cast<int64_t>(buffer.size()) < size) buffer.assign(size, 0.0f);
}

Norm::Norm(const lamina_norm &given, int64_t width) : epsilon(static_cast<float>(given.epsilon)) {
    if (given.weight == nullptr) return;
    weight.assign(whole_groups(width), 0.0f);
    std::copy(given.weight, given.weight + width, weight.begin());
    if (given.bias == nullptr) return;
    bias_.assign(whole_groups(width), 0.0f);
    std::copy(given.bias, given.bias + width, bias_.begin());
}

void InputRows::fit(int64_t rows, int64_t columns) {
    if (static_cast<int64_t>(values_.size()) >= rows * columns + kLine) return;
    values_.resize(rows * columns + kLine);
    scales_.resize(rows * columns / kGroup);
    sums_.resize(rows * columns / kGroup);
}

Stack::Stack(const lamina_layer *layers, int64_t count, int64_t width, const lamina_norm &norm,
             const lamina_matrix *head, bool in_place, int threads, int64_t level)
    : kernels_(kernels_of(best_level(level))),
      given_width_(width),
      width_(whole_groups(width)),
      in_place_(in_place),
      next_threads_(threads),
      norm_(norm, width) {
    for (int64_t i = 0; i < count; ++i) {
        const lamina_layer &layer = layers[i];
        if (layer.head_dim % 16 != 0 || layer.head_dim > kNear)
            throw std::invalid_argument("heads of an unknown size");
        const bool int8 = layer.stored == LAMINA_STORED_INT8;
        const bool floating = layer.stored == LAMINA_STORED_FLOAT || layer.stored == LAMINA_STORED_HALF;
        if (layer.store != nullptr && !(int8 || floating)) throw std::invalid_argument("keys of an unknown kind");
        if (int8 != (layer.scales != nullptr)) throw std::invalid_argument("int8 keys, and they alone, have scales");
        for (const lamina_matrix *matrix : {&layer.qkv, &layer.o, &layer.up, &layer.down})
            bytes_ += packed_bytes(*matrix);
        if (layer.cross_q.rows > 0) bytes_ += packed_bytes(layer.cross_q) + packed_bytes(layer.cross_o);
        const int64_t heads = layer.heads + 2 * layer.kv_heads;
        qkv_stride_ = std::max(qkv_stride_, whole_groups(heads * layer.head_dim));
        attended_stride_ = std::max(attended_stride_, whole_groups(layer.heads * layer.head_dim));
        up_stride_ = std::max(up_stride_, whole_groups(layer.up.rows));
        inner_stride_ = std::max(inner_stride_, whole_groups(layer.inner));
    }
    if (head != nullptr) bytes_ += packed_bytes(*head);
    pack(layers, count, head);
}

void Stack::pack(const lamina_layer *layers, int64_t count, const lamina_matrix *head) {
    memory_.reset(new Memory(bytes_));
    uint8_t *at = memory_->data();
    const auto packed = [&](const lamina_matrix &matrix) {
        uint8_t *here = at;
        at += packed_bytes(matrix);
        return Matrix(matrix, kernels_, next_threads_, here);
    };
    layers_.reserve(count);
    for (int64_t i = 0; i < count; ++i) {
        const lamina_layer &layer = layers[i];
        layers_.push_back(Layer{packed(layer.qkv), packed(layer.o), packed(layer.up), packed(layer.down),
                                Norm(layer.attention_norm, given_width_), Norm(layer.feedforward_norm, given_width_),
                                Norm(layer.query_norm, layer.head_dim), Norm(layer.key_norm, layer.head_dim),
                                Norm(layer.cross_norm, given_width_), nullptr, nullptr, layer});
        if (layer.cross_q.rows == 0) continue;
        layers_.back().cross_q.reset(new Matrix(packed(layer.cross_q)));
        layers_.back().cross_o.reset(new Matrix(packed(layer.cross_o)));
    }
    if (head != nullptr) head_.reset(new Matrix(packed(*head)));
}

// Every packed byte, added up eight at a time: the least that a step must take.
uint64_t Stack::read() {
    Pool::shared().run(
        next_threads_, 1, [](void *stack) { static_cast<Stack *>(stack)->total_ = 0; },
        [](void *stack, Worker &worker) { static_cast<Stack *>(stack)->read_pieces(worker); }, this);
    return total_;
}

void Stack::read_pieces(Worker &worker) {
    constexpr int64_t kPiece = 64 * 1024;
    worker.share((bytes_ + kPiece - 1) / kPiece, [&](int64_t piece) {
        const uint64_t *words = reinterpret_cast<const uint64_t *>(memory_->data() + piece * kPiece);
        const int64_t count = std::min(kPiece, bytes_ - piece * kPiece) / 8;
        uint64_t total = 0;
        for (int64_t i = 0; i < count; ++i) total += words[i];
        total_ += total;
    });
}

void Stack::prepare_rows(int64_t rows) {
    threads_ = next_threads_;
    rows_ = rows;
    fit(hidden_, rows * width_);
    fit(normed_, rows * width_);
    fit(qkv_, rows * qkv_stride_);
    fit(attended_, rows * attended_stride_);
    // a gate's rest is read with the vector that holds its end
    fit(up_, rows * up_stride_ + kGroup);
    fit(inner_, rows * inner_stride_);
    inputs_.fit(rows, std::max({width_, attended_stride_, inner_stride_}));
}

// A phase: the inputs of the next product, from the hidden states.
void Stack::normed_inputs(Worker &worker, const Norm &norm) {
    const Inputs inputs = inputs_.of(width_);
    worker.share(rows_, [&](int64_t row) {
        float *hidden = hidden_.data() + row * width_;
        float *normed = in_place_ ? hidden : normed_.data() + row * width_;
        if (!norm.weight.empty())
            kernels_.norm(hidden, norm.weight.data(), norm.bias(), norm.epsilon, given_width_, normed);
        kernels_.quantize(normed, row, inputs, 0, inputs.groups);
    });
}

// Norms the queries and keys of a row, turns them to `position`, and divides queries by the root of their size.
void Stack::turn(const Layer &layer, int64_t row, int64_t position) {
    const lamina_layer &given = layer.given;
    const int64_t dim = given.head_dim, half = dim / 2;
    float *qkv = qkv_.data() + row * qkv_stride_;
    const float root = 1.0f / std::sqrt(static_cast<float>(dim));
    for (int64_t head = 0; head < given.heads + given.kv_heads; ++head) {
        float *values = qkv + head * dim;
        const Norm &norm = head < given.heads ? layer.query_norm : layer.key_norm;
        if (!norm.weight.empty()) kernels_.norm(values, norm.weight.data(), nullptr, norm.epsilon, dim, values);
        if (given.cosines != nullptr)
            kernels_.rotate(values, given.cosines + position * half, given.sines + position * half, dim);
        if (head < given.heads)
            for (int64_t i = 0; i < dim; ++i) values[i] *= root;
    }
}

// Attention of the queries of `task` to all `tokens` keys and values that it names, whoever asks. `parts`: room for them
// in as many spans; row r's heads come to `out` + r * `out_stride`, side by side.
void Stack::attend_to_all(Span &task, int64_t tokens, float *parts, float *out, int64_t out_stride) const {
    static constexpr int64_t kFirst = 0;
    const int64_t dim = task.head_dim, part = dim + 2, spans = (tokens + kSpan - 1) / kSpan;
    task.table = &kFirst;  // they are one block
    task.block_tokens = tokens;
    task.seen = tokens;
    task.more = 0;
    task.out_stride = spans * part;
    task.row_stride = task.heads * spans * part;
    for (int64_t span = 0; span < spans; ++span) {
        task.begin = span * kSpan;
        task.out = parts + span * part;
        kernels_.attend(task);
    }
    for (int64_t n = 0; n < task.rows * task.heads; ++n)
        kernels_.join(parts + n * spans * part, spans, part, dim,
                      out + n / task.heads * out_stride + n % task.heads * dim);
}

// The inputs of the product after attention, of one row.
void Stack::attended_inputs(const Layer &layer, int64_t row) {
    const int64_t attended = layer.given.heads * layer.given.head_dim;
    const Inputs inputs = inputs_.of(whole_groups(attended));
    float *from = attended_.data() + row * attended_stride_;
    std::fill(from + attended, from + inputs.groups * kGroup, 0.0f);
    kernels_.quantize(from, row, inputs, 0, inputs.groups);
}

void Stack::feedforward(Worker &worker, const Layer &layer) {
    const lamina_layer &given = layer.given;
    const int64_t inner = given.inner, whole = whole_groups(inner);
    normed_inputs(worker, layer.feedforward_norm);
    layer.up.multiply(worker, threads_, inputs_.of(width_), rows_, up_.data(), up_stride_, false);
    adapt(worker, layer, 2, {normed_.data(), width_, width_}, {up_.data(), up_stride_, layer.up.rows()});
    const Inputs inputs = inputs_.of(whole);
    const int64_t pieces = (whole + kActivated - 1) / kActivated;
    worker.share(rows_ * pieces, [&](int64_t task) {
        const int64_t row = task / pieces, begin = task % pieces * kActivated;
        const int64_t end = std::min(whole, begin + kActivated);
        const float *from = up_.data() + row * up_stride_ + begin;
        float *to = inner_.data() + row * inner_stride_;
        kernels_.activate(from, given.gated ? from + inner : nullptr, given.activation, end - begin, to + begin);
        if (end > inner) std::fill(to + inner, to + whole, 0.0f);
        kernels_.quantize(to, row, inputs, begin / kGroup, end / kGroup);
    });
    layer.down.multiply(worker, threads_, inputs, rows_, hidden_.data(), width_, true);
    adapt(worker, layer, 3, {inner_.data(), inner_stride_, whole}, {hidden_.data(), width_, layer.down.rows()});
}

}  // namespace lamina
