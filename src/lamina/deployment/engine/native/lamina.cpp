// The C interface over the classes. No exception leaves it.
#include "lamina.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>

#include "decoder.h"
#include "encoder.h"

struct lamina_decoder {
    lamina::Decoder decoder;
};

struct lamina_encoder {
    lamina::Encoder encoder;
};

struct lamina_product {
    lamina_product(const lamina_matrix &given, int threads, const lamina::Kernels &kernels)
        : memory(lamina::Matrix::bytes(given)),
          matrix(given, kernels, threads, memory.data()),
          kernels(kernels),
          threads(threads),
          columns(given.columns) {}
    ~lamina_product() { lamina::Pool::shared().settle(); }

    void run(lamina::Worker &worker) {
        const int64_t whole = matrix.groups() * lamina::kGroup;
        const lamina::Inputs inputs = rows_of_inputs.of(whole);
        worker.share(rows, [&](int64_t row) {
            float *padded = whole_x.data() + row * whole;
            std::copy(x + row * columns, x + (row + 1) * columns, padded);
            kernels.quantize(padded, row, inputs, 0, inputs.groups);
        });
        matrix.multiply(worker, threads, inputs, rows, out, matrix.rows(), false);
    }

    lamina::Memory memory;
    lamina::Matrix matrix;
    const lamina::Kernels &kernels;
    int threads;
    int64_t columns;
    lamina::InputRows rows_of_inputs;
    std::vector<float> whole_x;
    // What the next and the present call are about: see Decoder.
    const float *next_x = nullptr, *x = nullptr;
    float *next_out = nullptr, *out = nullptr;
    int64_t next_rows = 0, rows = 0;
};

extern "C" {

int64_t lamina_abi(void) { return LAMINA_ABI; }

int64_t lamina_best_level(int64_t wanted) { return lamina::best_level(wanted); }

lamina_decoder *lamina_open(const lamina_model *model, int64_t threads, int64_t level) {
    try {
        return new lamina_decoder{{*model, static_cast<int>(threads), level}};
    } catch (const std::exception &) {
        return nullptr;
    }
}

void lamina_close(lamina_decoder *decoder) { delete decoder; }

void lamina_threads(lamina_decoder *decoder, int64_t threads) {
    decoder->decoder.use_threads(static_cast<int>(threads));
}

int64_t lamina_step(lamina_decoder *decoder, const lamina_step_request *request) {
    try {
        return decoder->decoder.step(*request) ? 0 : -2;
    } catch (const std::exception &) {
        return -1;
    }
}

void lamina_summarize(const float *scores, int64_t rows, int64_t count, int64_t level, double *out) {
    const lamina::Kernels &kernels = lamina::kernels_of(lamina::best_level(level));
    for (int64_t row = 0; row < rows; ++row) kernels.summarize(scores + row * count, count, out + 4 * row);
}

void lamina_shares(const float *scores, int64_t count, double temperature, int64_t level, float *out) {
    lamina::kernels_of(lamina::best_level(level)).shares(scores, count, static_cast<float>(temperature), out);
}

int64_t lamina_bytes(const lamina_decoder *decoder) { return decoder->decoder.bytes(); }

uint64_t lamina_read(lamina_decoder *decoder) { return decoder->decoder.read(); }

lamina_encoder *lamina_encoder_open(const lamina_encoder_model *model, int64_t threads, int64_t level) {
    try {
        return new lamina_encoder{{*model, static_cast<int>(threads), level}};
    } catch (const std::exception &) {
        return nullptr;
    }
}

void lamina_encoder_close(lamina_encoder *encoder) { delete encoder; }

void lamina_encoder_threads(lamina_encoder *encoder, int64_t threads) {
    encoder->encoder.use_threads(static_cast<int>(threads));
}

int64_t lamina_encode(lamina_encoder *encoder, const float *embedded, const int64_t *ends, int64_t texts, float *out) {
    try {
        encoder->encoder.encode(embedded, ends, texts, out);
        return 0;
    } catch (const std::exception &) {
        return -1;
    }
}

lamina_product *lamina_product_open(const lamina_matrix *matrix, int64_t threads, int64_t level) {
    try {
        if (lamina::Matrix::bytes(*matrix) == 0) return nullptr;
        const lamina::Kernels &kernels = lamina::kernels_of(lamina::best_level(level));
        return new lamina_product(*matrix, static_cast<int>(threads), kernels);
    } catch (const std::exception &) {
        return nullptr;
    }
}

int64_t lamina_product_apply(lamina_product *product, const float *x, int64_t rows, float *out) {
    product->next_x = x;
    product->next_rows = rows;
    product->next_out = out;
    try {
        lamina::Pool::shared().run(
            product->threads, 2,
            [](void *given) {
                lamina_product *p = static_cast<lamina_product *>(given);
                p->x = p->next_x;
                p->rows = p->next_rows;
                p->out = p->next_out;
                const int64_t whole = p->matrix.groups() * lamina::kGroup;
                p->rows_of_inputs.fit(p->rows, whole);
                p->whole_x.assign(p->rows * whole, 0.0f);
            },
            [](void *given, lamina::Worker &worker) { static_cast<lamina_product *>(given)->run(worker); }, product);
        return 0;
    } catch (const std::exception &) {
        return -1;
    }
}

void lamina_product_close(lamina_product *product) { delete product; }

}  // extern "C"
