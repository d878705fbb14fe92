// A matrix of quantised weights, packed into tiles, and its product with rows of inputs.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "lamina.h"
#include "pool.h"

namespace lamina {

// Columns that whole groups of inputs need.
inline int64_t whole_groups(int64_t columns) { return (columns + kGroup - 1) / kGroup * kGroup; }

class Matrix {
  public:
    // Bytes that packing takes; 0 where the shape or kind is not known.
    static int64_t bytes(const lamina_matrix &given);

    // Packs `given` with as many threads into `memory`, which is zero and must stay.
    Matrix(const lamina_matrix &given, const Kernels &kernels, int threads, uint8_t *memory);

    int64_t rows() const { return rows_; }
    int64_t groups() const { return groups_; }

    // A phase: out[r][n] = or += inputs[r] · row n + bias, for `count` rows of inputs.
    void multiply(Worker &worker, int threads, const Inputs &inputs, int64_t count, float *out, int64_t stride,
                  bool add) const;

  private:
    void pack(const lamina_matrix &given, int threads);
    void pack_int8(const lamina_matrix &given, int64_t tile) const;
    void pack_int4(const lamina_matrix &given, int64_t tile) const;
    void finish(int64_t tile, const float *sums, int64_t count, float *out, int64_t stride, bool add) const;

    int64_t rows_, groups_, tiles_, tile_bytes_;
    uint8_t *memory_;
    const Kernels &kernels_;
    Product product_;
    std::vector<float> scales_, bias_;  // for every row of every tile
};

}  // namespace lamina
