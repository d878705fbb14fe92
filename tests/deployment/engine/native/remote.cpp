// The library of another kind of processor, asked through pipes: see test_arm.py. A request holds addresses as offsets
// into what it carries; the first part says where they are.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "lamina.h"

namespace {

enum Call { kLevel, kOpen, kStep, kClose, kProduct, kApply, kCloseProduct, kEncoder, kEncode, kCloseEncoder };

struct Request {
    int64_t call, handle, a, b, c, floats, pointers, bytes;
};

template <class T> void read(T *to, int64_t count) {
    if (count > 0 && std::fread(to, sizeof(T), count, stdin) != static_cast<size_t>(count)) std::exit(0);
}

int64_t answer(const Request &r, uint8_t *given, float *out) {
    const int64_t *numbers = reinterpret_cast<const int64_t *>(given);
    lamina_decoder *decoder = reinterpret_cast<lamina_decoder *>(r.handle);
    lamina_product *product = reinterpret_cast<lamina_product *>(r.handle);
    lamina_encoder *encoder = reinterpret_cast<lamina_encoder *>(r.handle);
    switch (r.call) {
        case kLevel:
            return lamina_best_level(r.a);
        case kOpen:
            return reinterpret_cast<int64_t>(lamina_open(reinterpret_cast<lamina_model *>(given), r.a, r.b));
        case kStep: {  // rows, blocks, wanted rows; see lamina_step in test_arm.py
            const int64_t *tokens = numbers + 2, *positions = tokens + r.a, *wanted = positions + r.a;
            lamina_step_request request = {tokens, positions, wanted + r.c, r.a, r.b, numbers[0],
                                           wanted, r.c, out, nullptr, nullptr};
            const int64_t *about = reinterpret_cast<const int64_t *>(given + numbers[1]);
            const float *store = reinterpret_cast<const float *>(about + 1 + 2 * r.a);
            const lamina_sources sources = {store, about[0], about + 1, about + 1 + r.a};
            if (numbers[1] != 0) request.sources = &sources;
            return lamina_step(decoder, &request);
        }
        case kClose:
            lamina_close(decoder);
            return 0;
        case kProduct:
            return reinterpret_cast<int64_t>(lamina_product_open(reinterpret_cast<lamina_matrix *>(given), r.a, r.b));
        case kApply:
            return lamina_product_apply(product, reinterpret_cast<float *>(given), r.a, out);
        case kCloseProduct:
            lamina_product_close(product);
            return 0;
        case kEncoder:
            return reinterpret_cast<int64_t>(
                lamina_encoder_open(reinterpret_cast<lamina_encoder_model *>(given), r.a, r.b));
        case kEncode:  // texts; ends, embedded tokens
            return lamina_encode(encoder, reinterpret_cast<float *>(given + 8 * r.a), numbers, r.a, out);
        default:
            lamina_encoder_close(encoder);
            return 0;
    }
}

}  // namespace

int main() {
    for (;;) {
        Request request;
        read(&request, 1);
        std::vector<int64_t> pointers(request.pointers);
        read(pointers.data(), request.pointers);
        // never freed: a decoder reads parts of it as long as it lives
        uint8_t *given = static_cast<uint8_t *>(std::aligned_alloc(64, (request.bytes + 63) / 64 * 64 + 64));
        read(given, request.bytes);
        for (int64_t at : pointers) *reinterpret_cast<int64_t *>(given + at) += reinterpret_cast<int64_t>(given);
        std::vector<float> out(request.floats);
        const int64_t value = answer(request, given, out.data());
        std::fwrite(&value, sizeof value, 1, stdout);
        std::fwrite(out.data(), sizeof(float), out.size(), stdout);
        std::fflush(stdout);
    }
}
