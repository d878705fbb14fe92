#include "pool.h"

#include <chrono>
#include <climits>
#include <thread>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lamina {

namespace {

// Pauses before a thread gives its core away: tens of microseconds, longer than a phase, shorter than a time slice.
constexpr int kSpins = 1000;

void wait_while(std::atomic<uint32_t> &word, uint32_t value) {
#if defined(__linux__)
    syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
    if (word.load() == value) std::this_thread::sleep_for(std::chrono::microseconds(100));
#endif
}

void wake_all(std::atomic<uint32_t> &word) {
#if defined(__linux__)
    syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
    (void)word;
#endif
}

bool open(uint32_t generation) { return (generation & 1) == 0; }

}  // namespace

void Worker::wait(const Phase &phase, int64_t count) {
    for (int spins = 0; phase.done.load(std::memory_order_acquire) < count; ++spins) {
        // Whoever holds the last task may have lost its core to another process: let it have this one.
        if (spins < kSpins)
            relax();
        else
            std::this_thread::yield();
    }
}

Pool &Pool::shared() {
    // Never destroyed: its threads may sleep while the process ends.
    static Pool *pool = new Pool;
    return *pool;
}

void Pool::run(int threads, int64_t phases, void (*prepare)(void *), Program program, void *context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    leave();
    if (phases > capacity_) {
        phases_.reset(new Phase[phases]);
        capacity_ = phases;
    }
    for (int64_t i = 0; i < phases; ++i) {
        phases_[i].next.store(0, std::memory_order_relaxed);
        phases_[i].done.store(0, std::memory_order_relaxed);
    }
    prepare(context);
    program_ = program;
    context_ = context;
    threads_ = threads;
    if (threads > 1) {
        grow(threads - 1);
        generation_.fetch_add(1);
        if (sleeping_.load() > 0) wake_all(generation_);
    }
    Worker worker(phases_.get(), 0);
    program(context, worker);
    if (threads > 1) generation_.fetch_add(1);
}

// The last program is closed; whoever is still in it leaves without finding a task.
void Pool::leave() {
    for (int spins = 0; inside_.load() > 0; ++spins) {
        if (spins < kSpins)
            relax();
        else
            std::this_thread::yield();
    }
}

void Pool::settle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    leave();
}

void Pool::grow(int helpers) {
    for (; helpers_ < helpers; ++helpers_) {
        const int index = helpers_ + 1;
        std::thread([this, index] { help(index); }).detach();
    }
}

// Waits for a program to join; spins first, since a decoder's next step usually comes at once.
uint32_t Pool::sleep(uint32_t seen) {
    for (int spins = 0; spins < kSpins; ++spins) {
        const uint32_t now = generation_.load();
        if (now != seen && open(now)) return now;
        relax();
    }
    for (;;) {
        sleeping_.fetch_add(1);
        const uint32_t now = generation_.load();
        if (now == seen || !open(now)) wait_while(generation_, now);
        sleeping_.fetch_sub(1);
        const uint32_t later = generation_.load();
        if (later != seen && open(later)) return later;
    }
}

void Pool::help(int index) {
    uint32_t seen = 1;
    for (;;) {
        sleep(seen);
        inside_.fetch_add(1);
        // Looked at again from inside: a program that closed meanwhile may already be taken apart.
        const uint32_t now = generation_.load();
        if (open(now) && now != seen) {
            seen = now;
            if (index < threads_) {
                Worker worker(phases_.get(), index);
                program_(context_, worker);
            }
        }
        inside_.fetch_sub(1);
    }
}

}  // namespace lamina
