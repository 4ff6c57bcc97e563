// Finding the active keys of one row of logits, one way per instruction set: plain C++ on vectors, independent of torch.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "levels.h"

namespace monet {

// Sums run in sixteen lanes, however wide the machine's vectors are, and nothing is contracted to fused multiply-adds,
// so every instruction set gives the same bits. Vectors are exactly as wide as the machine's (Bytes), because compilers
// split comparisons of wider ones into single numbers.
constexpr int kLanes = 16;

template <int Bytes>
struct Vectors {
  typedef float Floats __attribute__((vector_size(Bytes)));
  typedef int32_t Ints __attribute__((vector_size(Bytes)));
  static constexpr int kSize = Bytes / 4;
  static constexpr int kPieces = kLanes / kSize;
  static constexpr int64_t kStreams = 1;  // places in memory from which rows are read in turn
};

// What routing is compiled for: vectors, and how active keys are found with them.
struct Baseline : Vectors<16> {};  // one bit after another
struct Avx2 : Vectors<32> {        // a table of the places of the ones in a byte
  static constexpr int64_t kStreams = 4;
};
struct Skylake : Vectors<64> {};   // compression of 32-bit numbers
struct IceLake : Vectors<64> {};   // compression of bytes

// How far ahead logits are prefetched: two pages, because processors do not prefetch across pages. Harmless past the
// end of an array.
constexpr int64_t kAhead = 2048;

// Keys are marked 64 at a time.
constexpr int64_t kBlock = 64;
MONET_INLINE int64_t padded(int64_t keys) { return (keys + kBlock - 1) / kBlock * kBlock; }

// Largest logit of a row, ignoring NaN.
template <class V>
MONET_INLINE float row_max(const float* z, int64_t keys) {
  using Floats = typename V::Floats;
  Floats top[V::kPieces];
  for (int n = 0; n < V::kPieces; ++n) top[n] = Floats{} - __builtin_inff();
  int64_t e = 0;
  for (; e + kLanes <= keys; e += kLanes) {
    __builtin_prefetch(z + e + kAhead);
    for (int n = 0; n < V::kPieces; ++n) {
      Floats v;
      std::memcpy(&v, z + e + n * V::kSize, sizeof v);
      top[n] = v > top[n] ? v : top[n];
    }
  }
  float best = -__builtin_inff();
  for (int n = 0; n < V::kPieces; ++n)
    for (int lane = 0; lane < V::kSize; ++lane) best = top[n][lane] > best ? top[n][lane] : best;
  for (; e < keys; ++e) best = z[e] > best ? z[e] : best;
  return best;
}

// Writes the marked keys in order and returns how many there are.
MONET_INLINE int64_t find(const uint8_t* __restrict marks, int64_t keys, int16_t* __restrict found) {
  int64_t count = 0;
  for (int64_t first = 0; first < keys; first += kBlock) {
    uint64_t bits = 0;  // one bit per key, from 64 bytes of 0 or 1 (little-endian)
    for (int byte = 0; byte < 8; ++byte) {
      uint64_t eight;
      std::memcpy(&eight, marks + first + 8 * byte, 8);
      bits |= ((eight * 0x0102040810204080u) >> 56) << (8 * byte);
    }
    const int hits = __builtin_popcountll(bits);
    // Always eight at a time: surplus slots are overwritten later, and a data-dependent branch would cost more.
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
// The places of the ones in a byte, ascending, then zeros.
struct Places {
  uint8_t of[256][8];
};
constexpr Places places_of_ones() {
  Places places{};
  for (int byte = 0; byte < 256; ++byte)
    for (int place = 0, found = 0; place < 8; ++place)
      if (byte >> place & 1) places.of[byte][found++] = static_cast<uint8_t>(place);
  return places;
}
alignas(64) constexpr Places kPlaces = places_of_ones();

// One bit for each of 32 logits that is not below `least`; NaN counts as not below.
template <bool kNormalised>
MONET_AVX2 MONET_INLINE uint32_t not_below_avx2(const float* z, __m256 mean, __m256 scale, __m256 least) {
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes that packs work in halves
  __m256i hit[4];
  for (int n = 0; n < 4; ++n) {
    __m256 v = _mm256_loadu_ps(z + 8 * n);
    if (kNormalised) v = _mm256_mul_ps(_mm256_sub_ps(v, mean), scale);
    hit[n] = _mm256_castps_si256(_mm256_cmp_ps(least, v, _CMP_NGT_UQ));
  }
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(hit[0], hit[1]), _mm256_packs_epi32(hit[2], hit[3]));
  return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permutevar8x32_epi32(bytes, in_order)));
}

// On AVX2 a row is marked in chunks of kChunk keys, a bit each, with kMarks bytes a chunk. Those past the last key, at
// least eight, must be 0. Logits may be read up to the end of the last chunk, and eight past it.
constexpr int64_t kChunk = 512;
constexpr int64_t kMarks = kChunk / 8 + 8;

