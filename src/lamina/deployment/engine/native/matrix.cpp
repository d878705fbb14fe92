#include "matrix.h"

#include <algorithm>
#include <cstring>

#include "layout.h"

namespace lamina {

namespace {

// Bytes of weights that a thread takes at a time: some microseconds of reading.
constexpr int64_t kTask = 48 * 1024;
constexpr int64_t kTasksPerThread = 4;

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

Matrix::Matrix(const lamina_matrix &given, const Kernels &kernels, uint8_t *memory)
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
        pack_int8(given);
    } else {
        product_ = given.minimums != nullptr ? kernels.int4_minimum : kernels.int4;
        pack_int4(given);
    }
}

void Matrix::pack_int8(const lamina_matrix &given) {
    const uint8_t *weights = static_cast<const uint8_t *>(given.weights);
    for (int64_t tile = 0; tile < tiles_; ++tile) {
        const int64_t rows = std::min(kTile, rows_ - tile * kTile);
        const uint8_t *from = weights + tile * kTile * given.columns;
        uint8_t *to = memory_ + tile * tile_bytes_;  // written from its beginning to its end: that is what takes time
        for (int64_t k = 0; k < given.columns; k += 2, to += 2 * kTile)
            for (int64_t row = 0; row < rows; ++row) {
                to[2 * row] = from[row * given.columns + k];
                if (k + 1 < given.columns) to[2 * row + 1] = from[row * given.columns + k + 1];
            }
    }
}

void Matrix::pack_int4(const lamina_matrix &given) {
    const uint8_t *scales = static_cast<const uint8_t *>(given.scales);
    const uint8_t *minimums = static_cast<const uint8_t *>(given.minimums);
    const int64_t bytes = group_bytes(given);
    for (int64_t row = 0; row < rows_; ++row)
        for (int64_t g = 0; g < groups_; ++g) {
            const int64_t index = row * groups_ + g, at = row % kTile * 2;
            const uint8_t *from = static_cast<const uint8_t *>(given.weights) + index * (kGroup / 2);
            uint8_t *to = memory_ + row / kTile * tile_bytes_ + g * bytes;
            for (int64_t pair = 0; pair < kGroup / 2; ++pair)
                for (int64_t parity = 0; parity < 2; ++parity) {
                    const int64_t k = 2 * pair + parity, byte = k % (kGroup / 2);
                    const int value = k < kGroup / 2 ? from[byte] & 15 : from[byte] >> 4;
                    // nibble n of the 16 bits of word pair / 4: see layout.h
                    const int64_t n = pair % 4;
                    to[pair / 4 * (4 * kTile) + 2 * (at + parity) + n / 2] |= value << 4 * (n % 2);
                }
            std::memcpy(to + kNibbles + at, scales + 2 * index, 2);
            if (minimums != nullptr) std::memcpy(to + kNibbles + kHalves + at, minimums + 2 * index, 2);
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
