// AMX: products of sixteen rows of inputs with sixteen rows of a matrix in one instruction, bit for bit those of VNNI.
//
// An input is two bytes, x = 256 high + low, the upper one signed, the lower one not. Their products with bytes of weights,
// for which TDPBSSD and TDPBUSD each know one of these kinds, are added up apart and joined: the same integers. Inputs
// stay as they are: a weight stands in 16 bits, beside a zero for the byte that is not its own.
#include <cstring>

#include "kernels.h"
#include "lamina.h"
#include "layout.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"

TARGET_AMX

namespace lamina {
namespace amx {

constexpr int kRows = 16;  // of a tile, 64 bytes each

// All tiles are as large as they can be (Intel's manual, volume 1, chapter 18: palette 1).
struct alignas(64) Config {
    uint8_t palette = 1, start = 0, none[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {kRows, kRows, kRows, kRows, kRows, kRows, kRows, kRows};
};

// The sums of groups of columns: of the inputs' lower bytes, of their upper ones.
struct alignas(64) Totals {
    int32_t low[kRows][kTile], high[kRows][kTile];
};

// Weights of a group in 16 bits, a pair of columns a row: for the lower bytes of inputs, and for their upper ones.
struct alignas(64) Wide {
    uint8_t low[kGroup / 2][4 * kTile], high[kGroup / 2][4 * kTile];
};

// Groups that are widened at a time, for all rows of inputs: 24 KiB, half of a first-level cache.
constexpr int64_t kNearGroups = 12;
static_assert(kNearGroups % kShared == 0, "groups that share a scale are added up together");

static inline void keep(Wide &wide, int64_t pair, __m512i words) {
    _mm512_store_si512(wide.low[pair], words);
    _mm512_store_si512(wide.high[pair], _mm512_slli_epi16(words, 8));
}

static inline void widen_int8(const uint8_t *w, Wide &wide) {
    for (int64_t p = 0; p < kGroup / 2; ++p, w += 2 * kTile)
        keep(wide, p, _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(w))));
}

static inline void widen_int4(const uint8_t *w, Wide &wide) {
    const __m512i nibble = _mm512_set1_epi16(15);
    for (int64_t word = 0; word < 4; ++word, w += 4 * kTile) {
        __m512i bits = _mm512_loadu_si512(w);
        for (int64_t n = 0; n < 4; ++n, bits = _mm512_srli_epi16(bits, 4))
            keep(wide, 4 * word + n, _mm512_and_si512(bits, nibble));
    }
}

// The products of `groups` groups, into tiles 0 and 1 and from there to memory, or into 2 and 3: two are under way.
#define LAMINA_TILES(LOW, HIGH)                                                                               \
    static inline void multiply_##LOW(const Wide *wide, int64_t groups, const int16_t *x, int64_t stride) {   \
        _tile_zero(LOW);                                                                                      \
        _tile_zero(HIGH);                                                                                     \
        for (int64_t g = 0; g < groups; ++g) {                                                                \
            _tile_loadd(4, wide[g].low, 4 * kTile);                                                           \
            _tile_loadd(5, wide[g].high, 4 * kTile);                                                          \
            _tile_loadd(6, x + g * kGroup, stride);                                                           \
            _tile_dpbusd(LOW, 6, 4);                                                                          \
            _tile_dpbssd(HIGH, 6, 5);                                                                         \
        }                                                                                                     \
    }                                                                                                         \
    static inline void store_##LOW(Totals &totals) {                                                          \
        _tile_stored(LOW, totals.low, 4 * kTile);                                                             \
        _tile_stored(HIGH, totals.high, 4 * kTile);                                                           \
    }
LAMINA_TILES(0, 1)
LAMINA_TILES(2, 3)
#undef LAMINA_TILES

static inline __m512 total(const Totals &totals, int m) {
    const __m512i high = _mm512_slli_epi32(_mm512_load_si512(totals.high[m]), 8);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(high, _mm512_load_si512(totals.low[m])));
}

static inline __m512 halves(const uint8_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}

enum Kind { kInt8, kInt4, kInt4Minimum };
constexpr int64_t kBytes[] = {kInt8Group, kInt4Group, kInt4MinimumGroup};

