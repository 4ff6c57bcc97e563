// `mix` and its gradients on activations in bfloat16, one token at a time: widened to float32, mixed, and rounded, all of
// it in the cache. The same numbers as widening all tokens first, without writing and reading them in float32.
#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "mix.h"

namespace monet {

using Bfloat16 = uint16_t;

MONET_INLINE void widen(const Bfloat16* __restrict from, int64_t count, float* __restrict to) {
  for (int64_t n = 0; n < count; ++n) {
    const uint32_t bits = static_cast<uint32_t>(from[n]) << 16;
    std::memcpy(to + n, &bits, sizeof bits);
  }
}

// Rounds to the nearest, ties to even; a NaN stays one.
MONET_INLINE void narrow(const float* __restrict from, int64_t count, Bfloat16* __restrict to) {
  for (int64_t n = 0; n < count; ++n) {
    uint32_t bits;
    std::memcpy(&bits, from + n, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    to[n] = static_cast<Bfloat16>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }
}

// The routing of a token and those behind it.
MONET_INLINE Side<float> from_token(const Side<float>& side, int64_t token, int64_t heads) {
  const int64_t row = token * heads;
  return {side.indices + row * side.width, side.probs + row * side.width, side.counts + row, side.width};
}

// Arguments of `mix` as in `Mix`; the activations and sums of `mix` are null.
struct MixBfloat16 {
  Mix<float> mix;
  const Bfloat16 *a1, *a2;
  Bfloat16 *straight1, *cross1, *rows, *cross2, *straight2, *columns;
};

MONET_INLINE void mix_bfloat16_tokens(const MixBfloat16& a, int64_t begin, int64_t end) {
  const int64_t keys = a.mix.keys, block = keys * a.mix.units;
  const bool both = a.a2 != nullptr;
  std::vector<float> scratch(6 * block + 2 * keys);
  Mix<float> one = a.mix;
  float* a1 = scratch.data();
  float* a2 = a1 + block;
  one.straight1 = a2 + block, one.cross1 = one.straight1 + block, one.cross2 = one.cross1 + block;
  one.straight2 = one.cross2 + block, one.rows = one.straight2 + block, one.columns = one.rows + keys;
  one.a1 = a1, one.a2 = both ? a2 : nullptr;
  for (int64_t token = begin; token < end; ++token) {
    one.one = from_token(a.mix.one, token, a.mix.heads), one.two = from_token(a.mix.two, token, a.mix.heads);
    widen(a.a1 + token * block, block, a1);
    if (both) widen(a.a2 + token * block, block, a2);
    mix_tokens(one, 0, 1);
    narrow(one.cross2, block, a.cross2 + token * block);
    narrow(one.columns, keys, a.columns + token * keys);
    if (!both) continue;
    narrow(one.straight1, block, a.straight1 + token * block);
    narrow(one.cross1, block, a.cross1 + token * block);
    narrow(one.rows, keys, a.rows + token * keys);
    narrow(one.straight2, block, a.straight2 + token * block);
  }
}

// Arguments of the gradients as in `MixBackward`; those of probabilities are float32.
struct MixBackwardBfloat16 {
  MixBackward<float> backward;
  const Bfloat16 *straight1, *cross1, *rows, *cross2, *straight2, *columns, *in1, *in2;
  Bfloat16 *a1, *a2;
};

MONET_INLINE void mix_backward_bfloat16_tokens(const MixBackwardBfloat16& g, int64_t begin, int64_t end) {
  const Mix<float>& a = g.backward.forward;
  const int64_t keys = a.keys, block = keys * a.units;
  const bool both = g.in2 != nullptr;
  std::vector<float> scratch(8 * block + 2 * keys);
  float* at = scratch.data();
  const auto take = [&](int64_t count) { return std::exchange(at, at + count); };
  float *in1 = take(block), *in2 = take(block), *straight1 = take(block), *cross1 = take(block);
  float *cross2 = take(block), *straight2 = take(block), *to1 = take(block), *to2 = take(block);
  float *rows = take(keys), *columns = take(keys);
  MixBackward<float> one = g.backward;
  one.forward.a1 = in1, one.forward.a2 = both ? in2 : nullptr;
  one.straight1 = straight1, one.cross1 = cross1, one.rows = rows;
  one.cross2 = cross2, one.straight2 = straight2, one.columns = columns;
  one.a1 = to1, one.a2 = to2;
  for (int64_t token = begin; token < end; ++token) {
    one.forward.one = from_token(a.one, token, a.heads), one.forward.two = from_token(a.two, token, a.heads);
    one.probs1 = g.backward.probs1 + token * a.heads * a.one.width;
    one.probs2 = g.backward.probs2 + token * a.heads * a.two.width;
    widen(g.in1 + token * block, block, in1);
    widen(g.cross2 + token * block, block, cross2);
    widen(g.columns + token * keys, keys, columns);
    if (both) {
      widen(g.in2 + token * block, block, in2);
      widen(g.straight1 + token * block, block, straight1);
      widen(g.cross1 + token * block, block, cross1);
      widen(g.rows + token * keys, keys, rows);
      widen(g.straight2 + token * block, block, straight2);
    }
    mix_backward_tokens(one, 0, 1);
    narrow(to1, block, g.a1 + token * block);
    if (both) narrow(to2, block, g.a2 + token * block);
  }
}

}  // namespace monet