// Marks the keys whose logits (kNormalised: normalised logits) are not below `least`.
template <bool kNormalised>
MONET_AVX2 static inline void mark_avx2(const float* z, int64_t keys, float mean, float scale, float least,
                                        uint8_t* marks) {
  constexpr int64_t kStep = 32;
  const __m256 means = _mm256_set1_ps(mean), scales = _mm256_set1_ps(scale), leasts = _mm256_set1_ps(least);
  for (int64_t first = 0; first < keys; first += kChunk, marks += kMarks) {
    const int64_t here = keys - first < kChunk ? keys - first : kChunk;
    int64_t n = 0;
    for (; n + kStep <= here; n += kStep) {
      const uint32_t bits = not_below_avx2<kNormalised>(z + first + n, means, scales, leasts);
      std::memcpy(marks + n / 8, &bits, sizeof bits);
    }
    if (n == here) continue;
    uint32_t bits = not_below_avx2<kNormalised>(z + first + n, means, scales, leasts);
    bits &= ~uint32_t{0} >> (kStep - (here - n));
    std::memcpy(marks + n / 8, &bits, sizeof bits);
  }
}

// One bit for each of 32 bytes that is not 0.
MONET_AVX2 MONET_INLINE uint64_t any_avx2(const uint8_t* marks) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(marks));
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_setzero_si256())));
}

// Writes the marked keys in order and their logits, and up to 8 past the last; returns how many there are. Meanwhile
// prefetches what lies from `ahead` on in four later rows, as many cache lines in all as the row has.
MONET_AVX2 static inline int64_t find_avx2(const float* z, int64_t keys, const uint8_t* marks,
                                           const float* const* later, int64_t ahead, int16_t* found, float* logits) {
  int64_t count = 0;
  for (int64_t first = 0; first < keys; first += kChunk, marks += kMarks) {
    uint64_t left = any_avx2(marks) | any_avx2(marks + 32) << 32;  // bytes with ones, of which there are few
    // Always a step for two bytes, because a branch on the data would cost more. Once no byte is left, steps see the 0
    // behind the chunk, and what they write is overwritten.
    do {
      for (int64_t line = 0; line < kChunk / kLanes; line += Avx2::kStreams, ahead += kLanes) {
        for (int64_t row = 0; row < Avx2::kStreams; ++row) {
          __builtin_prefetch(later[row] + ahead);
          const auto at = static_cast<int64_t>(_tzcnt_u64(left));
          left = _blsr_u64(left);
          const uint8_t ones = marks[at];
          const __m128i places = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPlaces.of[ones]));
          const __m128i key = _mm_set1_epi16(static_cast<int16_t>(first + 8 * at));
          _mm_storeu_si128(reinterpret_cast<__m128i*>(found + count), _mm_add_epi16(key, _mm_cvtepu8_epi16(places)));
          const __m256 eight = _mm256_loadu_ps(z + first + 8 * at);
          _mm256_storeu_ps(logits + count, _mm256_permutevar8x32_ps(eight, _mm256_cvtepu8_epi32(places)));
          count += __builtin_popcount(ones);
        }
      }
    } while (left);
  }
  return count;
}

// One bit for each of sixteen logits that is not below `least`; NaN counts as not below.
template <bool kNormalised>
MONET_AVX512 MONET_INLINE uint64_t not_below_avx512(__m512 v, __m512 mean, __m512 scale, __m512 least) {
  if (kNormalised) v = _mm512_mul_ps(_mm512_sub_ps(v, mean), scale);
  return _mm512_cmp_ps_mask(v, least, _CMP_NLT_UQ);
}

// Writes the keys whose logits (kNormalised: normalised logits) are not below `least`, ascending, and up to 16 past the
// last; returns how many there are, and the largest logit.
template <bool kNormalised>
MONET_AVX512 static inline int64_t scan_skylake(const float* z, int64_t keys, float mean, float scale, float least,
                                                int16_t* found, float& best) {
  const __m512 means = _mm512_set1_ps(mean), scales = _mm512_set1_ps(scale), leasts = _mm512_set1_ps(least);
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  const __m512i sixteen = _mm512_set1_epi32(kLanes);
  __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512 even = lowest, odd = lowest;
  int64_t count = 0;
  for (int64_t first = 0; first < keys; first += kLanes) {
    __builtin_prefetch(z + first + kAhead);
    const int64_t left = keys - first;
    const auto valid = static_cast<__mmask16>(left < kLanes ? 0xffff >> (kLanes - left) : 0xffff);
    const __m512 v = _mm512_mask_loadu_ps(lowest, valid, z + first);
    const __m512 larger = _mm512_max_ps(v, even);  // two chains take turns, because one would wait for its latency
    even = odd, odd = larger;
    const auto bits = static_cast<__mmask16>(valid & not_below_avx512<kNormalised>(v, means, scales, leasts));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(found + count),
                        _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(bits, order)));
    order = _mm512_add_epi32(order, sixteen);
    count += __builtin_popcount(bits);
  }
  best = _mm512_reduce_max_ps(_mm512_max_ps(even, odd));
  return count;
}