// The groups `begin` to `end` of sixteen rows of inputs from `first` on, added to `sums`: for each group what the
// function of the same kind in `avx512` adds.
template <Kind kKind>
static void add_groups(const uint8_t *w, const Wide *wide, const Inputs &inputs, int64_t first, int64_t begin,
                       int64_t end, float *sums) {
    const int64_t groups = inputs.groups, stride = groups * kGroup * 2;
    const int16_t *x = inputs.values + first * groups * kGroup;
    const float *scales = inputs.scales + first * groups, *masses = inputs.sums + first * groups;
    Totals totals;
    __m512 sum[kRows];
    for (int m = 0; m < kRows; ++m) sum[m] = begin == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + m * kTile);
    const auto add = [&](int64_t g) {
        const uint8_t *of_group = w + g * kBytes[kKind] + kNibbles;
        const __m512 scale = kKind == kInt8 ? _mm512_setzero_ps() : halves(of_group);
        const __m512 least = kKind == kInt4Minimum ? halves(of_group + kHalves) : scale;
        for (int m = 0; m < kRows; ++m) {
            const __m512 of_row = _mm512_set1_ps(scales[m * groups + g]), found = total(totals, m);
            if (kKind == kInt8) {
                sum[m] = _mm512_fmadd_ps(found, of_row, sum[m]);
                continue;
            }
            const __m512 product = _mm512_mul_ps(found, of_row);
            const float mass = masses[m * groups + g];
            if (kKind == kInt4Minimum)
                sum[m] = _mm512_fmadd_ps(scale, product, _mm512_fmadd_ps(least, _mm512_set1_ps(mass), sum[m]));
            else
                sum[m] = _mm512_fmadd_ps(scale, _mm512_sub_ps(product, _mm512_set1_ps(8.0f * mass)), sum[m]);
        }
    };
    constexpr int64_t kStep = kKind == kInt8 ? kShared : 1;  // int4 has scales of its own for each group
    bool even = true;
    for (int64_t g = begin; g < end; g += kStep, even = !even) {
        const int64_t some = g + kStep < end ? kStep : end - g;
        even ? multiply_0(wide + g - begin, some, x + g * kGroup, stride)
             : multiply_2(wide + g - begin, some, x + g * kGroup, stride);
        if (g == begin) continue;
        even ? store_2(totals) : store_0(totals);
        add(g - kStep);
    }
    even ? store_2(totals) : store_0(totals);
    add((end - 1) / kStep * kStep);
    for (int m = 0; m < kRows; ++m) _mm512_storeu_ps(sums + m * kTile, sum[m]);
}

template <Kind kKind>
static void product(const uint8_t *w, const Inputs &inputs, int64_t first, int64_t rows, float *sums) {
    const int64_t whole = rows / kRows * kRows;
    if (whole > 0) {
        static const Config config;
        Wide wide[kNearGroups];
        _tile_loadconfig(&config);  // each time: others in this thread have their own
        for (int64_t begin = 0; begin < inputs.groups; begin += kNearGroups) {
            const int64_t end = begin + kNearGroups < inputs.groups ? begin + kNearGroups : inputs.groups;
            for (int64_t g = begin; g < end; ++g) {
                const uint8_t *from = w + g * kBytes[kKind];
                kKind == kInt8 ? widen_int8(from, wide[g - begin]) : widen_int4(from, wide[g - begin]);
            }
            asm volatile("" ::: "memory");  // compilers do not know that loading a tile reads what was widened
            for (int64_t m = 0; m < whole; m += kRows)
                add_groups<kKind>(w, wide, inputs, first + m, begin, end, sums + m * kTile);
        }
        _tile_release();
    }
    const Kernels &few = *avx512_kernels();
    const Product rest = kKind == kInt8 ? few.int8 : kKind == kInt4 ? few.int4 : few.int4_minimum;
    if (whole < rows) rest(w, inputs, first + whole, rows - whole, sums + whole * kTile);
}

static bool told() {
    unsigned a, b, c, d;
    constexpr unsigned kTiles = 3u << 24;  // AMX-TILE and AMX-INT8
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kTiles) == kTiles;
}

// The system gives a process the memory for tiles when it asks.
static bool allowed() {
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

// Whether products are right: some machines tell of tiles and have none.
static bool right() {
    alignas(64) int16_t values[kRows * kGroup];
    float scales[kRows], sums[kRows], found[kRows * kTile], expected[kRows * kTile];
    uint8_t weights[kInt8Group];
    for (int i = 0; i < kRows * kGroup; ++i) values[i] = static_cast<int16_t>(i * 7919 + 13);
    for (int i = 0; i < kInt8Group; ++i) weights[i] = static_cast<uint8_t>(i * 31 + 7);
    for (int i = 0; i < kRows; ++i) scales[i] = 1.0f, sums[i] = 0.0f;
    const Inputs inputs{values, scales, sums, 1};
    product<kInt8>(weights, inputs, 0, kRows, found);
    avx512_kernels()->int8(weights, inputs, 0, kRows, expected);
    return std::memcmp(found, expected, sizeof found) == 0;
}

static thread_local sigjmp_buf out_of_probe;
static thread_local bool in_probe = false;

static void unknown_instruction(int) {
    if (in_probe) siglongjmp(out_of_probe, 1);
    signal(SIGILL, SIG_DFL);  // another thread's: it comes again, and ends the process as it would have
}

static bool works() {
    if (!told() || !allowed()) return false;
    struct sigaction wanted {}, before;
    wanted.sa_handler = unknown_instruction;
    sigemptyset(&wanted.sa_mask);
    if (sigaction(SIGILL, &wanted, &before) != 0) return false;
    in_probe = true;
    const bool found = sigsetjmp(out_of_probe, 1) == 0 && right();
    in_probe = false;
    sigaction(SIGILL, &before, nullptr);
    return found;
}

}  // namespace amx

const Kernels *amx_kernels() {
    static const Kernels kernels = [] {
        Kernels found = *avx512_kernels();
        found.name = "AMX";
        found.batch = kMostBatch;
        found.int8 = amx::product<amx::kInt8>;
        found.int4 = amx::product<amx::kInt4>;
        found.int4_minimum = amx::product<amx::kInt4Minimum>;
        return found;
    }();
    return &kernels;
}

bool amx_works() {
    static const bool found = amx::works();
    return found;
}

}  // namespace lamina

TARGET_END

#else

namespace lamina {
const Kernels *amx_kernels() { return nullptr; }
bool amx_works() { return false; }
}  // namespace lamina

#endif
