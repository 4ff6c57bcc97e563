// Routing of a span of rows: plain C++ on vectors, knows nothing of torch.
#pragma once

#include <cfloat>
#include <cstdint>
#include <cstring>
#include <memory>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "arguments.h"
#include "levels.h"

namespace monet {

// What a thread needs for one row; every array is padded to whole blocks.
struct Scratch {
  uint8_t* marks;  // 1 where a key survives
  int16_t* found;  // the survivors' keys, ascending
  float* kept;     // their logits, then their exponentials
};

// Keys are marked 64 at a time, and found 8 at a time.
constexpr int64_t kBlock = 64;
MONET_INLINE int64_t padded(int64_t keys) { return (keys + kBlock - 1) / kBlock * kBlock; }

// Sums run in sixteen lanes however wide the machine's vectors are, and nothing is contracted to fused multiply-adds:
// every instruction set gives the same bits. Vectors are exactly as wide as the machine's (Bytes), because compilers
// take comparisons of wider ones apart into single numbers.
constexpr int kLanes = 16;

template <int Bytes>
struct Vectors {
  typedef float Floats __attribute__((vector_size(Bytes)));
  typedef int32_t Ints __attribute__((vector_size(Bytes)));
  static constexpr int kSize = Bytes / 4;
  static constexpr int kPieces = kLanes / kSize;
};

// exp(x) for x <= 0, -inf included, within 2 units in the last place, subnormal results included.
template <class V, class Floats = typename V::Floats, class Ints = typename V::Ints>
MONET_INLINE Floats exp_nonpositive(Floats x) {
  const Floats lowest = Floats{} - 104.0f;  // exp of anything below rounds to 0
  x = x < lowest ? lowest : x;
  const Floats round = Floats{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats k = (x * 1.44269504f + round) - round;
  const Floats r = (x - k * 0.693359375f) + k * 2.12194440e-4f;  // x - k ln 2, ln 2 in two parts
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^k in two factors: k reaches -150, one exponent does not.
  const Ints whole = __builtin_convertvector(k, Ints);
  const Ints half = whole >> 1;
  const Ints first = (half + 127) << 23;
  const Ints second = (whole - half + 127) << 23;
  Floats a, b;
  std::memcpy(&a, &first, sizeof a);
  std::memcpy(&b, &second, sizeof b);
  return p * a * b;
}

// Largest logit of a row; `bad` tells of an entry that is NaN or +inf, or of a row of nothing but -inf.
template <class V>
MONET_INLINE float row_max(const float* z, int64_t keys, bool& bad) {
  using Floats = typename V::Floats;
  const Floats limit = Floats{} + FLT_MAX;
  Floats top[V::kPieces];
  typename V::Ints wrong[V::kPieces];
  for (int n = 0; n < V::kPieces; ++n) {
    top[n] = Floats{} - __builtin_inff();
    wrong[n] = typename V::Ints{};
  }
  int64_t e = 0;
  for (; e + kLanes <= keys; e += kLanes) {
    __builtin_prefetch(z + e + 2 * keys);  // the row after next; past the array's end it does nothing
    for (int n = 0; n < V::kPieces; ++n) {
      Floats v;
      std::memcpy(&v, z + e + n * V::kSize, sizeof v);
      top[n] = v > top[n] ? v : top[n];
      wrong[n] |= ~(v <= limit);
    }
  }
  float best = -__builtin_inff();
  int32_t any = 0;
  for (int n = 0; n < V::kPieces; ++n) {
    for (int lane = 0; lane < V::kSize; ++lane) {
      best = top[n][lane] > best ? top[n][lane] : best;
      any |= wrong[n][lane];
    }
  }
  for (; e < keys; ++e) {
    best = z[e] > best ? z[e] : best;
    any |= !(z[e] <= FLT_MAX);
  }
  bad = any != 0 || best == -__builtin_inff();
  return best;
}

// Marks the keys whose normalised logit is at or above the threshold.
MONET_INLINE void mark(const float* __restrict z, int64_t keys, float mean, float scale, float threshold,
                       uint8_t* __restrict marks) {
  for (int64_t e = 0; e < keys; ++e) marks[e] = (z[e] - mean) * scale >= threshold;
}

// The marked keys in order; returns how many.
MONET_INLINE int64_t find(const uint8_t* __restrict marks, int64_t keys, int16_t* __restrict found) {
  int64_t count = 0;
  for (int64_t first = 0; first < keys; first += kBlock) {
    uint64_t bits = 0;  // one a key, from 64 bytes of 0 or 1 (little-endian)
    for (int byte = 0; byte < 8; ++byte) {
      uint64_t eight;
      std::memcpy(&eight, marks + first + 8 * byte, 8);
      bits |= ((eight * 0x0102040810204080u) >> 56) << (8 * byte);
    }
    const int hits = __builtin_popcountll(bits);
    // Eight at a time without asking whether there are eight: surplus slots are written over, and a branch that
    // depends on the data would cost more than the surplus.
    for (int done = 0; done < hits; done += 8) {
      for (int i = 0; i < 8; ++i) {
        found[count + done + i] = static_cast<int16_t>(first + __builtin_ctzll(bits | (uint64_t{1} << 63)));
        bits &= bits - 1;
      }
    }
    count += hits;
  }
  return count;
}

#if defined(__x86_64__)
// The survivors' keys and logits in one pass, which AVX-512 can compress in registers; writes up to 15 past the last.
MONET_AVX512 static int64_t survivors_avx512(const float* z, int64_t keys, float mean, float scale, float threshold,
                                             int16_t* found, float* kept) {
  const __m512 means = _mm512_set1_ps(mean), scales = _mm512_set1_ps(scale), least = _mm512_set1_ps(threshold);
  __m512i key = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int64_t count = 0;
  for (int64_t e = 0; e < keys; e += 16) {
    const auto valid = static_cast<__mmask16>(keys - e >= 16 ? 0xffff : (1 << (keys - e)) - 1);
    const __m512 v = _mm512_maskz_loadu_ps(valid, z + e);
    const __m512 normalised = _mm512_mul_ps(_mm512_sub_ps(v, means), scales);
    const __mmask16 hits = _mm512_mask_cmp_ps_mask(valid, normalised, least, _CMP_GE_OQ);
    _mm512_storeu_ps(kept + count, _mm512_maskz_compress_ps(hits, v));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(found + count),
                        _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(hits, key)));
    count += __builtin_popcount(hits);
    key = _mm512_add_epi32(key, _mm512_set1_epi32(16));
  }
  return count;
}
#endif

