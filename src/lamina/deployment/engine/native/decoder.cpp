#include "decoder.h"

#include <algorithm>
#include <stdexcept>

namespace lamina {

namespace {

int64_t packed_bytes(const lamina_matrix &matrix) {
    const int64_t bytes = Matrix::bytes(matrix);
    if (bytes == 0) throw std::invalid_argument("a matrix of an unknown form");
    return (bytes + 63) / 64 * 64;
}

}  // namespace

Norm::Norm(const lamina_norm &given, int64_t width) : epsilon(static_cast<float>(given.epsilon)) {
    if (given.weight == nullptr) return;
    weight.assign(whole_groups(width), 0.0f);
    std::copy(given.weight, given.weight + width, weight.begin());
    if (given.bias == nullptr) return;
    bias_.assign(whole_groups(width), 0.0f);
    std::copy(given.bias, given.bias + width, bias_.begin());
}

void InputRows::fit(int64_t rows, int64_t columns) {
    if (static_cast<int64_t>(values_.size()) >= rows * columns) return;
    values_.resize(rows * columns);
    scales_.resize(rows * columns / kGroup);
    sums_.resize(rows * columns / kGroup);
}

Decoder::Decoder(const lamina_model &model, int threads, int64_t level)
    : kernels_(kernels_of(best_level(level))), next_threads_(threads), given_(model), width_(whole_groups(model.width)) {
    for (int64_t i = 0; i < model.layers; ++i) {
        const lamina_layer &layer = model.layer[i];
        if (layer.head_dim % 16 != 0 || layer.head_dim > kNear)
            throw std::invalid_argument("heads of an unknown size");
        for (const lamina_matrix *matrix : {&layer.qkv, &layer.o, &layer.up, &layer.down})
            bytes_ += packed_bytes(*matrix);
        const int64_t heads = layer.heads + 2 * layer.kv_heads;
        qkv_stride_ = std::max(qkv_stride_, whole_groups(heads * layer.head_dim));
        attended_stride_ = std::max(attended_stride_, whole_groups(layer.heads * layer.head_dim));
        up_stride_ = std::max(up_stride_, whole_groups(layer.up.rows));
        inner_stride_ = std::max(inner_stride_, whole_groups(layer.inner));
    }
    bytes_ += packed_bytes(model.head);
    memory_.reset(new Memory(bytes_));
    uint8_t *at = memory_->data();
    const auto packed = [&](const lamina_matrix &matrix) {
        uint8_t *here = at;
        at += packed_bytes(matrix);
        return Matrix(matrix, kernels_, here);
    };
    layers_.reserve(model.layers);
    for (int64_t i = 0; i < model.layers; ++i) {
        const lamina_layer &layer = model.layer[i];
        layers_.push_back(Layer{packed(layer.qkv), packed(layer.o), packed(layer.up), packed(layer.down),
                                Norm(layer.attention_norm, model.width), Norm(layer.feedforward_norm, model.width),
                                Norm(layer.query_norm, layer.head_dim), Norm(layer.key_norm, layer.head_dim), layer});
    }
    norm_ = Norm(model.norm, model.width);
    head_.reset(new Matrix(packed(model.head)));
}

// Every packed byte, added up eight at a time: the least that a step must take.
uint64_t Decoder::read() {
    Pool::shared().run(
        next_threads_, 1, [](void *decoder) { static_cast<Decoder *>(decoder)->total_ = 0; },
        [](void *decoder, Worker &worker) { static_cast<Decoder *>(decoder)->read_pieces(worker); }, this);
    return total_;
}

void Decoder::read_pieces(Worker &worker) {
    constexpr int64_t kPiece = 64 * 1024;
    worker.share((bytes_ + kPiece - 1) / kPiece, [&](int64_t piece) {
        const uint64_t *words = reinterpret_cast<const uint64_t *>(memory_->data() + piece * kPiece);
        const int64_t count = std::min(kPiece, bytes_ - piece * kPiece) / 8;
        uint64_t total = 0;
        for (int64_t i = 0; i < count; ++i) total += words[i];
        total_ += total;
    });
}

Decoder::~Decoder() { Pool::shared().settle(); }

}  // namespace lamina
