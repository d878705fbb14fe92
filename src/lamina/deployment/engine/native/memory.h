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

class Memory {
  public:
    explicit Memory(int64_t bytes) : bytes_((static_cast<size_t>(bytes) + kPage - 1) / kPage * kPage) {
        data_ = static_cast<uint8_t *>(std::aligned_alloc(kPage, bytes_));
        if (data_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
        madvise(data_, bytes_, MADV_HUGEPAGE);  // may be refused: then it is small pages
#endif
        std::memset(data_, 0, bytes_);
    }
    ~Memory() { std::free(data_); }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;

    uint8_t *data() { return data_; }

  private:
    static constexpr size_t kPage = size_t{1} << 21;

    size_t bytes_;
    uint8_t *data_;
};

}  // namespace lamina