// The survivors' keys, ascending, and their logits; returns how many.
template <class V>
MONET_INLINE int64_t survivors(const float* z, int64_t keys, float mean, float scale, float threshold,
                               const Scratch& s) {
#if defined(__x86_64__)
  if constexpr (V::kPieces == 1) return survivors_avx512(z, keys, mean, scale, threshold, s.found, s.kept);
#endif
  mark(z, keys, mean, scale, threshold, s.marks);
  const int64_t count = find(s.marks, keys, s.found);
  for (int64_t i = 0; i < count; ++i) s.kept[i] = z[s.found[i]];
  return count;
}

// In place: x[i] = exp(x[i] - best) in whole vectors, 0 from `count` on; returns the sum.
template <class V>
MONET_INLINE float exponentials(float* x, int64_t count, float best) {
  using Floats = typename V::Floats;
  for (int64_t i = count; i % kLanes; ++i) x[i] = -__builtin_inff();
  Floats sums[V::kPieces] = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    for (int n = 0; n < V::kPieces; ++n) {
      Floats v;
      std::memcpy(&v, x + i + n * V::kSize, sizeof v);
      v = exp_nonpositive<V>(v - best);
      std::memcpy(x + i + n * V::kSize, &v, sizeof v);
      sums[n] += v;
    }
  }
  float lanes[kLanes];
  std::memcpy(lanes, sums, sizeof lanes);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

// Routes rows [begin, end). A row that needs more than `width` slots reports its count and is left unwritten.
template <class V>
MONET_INLINE void route_rows(const Rows& a, int64_t begin, int64_t end) {
  const int64_t room = padded(a.keys);
  const auto marks = std::make_unique<uint8_t[]>(room);
  const auto found = std::make_unique<int16_t[]>(room + 16);  // finding writes up to 15 past the last
  const auto kept = std::make_unique<float[]>(room + 16);
  const Scratch s{marks.get(), found.get(), kept.get()};
  for (int64_t row = begin; row < end; ++row) {
    const float* z = a.logits + row * a.keys;
    const float mean = a.mean[row % a.heads];
    const float scale = a.scale[row % a.heads];
    bool bad;
    const float best = row_max<V>(z, a.keys, bad);
    if (bad) {
      a.counts[row] = kNotFinite;
      continue;
    }
    // Rounding is monotone and the scale positive, so the largest logit has the largest normalised value, by the very
    // expression of `survivors`: that key passes its own threshold and no row comes out empty.
    const float largest = (best - mean) * scale;
    const int64_t count = survivors<V>(z, a.keys, mean, scale, largest < a.sigma ? largest : a.sigma, s);
    a.counts[row] = static_cast<int32_t>(count);
    if (count > a.width) continue;

    const float total = exponentials<V>(s.kept, count, best);
    int16_t* indices = a.indices + row * a.width;
    float* probs = a.probs + row * a.width;
    std::memcpy(indices, s.found, count * sizeof *indices);
    std::memset(indices + count, 0, (a.width - count) * sizeof *indices);
    for (int64_t i = 0; i < count; ++i) probs[i] = s.kept[i] / total;
    std::memset(probs + count, 0, (a.width - count) * sizeof *probs);
  }
}

}  // namespace monet
