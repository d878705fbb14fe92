// One pool of threads for the whole process. All of them run the same program, which is a row of phases; the tasks of a
// phase are handed out by an atomic counter, so that a thread that is slowed down takes fewer of them, and one that
// comes late finds them done and goes on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace lamina {

// A processor's hint that it waits for another.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

struct alignas(64) Phase {
    std::atomic<int64_t> next{0};
    alignas(64) std::atomic<int64_t> done{0};
};

// What a thread knows while it runs a program.
class Worker {
  public:
    Worker(Phase *phases, int index) : phases_(phases), index_(index) {}

    int index() const { return index_; }

    // A phase: `task(i)` for each i below `count`, by whichever thread comes first. Returns when all are done.
    template <class Task> void share(int64_t count, const Task &task) {
        Phase &phase = phases_[at_++];
        for (;;) {
            const int64_t i = phase.next.fetch_add(1, std::memory_order_relaxed);
            if (i >= count) break;
            task(i);
            phase.done.fetch_add(1, std::memory_order_release);
        }
        wait(phase, count);
    }

  private:
    static void wait(const Phase &phase, int64_t count);

    Phase *phases_;
    int index_;
    int64_t at_ = 0;
};

class Pool {
  public:
    using Program = void (*)(void *context, Worker &worker);

    // The process' pool.
    static Pool &shared();

    // Runs `program` with `threads` threads, this one among them; one program at a time.
    // `prepare(context)` runs alone before it, when nobody reads what an earlier program left.
    void run(int threads, int64_t phases, void (*prepare)(void *), Program program, void *context);

    // Waits until nobody is in a program, so that what it reads may go.
    void settle();

  private:
    void leave();
    void grow(int helpers);
    void help(int index);
    uint32_t sleep(uint32_t seen);

    std::mutex mutex_;
    std::unique_ptr<Phase[]> phases_;
    int64_t capacity_ = 0;
    int helpers_ = 0;
    int threads_ = 1;
    Program program_ = nullptr;
    void *context_ = nullptr;
    // Even: a program may be joined. Odd: none.
    alignas(64) std::atomic<uint32_t> generation_{1};
    alignas(64) std::atomic<int> inside_{0};
    alignas(64) std::atomic<int> sleeping_{0};
};

}  // namespace lamina
