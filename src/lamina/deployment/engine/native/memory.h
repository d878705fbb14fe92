// Memory for weights: zeroed, aligned to cache lines and, where the system grants it, in huge pages, since a step reads
// all of it and would miss the table of small pages every 4 KiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lamina {

#if defined(__linux__)

// Asked of the system, whose pages are zero: whoever fills them first, on whichever core, is who waits for them.
class Memory {
  public:
    explicit Memory(int64_t bytes) : bytes_((static_cast<size_t>(bytes) + kPage - 1) / kPage * kPage + kPage) {
        mapped_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped_ == MAP_FAILED) throw std::bad_alloc();
        madvise(mapped_, bytes_, MADV_HUGEPAGE);  // may be refused: then it is small pages
    }
    ~Memory() { munmap(mapped_, bytes_); }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;

    uint8_t *data() {
        const uintptr_t at = reinterpret_cast<uintptr_t>(mapped_);
        return reinterpret_cast<uint8_t *>((at + kPage - 1) / kPage * kPage);
    }

  private:
    static constexpr size_t kPage = size_t{1} << 21;

    size_t bytes_;
    void *mapped_;
};

#else

class Memory {
  public:
    explicit Memory(int64_t bytes) {
        const size_t whole = (static_cast<size_t>(bytes) + kPage - 1) / kPage * kPage;
        data_ = static_cast<uint8_t *>(std::aligned_alloc(kPage, whole));
        if (data_ == nullptr) throw std::bad_alloc();
        std::memset(data_, 0, whole);
    }
    ~Memory() { std::free(data_); }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;

    uint8_t *data() { return data_; }

  private:
    static constexpr size_t kPage = size_t{1} << 12;

    uint8_t *data_;
};

#endif

}  // namespace lamina
