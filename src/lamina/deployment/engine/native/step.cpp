// The program of a step: embeddings, layers, scores. Each `share` is a phase; see pool.h.
#include <algorithm>
#include <cmath>

#include "decoder.h"

namespace lamina {

namespace {

constexpr int64_t kPhasesPerLayer = 10;  // six of attention, four of feed-forward
constexpr int64_t kPhasesOfSources = 5;
constexpr int64_t kPhasesOfAdapters = 2 * LAMINA_PRODUCTS;
constexpr int64_t kPhasesBeside = 3;     // embeddings, the last norm, the head
// Up to so many rows the stored tokens of each are attended to in spans by several threads.
constexpr int64_t kFewRows = 8;
// Neighbours in a prompt that read stored tokens together.
constexpr int64_t kTogether = 4;

}  // namespace

bool Decoder::step(const lamina_step_request &request) {
    if (!knows(request)) return false;
    next_ = request;
    const int64_t phases = kPhasesPerLayer + kPhasesOfSources + (next_.adapters == nullptr ? 0 : kPhasesOfAdapters);
    Pool::shared().run(
        next_threads_, phases * given_.layers + kPhasesBeside,
        [](void *decoder) { static_cast<Decoder *>(decoder)->prepare(); },
        [](void *decoder, Worker &worker) { static_cast<Decoder *>(decoder)->run(worker); }, this);
    return true;
}

// Whether what is read and written by these numbers is there; of sources the caller knows.
bool Decoder::knows(const lamina_step_request &request) const {
    const auto below = [](int64_t value, int64_t limit) { return 0 <= value && value < limit; };
    const int64_t blocks = given_.slots / given_.block_tokens;
    if (request.rows < 1 || request.count > request.rows) return false;
    if (!layers_.empty() && layers_[0].cross_q != nullptr && request.sources == nullptr) return false;
    for (int64_t i = 0; i < request.count; ++i)
        if (!below(request.wanted[i], request.rows)) return false;
    int64_t known = 0;  // of the table that all rows have
    for (int64_t row = 0; row < request.rows; ++row) {
        if (!below(request.tokens[row], given_.vocabulary) || !below(request.positions[row], given_.context))
            return false;
        const int64_t last = request.positions[row] / given_.block_tokens;
        if (last >= request.blocks) return false;
        const int64_t *table = request.tables + row * request.stride;
        for (int64_t i = request.stride == 0 ? known : 0; i <= last; ++i)
            if (!below(table[i], blocks)) return false;
        known = std::max(known, last + 1);
    }
    return true;
}

void Decoder::prepare() {
    asked_ = next_;
    sources_ = asked_.sources == nullptr ? lamina_sources{} : *asked_.sources;
    const int64_t rows = asked_.rows;
    prepare_rows(rows);
    most_spans_ = 0;
    for (int64_t row = 0; row < rows; ++row) most_spans_ = std::max(most_spans_, spans(row));
    int64_t heads = 0, dim = 0;
    for (const Layer &layer : layers_) {
        heads = std::max(heads, layer.given.heads);
        dim = std::max(dim, layer.given.head_dim);
    }
    prepare_adapters();
    find_neighbours();
    most_source_spans_ = 0;
    for (int64_t row = 0; sources_.store != nullptr && row < rows; ++row)
        most_source_spans_ = std::max(
            most_source_spans_, (sources_.ends[row] - sources_.begins[row] + kSpan - 1) / kSpan);
    fit(source_parts_, threads_ * heads * most_source_spans_ * (dim + 2));
    fit(parts_, (rows > kFewRows ? threads_ * kTogether : rows) * heads * most_spans_ * (dim + 2));
}

// Rows whose places follow each other, and which find all that they see in the same blocks.
void Decoder::find_neighbours() {
    neighbours_.clear();
    const auto follows = [&](const Neighbours &group, int64_t row) {
        const int64_t position = asked_.positions[row], *table = asked_.tables + row * asked_.stride;
        return position == asked_.positions[row - 1] + 1 &&
               std::equal(table, table + position / given_.block_tokens + 1,
                          asked_.tables + group.first * asked_.stride);
    };
    for (int64_t row = 0; asked_.rows > kFewRows && row < asked_.rows; ++row) {
        if (neighbours_.empty() || neighbours_.back().rows == kTogether || !follows(neighbours_.back(), row))
            neighbours_.push_back({row, 0});
        ++neighbours_.back().rows;
    }
}

void Decoder::run(Worker &worker) {
    worker.share(asked_.rows, [&](int64_t row) { embed(row); });
    for (const Layer &layer : layers_) {
        attention(worker, layer);
        if (layer.cross_q != nullptr) cross(worker, layer);
        feedforward(worker, layer);
    }
    scores(worker);
}

void Decoder::embed(int64_t row) {
    const int64_t token = asked_.tokens[row], width = given_.width;
    const float scale = given_.table_scales[token] * static_cast<float>(given_.table_factor);
    const float *place = given_.places == nullptr ? nullptr : given_.places + asked_.positions[row] * width;
    float *hidden = hidden_.data() + row * width_;
    kernels_.embed(given_.table + token * width, scale, place, width, hidden);
    std::fill(hidden + width, hidden + width_, 0.0f);
}

void Decoder::attention(Worker &worker, const Layer &layer) {
    const int64_t rows = asked_.rows, attended = layer.given.heads * layer.given.head_dim;
    normed_inputs(worker, layer.attention_norm);
    layer.qkv.multiply(worker, threads_, inputs_.of(width_), rows, qkv_.data(), qkv_stride_, false);
    adapt(worker, layer, 0, {normed_.data(), width_, width_}, {qkv_.data(), qkv_stride_, layer.qkv.rows()});
    worker.share(rows, [&](int64_t row) { place(layer, row); });
    const Inputs inputs = inputs_.of(whole_groups(attended));
    if (rows > kFewRows)
        attend_by_rows(worker, layer);
    else
        attend_in_spans(worker, layer);
    worker.share(rows, [&](int64_t row) {
        if (rows <= kFewRows) join(layer, row);
        attended_inputs(layer, row);
    });
    layer.o.multiply(worker, threads_, inputs, rows, hidden_.data(), width_, true);
    adapt(worker, layer, 1, {attended_.data(), attended_stride_, whole_groups(attended)},
                 {hidden_.data(), width_, layer.o.rows()});
}

// Turns the queries and keys of a row, then puts its keys and values where they are kept.
void Decoder::place(const Layer &layer, int64_t row) {
    const lamina_layer &given = layer.given;
    const int64_t dim = given.head_dim, position = asked_.positions[row];
    turn(layer, row, position);
    const float *qkv = qkv_.data() + row * qkv_stride_;
    const int64_t block = asked_.tables[row * asked_.stride + position / given_.block_tokens];
    const int64_t slot = block * given_.block_tokens + position % given_.block_tokens;
    for (int64_t head = 0; head < 2 * given.kv_heads; ++head) {
        const float *values = qkv + (given.heads + head) * dim;
        const int64_t at = head * given_.slots + slot;
        if (given.stored == LAMINA_STORED_INT8)
            kernels_.narrow(values, dim, static_cast<int8_t *>(given.store) + at * dim, given.scales + at);
        else if (given.stored == LAMINA_STORED_HALF)
            kernels_.halve(values, dim, static_cast<uint16_t *>(given.store) + at * dim);
        else
            std::copy(values, values + dim, static_cast<float *>(given.store) + at * dim);
    }
}

// One span of the tokens of `rows` rows for the query heads of key-value head `head`; `parts` are theirs.
void Decoder::attend(const Layer &layer, int64_t row, int64_t rows, int64_t head, int64_t span, float *parts) {
    const lamina_layer &given = layer.given;
    const int64_t dim = given.head_dim, group = given.heads / given.kv_heads, part = dim + 2;
    Span task{};
    task.queries = qkv_.data() + row * qkv_stride_ + head * group * dim;
    task.rows = rows;
    task.query_stride = qkv_stride_;
    task.heads = group;
    task.head_dim = dim;
    const int64_t keys = head * given_.slots, values = (given.kv_heads + head) * given_.slots;
    const int64_t bytes = dim * given.stored / 8;
    task.stored = given.stored;
    task.keys = static_cast<const uint8_t *>(given.store) + keys * bytes;
    task.values = static_cast<const uint8_t *>(given.store) + values * bytes;
    if (given.scales != nullptr) {
        task.key_scales = given.scales + keys;
        task.value_scales = given.scales + values;
    }
    task.table = asked_.tables + row * asked_.stride;
    task.block_tokens = given_.block_tokens;
    task.begin = span * kSpan;
    task.seen = asked_.positions[row] + 1;
    task.more = 1;
    task.out = parts + span * part;
    task.out_stride = most_spans_ * part;
    task.row_stride = group * most_spans_ * part;
    kernels_.attend(task);
}

// A phase: with few rows each span of tokens is a task, and `join` adds them up.
void Decoder::attend_in_spans(Worker &worker, const Layer &layer) {
    const lamina_layer &given = layer.given;
    const int64_t group = given.heads / given.kv_heads, most = most_spans_;
    worker.share(asked_.rows * given.kv_heads * most, [&](int64_t task) {
        const int64_t span = task % most, head = task / most % given.kv_heads, row = task / most / given.kv_heads;
        float *parts = parts_.data() + (row * given.heads + head * group) * most * (given.head_dim + 2);
        if (span < spans(row)) attend(layer, row, 1, head, span, parts);
    });
}

void Decoder::join(const Layer &layer, int64_t row) {
    const lamina_layer &given = layer.given;
    const int64_t part = given.head_dim + 2;
    for (int64_t head = 0; head < given.heads; ++head)
        kernels_.join(parts_.data() + (row * given.heads + head) * most_spans_ * part, spans(row), part, given.head_dim,
                      attended_.data() + row * attended_stride_ + head * given.head_dim);
}

// A phase: with many rows a key-value head of some neighbours is one task, and its parts are the thread's own.
void Decoder::attend_by_rows(Worker &worker, const Layer &layer) {
    const lamina_layer &given = layer.given;
    const int64_t group = given.heads / given.kv_heads, part = given.head_dim + 2, most = most_spans_;
    float *parts = parts_.data() + worker.index() * kTogether * given.heads * most * part;
    worker.share(static_cast<int64_t>(neighbours_.size()) * given.kv_heads, [&](int64_t task) {
        const int64_t head = task % given.kv_heads;
        const auto [first, rows] = neighbours_[task / given.kv_heads];
        for (int64_t span = 0; span < spans(first + rows - 1); ++span) attend(layer, first, rows, head, span, parts);
        for (int64_t n = 0; n < rows * group; ++n) {
            const int64_t row = first + n / group;
            kernels_.join(parts + n * most * part, spans(row), part, given.head_dim,
                          attended_.data() + row * attended_stride_ + (head * group + n % group) * given.head_dim);
        }
    });
}

// Attention to the source of each row.
void Decoder::cross(Worker &worker, const Layer &layer) {
    const lamina_layer &given = layer.given;
    normed_inputs(worker, layer.cross_norm);
    layer.cross_q->multiply(worker, threads_, inputs_.of(width_), rows_, qkv_.data(), qkv_stride_, false);
    float *parts = source_parts_.data() + worker.index() * given.heads * most_source_spans_ * (given.head_dim + 2);
    worker.share(rows_ * given.kv_heads, [&](int64_t task) {
        attend_to_source(layer, task / given.kv_heads, task % given.kv_heads, parts);
    });
    worker.share(rows_, [&](int64_t row) { attended_inputs(layer, row); });
    layer.cross_o->multiply(worker, threads_, inputs_.of(whole_groups(given.heads * given.head_dim)), rows_,
                            hidden_.data(), width_, true);
}

void Decoder::attend_to_source(const Layer &layer, int64_t row, int64_t head, float *parts) {
    const lamina_layer &given = layer.given;
    const int64_t dim = given.head_dim, group = given.heads / given.kv_heads, begin = sources_.begins[row];
    const int64_t first = (&layer - layers_.data()) * 2 * given.kv_heads + head;
    float *queries = qkv_.data() + row * qkv_stride_ + head * group * dim;
    const float root = 1.0f / std::sqrt(static_cast<float>(dim));
    for (int64_t i = 0; i < group * dim; ++i) queries[i] *= root;
    Span task{};
    task.queries = queries;
    task.rows = 1;
    task.heads = group;
    task.head_dim = dim;
    task.keys = sources_.store + (first * sources_.tokens + begin) * dim;
    task.values = sources_.store + ((first + given.kv_heads) * sources_.tokens + begin) * dim;
    attend_to_all(task, sources_.ends[row] - begin, parts,
                  attended_.data() + row * attended_stride_ + head * group * dim, attended_stride_);
}

void Decoder::scores(Worker &worker) {
    const Inputs inputs = inputs_.of(width_);
    worker.share(asked_.count, [&](int64_t i) {
        float *normed = normed_.data() + i * width_;
        kernels_.norm(hidden_.data() + asked_.wanted[i] * width_, norm_.weight.data(), norm_.bias(), norm_.epsilon,
                      given_.width, normed);
        kernels_.quantize(normed, i, inputs, 0, inputs.groups);
    });
    head_->multiply(worker, threads_, inputs, asked_.count, asked_.scores, given_.vocabulary, false);
}

}  // namespace lamina
