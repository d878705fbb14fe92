// How a tile of kTile rows lies in memory, so that a kernel reads it from its first byte to its last.
//
// int8, a group: 16 pairs of columns, each [row 0 .. 15][column 2p, 2p + 1]: 512 bytes.
// int4, a group: 4 words of columns, each [row 0 .. 15][parity] 16 bits, whose nibble n holds column 2 (4 word + n) +
// parity: 256 bytes; then the 16 rows' scales, and minimums where there are some, as float16: 32 bytes each.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace lamina {

constexpr int64_t kInt8Group = kTile * kGroup;
constexpr int64_t kNibbles = kTile * kGroup / 2;
constexpr int64_t kHalves = kTile * 2;
constexpr int64_t kInt4Group = kNibbles + kHalves;
constexpr int64_t kInt4MinimumGroup = kNibbles + 2 * kHalves;

}  // namespace lamina
