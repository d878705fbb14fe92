#include "matrix.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>
#include <thread>

#include "layout.h"

namespace lamina {

namespace {

// Bytes of weights that a thread takes at a time: some microseconds of reading.
constexpr int64_t kTask = 48 * 1024;
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kManyBytes = 256 * 1024;  // of a matrix that is packed by several threads
constexpr int64_t kWords = 4;  // of 16 bits, in which int4 keeps a row's columns of one parity of a group

int64_t group_bytes(const lamina_matrix &given) {
    if (given.kind == LAMINA_INT8) return kInt8Group;
    return given.minimums != nullptr ? kInt4MinimumGroup : kInt4Group;
}

}  // namespace

int64_t Matrix::bytes(const lamina_matrix &given) {
    const bool whole = given.columns % kGroup == 0;
    const bool known = given.kind == LAMINA_INT8 || (given.kind == LAMINA_INT4 && whole);
    if (!known || given.rows < 1 || given.columns < 1) return 0;
    return (given.rows + kTile - 1) / kTile * (whole_groups(given.columns) / kGroup) * group_bytes(given);
}

Matrix::Matrix(const lamina_matrix &given, const Kernels &kernels, int threads, uint8_t *memory)
    : rows_(given.rows),
      groups_(whole_groups(given.columns) / kGroup),
      tiles_((given.rows + kTile - 1) / kTile),
      tile_bytes_(groups_ * group_bytes(given)),
      memory_(memory),
      kernels_(kernels),
      scales_(tiles_ * kTile, 1.0f),
      bias_(tiles_ * kTile, 0.0f) {
    if (given.bias != nullptr) std::copy(given.bias, given.bias + rows_, bias_.begin());
    if (given.kind == LAMINA_INT8) {
        const float *scales = static_cast<const float *>(given.scales);
        std::copy(scales, scales + rows_, scales_.begin());
        product_ = kernels.int8;
    } else {
        product_ = given.minimums != nullptr ? kernels.int4_minimum : kernels.int4;
    }
    pack(given, threads);
}

// On threads of its own: the pool's would keep another model's steps waiting until all is packed.
void Matrix::pack(const lamina_matrix &given, int threads) {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
        for (int64_t tile = next.fetch_add(1); tile < tiles_; tile = next.fetch_add(1))
            given.kind == LAMINA_INT8 ? pack_int8(given, tile) : pack_int4(given, tile);
    };
    const int helpers = tiles_ * tile_bytes_ < kManyBytes ? 0 : threads - 1;
    std::vector<std::thread> running;
    running.reserve(std::max(0, helpers));
    try {
        for (int i = 0; i < helpers; ++i) running.emplace_back(work);
    } catch (const std::system_error &) {  // there are no more: then it is fewer
    }
    work();
    for (std::thread &thread : running) thread.join();
}

// A pair of columns of 16 rows after another: a group's bytes are read in one piece, and so are they written.
void Matrix::pack_int8(const lamina_matrix &given, int64_t tile) const {
    const int64_t rows = std::min(kTile, rows_ - tile * kTile), columns = given.columns;
    const uint8_t *from = static_cast<const uint8_t *>(given.weights) + tile * kTile * columns;
    uint8_t *to = memory_ + tile * tile_bytes_;
    for (int64_t k = 0; k < columns; k += kGroup, to += kInt8Group) {
        uint8_t group[kTile][kGroup] = {};
        const int64_t count = std::min(kGroup, columns - k);
        for (int64_t row = 0; row < rows; ++row) std::memcpy(group[row], from + row * columns + k, count);
        for (int64_t pair = 0; pair < kGroup / 2; ++pair)
            for (int64_t row = 0; row < kTile; ++row)
                std::memcpy(to + 2 * (pair * kTile + row), &group[row][2 * pair], 2);
    }
}

void Matrix::pack_int4(const lamina_matrix &given, int64_t tile) const {
    const uint8_t *scales = static_cast<const uint8_t *>(given.scales);
    const uint8_t *minimums = static_cast<const uint8_t *>(given.minimums);
    const int64_t bytes = group_bytes(given), begin = tile * kTile, end = std::min(rows_, begin + kTile);
    for (int64_t g = 0; g < groups_; ++g) {
        uint8_t *to = memory_ + tile * tile_bytes_ + g * bytes;
        for (int64_t row = begin; row < end; ++row) {
            const int64_t index = row * groups_ + g, at = (row - begin) * 2;
            const uint8_t *from = static_cast<const uint8_t *>(given.weights) + index * (kGroup / 2);
            for (int64_t word = 0; word < kWords; ++word)
                for (int64_t parity = 0; parity < 2; ++parity) {
                    // columns 2 (4 word + n) + parity for n = 0 .. 3; the first half of a group's are in low nibbles
                    const uint8_t *four = from + 8 * (word % 2) + parity;
                    const int shift = word < kWords / 2 ? 0 : 4;
                    const int n0 = four[0] >> shift & 15, n1 = four[2] >> shift & 15;
                    const int n2 = four[4] >> shift & 15, n3 = four[6] >> shift & 15;
                    uint8_t *pair = to + word * (4 * kTile) + 2 * (at + parity);
                    pair[0] = static_cast<uint8_t>(n0 | n1 << 4);
                    pair[1] = static_cast<uint8_t>(n2 | n3 << 4);
                }
            std::memcpy(to + kNibbles + at, scales + 2 * index, 2);
            if (minimums != nullptr) std::memcpy(to + kNibbles + kHalves + at, minimums + 2 * index, 2);
        }
    }
}

void Matrix::multiply(Worker &worker, int threads, const Inputs &inputs, int64_t count, float *out, int64_t stride,
                      bool add) const {
    const int64_t fair = (tiles_ + threads * kTasksPerThread - 1) / (threads * kTasksPerThread);
    const int64_t size = std::max<int64_t>(1, std::min(kTask / tile_bytes_, fair));
    const int64_t batch = kernels_.batch, batches = (count + batch - 1) / batch;
    // The batches of a run of tiles are neighbours, so that its weights are in the cache for all but the first.
    worker.share((tiles_ + size - 1) / size * batches, [&](int64_t task) {
        const int64_t first = task % batches * batch, rows = std::min(batch, count - first);
        const int64_t begin = task / batches * size, end = std::min(tiles_, begin + size);
        alignas(64) float sums[kMostBatch * kTile];
        for (int64_t tile = begin; tile < end; ++tile) {
            product_(memory_ + tile * tile_bytes_, inputs, first, rows, sums);
            finish(tile, sums, rows, out + first * stride, stride, add);
        }
    });
}

void Matrix::finish(int64_t tile, const float *sums, int64_t count, float *out, int64_t stride, bool add) const {
    const int64_t columns = std::min(kTile, rows_ - tile * kTile);
    const float *scales = scales_.data() + tile * kTile, *bias = bias_.data() + tile * kTile;
    float *to = out + tile * kTile;
    if (columns == kTile) return kernels_.finish(sums, scales, bias, count, to, stride, add);
    for (int64_t r = 0; r < count; ++r, sums += kTile, to += stride)
        for (int64_t n = 0; n < columns; ++n) {
            const float found = sums[n] * scales[n] + bias[n];
            to[n] = add ? to[n] + found : found;
        }
}

}  // namespace lamina