// The same as `scan_skylake`; writes up to 64 past the last key.
template <bool kNormalised>
MONET_VBMI2 static inline int64_t scan_icelake(const float* z, int64_t keys, float mean, float scale, float least,
                                                int16_t* found, float& best) {
  const __m512 means = _mm512_set1_ps(mean), scales = _mm512_set1_ps(scale), leasts = _mm512_set1_ps(least);
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  const __m512i order = _mm512_set_epi64(
      0x3f3e3d3c3b3a3938, 0x3736353433323130, 0x2f2e2d2c2b2a2928, 0x2726252423222120,
      0x1f1e1d1c1b1a1918, 0x1716151413121110, 0x0f0e0d0c0b0a0908, 0x0706050403020100);
  __m512 top0 = lowest, top1 = lowest, top2 = lowest, top3 = lowest;
  int64_t count = 0;
  for (int64_t first = 0; first < keys; first += kBlock) {
    __m512 v0, v1, v2, v3;
    uint64_t valid = ~uint64_t{0};
    for (int64_t n = 0; n < kBlock; n += kLanes) __builtin_prefetch(z + first + n + kAhead);
    if (first + kBlock <= keys) {
      v0 = _mm512_loadu_ps(z + first), v1 = _mm512_loadu_ps(z + first + 16);
      v2 = _mm512_loadu_ps(z + first + 32), v3 = _mm512_loadu_ps(z + first + 48);
    } else {
      valid >>= kBlock - (keys - first);
      v0 = _mm512_mask_loadu_ps(lowest, static_cast<__mmask16>(valid), z + first);
      v1 = _mm512_mask_loadu_ps(lowest, static_cast<__mmask16>(valid >> 16), z + first + 16);
      v2 = _mm512_mask_loadu_ps(lowest, static_cast<__mmask16>(valid >> 32), z + first + 32);
      v3 = _mm512_mask_loadu_ps(lowest, static_cast<__mmask16>(valid >> 48), z + first + 48);
    }
    top0 = _mm512_max_ps(v0, top0), top1 = _mm512_max_ps(v1, top1);
    top2 = _mm512_max_ps(v2, top2), top3 = _mm512_max_ps(v3, top3);
    const uint64_t bits = valid & (not_below_avx512<kNormalised>(v0, means, scales, leasts) |
                                   not_below_avx512<kNormalised>(v1, means, scales, leasts) << 16 |
                                   not_below_avx512<kNormalised>(v2, means, scales, leasts) << 32 |
                                   not_below_avx512<kNormalised>(v3, means, scales, leasts) << 48);
    const __m512i places = _mm512_maskz_compress_epi8(bits, order);
    const __m512i base = _mm512_set1_epi16(static_cast<int16_t>(first));
    const int64_t hits = __builtin_popcountll(bits);
    _mm512_storeu_si512(found + count, _mm512_add_epi16(base, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(places))));
    if (hits > 32)
      _mm512_storeu_si512(found + count + 32,
                          _mm512_add_epi16(base, _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(places, 1))));
    count += hits;
  }
  best = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(top0, top1), _mm512_max_ps(top2, top3)));
  return count;
}
#endif

// Finds the active keys of a row and its largest logit, other than on AVX2; returns how many keys there are. Writes them
// ascending, and up to 64 past the last one. NaN counts as active. `marks` has a byte for each key, in whole blocks.
template <class L>
MONET_INLINE int64_t survivors(const float* z, int64_t keys, float mean, float scale, float least, uint8_t* marks,
                               int16_t* found, float& best) {
  // If the largest logit does not reach sigma, its own normalised value is the threshold, computed by the same
  // expression as the entries, so that it reaches itself and no row comes out empty.
#if defined(__x86_64__)
  if constexpr (std::is_same_v<L, IceLake>) {
    const int64_t count = scan_icelake<false>(z, keys, mean, scale, least, found, best);
    if (best >= least) return count;
    return scan_icelake<true>(z, keys, mean, scale, (best - mean) * scale, found, best);
  }
  if constexpr (std::is_same_v<L, Skylake>) {
    const int64_t count = scan_skylake<false>(z, keys, mean, scale, least, found, best);
    if (best >= least) return count;
    return scan_skylake<true>(z, keys, mean, scale, (best - mean) * scale, found, best);
  }
#endif
  best = row_max<L>(z, keys);
  const float threshold = (best - mean) * scale;
  if (best >= least)
    for (int64_t e = 0; e < keys; ++e) marks[e] = !(z[e] < least);
  else
    for (int64_t e = 0; e < keys; ++e) marks[e] = !((z[e] - mean) * scale < threshold);
  return find(marks, keys, found);
}

}  // namespace monet
