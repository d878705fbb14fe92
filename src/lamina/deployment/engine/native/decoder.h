// A decoder: the program that all threads run for a step.
#pragma once

#include <memory>
#include <vector>

#include "stack.h"

namespace lamina {

class Decoder : public Stack {
  public:
    // Throws std::bad_alloc, or std::invalid_argument for shapes that it does not know.
    Decoder(const lamina_model &model, int threads, int64_t level)
        : Stack(model.layer, model.layers, model.width, model.norm, &model.head, model.in_place != 0, threads, level),
          given_(model) {}
    ~Decoder() override { Pool::shared().settle(); }

    // False, and nothing computed, where `request` names what the model does not have.
    bool step(const lamina_step_request &request);

  private:
    // Rows that are neighbours in one sequence.
    struct Neighbours {
        int64_t first, rows;
    };

    bool knows(const lamina_step_request &request) const;
    void prepare();
    void find_neighbours();
    void run(Worker &worker);
    void embed(int64_t row);
    void attention(Worker &worker, const Layer &layer);
    void place(const Layer &layer, int64_t row);
    void attend(const Layer &layer, int64_t row, int64_t rows, int64_t head, int64_t span, float *parts);
    void attend_in_spans(Worker &worker, const Layer &layer);
    void join(const Layer &layer, int64_t row);
    void attend_by_rows(Worker &worker, const Layer &layer);
    void cross(Worker &worker, const Layer &layer);
    void attend_to_source(const Layer &layer, int64_t row, int64_t head, float *parts);
    void scores(Worker &worker);
    // low_rank.cpp
    void prepare_adapters();
    const lamina_low_rank *parts_of(int64_t row, int64_t layer, int64_t product) const;
    template <class Visit> void for_rows(int64_t block, int64_t layer, int64_t product, const Visit &visit);
    void adapt(Worker &worker, const Layer &layer, int64_t product, const Rows &x, const Rows &out) override;
    int64_t spans(int64_t row) const { return (asked_.positions[row] + kSpan) / kSpan; }

    lamina_model given_;  // its numbers, the token table and the places

    // Read by whoever is in the program, also too late: changed only by `prepare`, when nobody is.
    lamina_step_request asked_{};
    lamina_sources sources_{};  // what `asked_` has, or nothing
    int64_t most_spans_ = 0, most_source_spans_ = 0;
    std::vector<Neighbours> neighbours_;  // in steps of many rows: which attend together
    int64_t rows_a_task_ = 1;
    int64_t most_ranks_ = 0;  // of an adapter's parts of one product together; 0: no row has an adapter
    lamina_step_request next_{};

    std::vector<float> parts_, source_parts_, low_;
};

}  // namespace lamina
