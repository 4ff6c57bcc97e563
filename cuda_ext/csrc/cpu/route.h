// Routing of a span of rows: plain C++ on vectors, independent of torch.
//
// The lists of a span are first written back to back, at their own lengths. Once every row is done, they are laid out
// in the tensors, as wide as the longest list. So memory is touched once, and no list can be too long for its slots.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../arguments.h"
#include "levels.h"

namespace monet {

// Arguments of `route` on the CPU. Row r belongs to head r % heads.
struct Logits {
  const float* logits;  // (rows, keys)
  const float* mean;    // (heads)
  const float* scale;   // (heads), 1 / sqrt(variance + eps)
  const float* least;   // (heads), from `least_active`
  int64_t heads, keys;
  int32_t* counts;  // (rows); kNotFinite for a row without a routing
  float* totals;    // (rows), sum of each list's numbers
};

// Sums run in sixteen lanes, however wide the machine's vectors are, and nothing is contracted to fused multiply-adds,
// so every instruction set gives the same bits. Vectors are exactly as wide as the machine's (Bytes), because compilers
// split comparisons of wider ones into single numbers.
constexpr int kLanes = 16;

// How far ahead logits are prefetched: two pages, because processors do not prefetch across pages. Harmless past the
// end of an array.
constexpr int64_t kAhead = 2048;

// Keys are marked 64 at a time.
constexpr int64_t kBlock = 64;
MONET_INLINE int64_t padded(int64_t keys) { return (keys + kBlock - 1) / kBlock * kBlock; }

template <int Bytes>
struct Vectors {
  typedef float Floats __attribute__((vector_size(Bytes)));
  typedef int32_t Ints __attribute__((vector_size(Bytes)));
  static constexpr int kSize = Bytes / 4;
  static constexpr int kPieces = kLanes / kSize;
};

// The lists of a span's rows, back to back, with room for what whole vectors write and read past them.
class Lists {
 public:
  Lists(int64_t rows, int64_t keys) : slack_(padded(keys) + kBlock), room_(rows * kBlock + slack_) { grow(room_); }
  int16_t* indices() const { return indices_.get(); }
  float* numbers() const { return numbers_.get(); }

  // Makes room for one more list after `used` entries.
  void reserve(int64_t used) {
    if (used + slack_ > room_) grow(2 * room_);
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  template <class T>
  static void resize(std::unique_ptr<T[], Free>& array, int64_t room) {
    void* larger = std::realloc(array.get(), room * sizeof(T));
    if (!larger) throw std::bad_alloc();
    array.release();
    array.reset(static_cast<T*>(larger));
  }
  void grow(int64_t room) {
    resize(indices_, room);
    resize(numbers_, room);
    room_ = room;
  }

  int64_t slack_, room_;
  std::unique_ptr<int16_t[], Free> indices_;
  std::unique_ptr<float[], Free> numbers_;
};

// The smallest float z with (z - mean) * scale >= sigma, or infinity if there is none. Rounding is monotone and the
// scale positive, so comparing a logit with it is the same as comparing its normalised value with sigma.
inline float least_active(float mean, float scale, float sigma) {
  // Maps floats to integers of the same order: bits as they are above zero, inverted below.
  const auto number = [](int64_t order) {
    const auto bits = static_cast<uint32_t>(order < 0 ? INT32_MIN - (order + 1) : order);
    float z;
    std::memcpy(&z, &bits, sizeof z);
    return z;
  };
  int64_t low = -0x7f800001, high = 0x7f800000;  // -infinity, which never passes, and +infinity
  while (high - low > 1) {
    const int64_t middle = (low + high) >> 1;
    ((number(middle) - mean) * scale >= sigma ? high : low) = middle;
  }
  return number(high);
}

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
// One bit for each of sixteen logits that is not below `least`; NaN counts as not below.
template <bool kNormalised>
MONET_AVX512 MONET_INLINE uint64_t not_below_avx512(__m512 v, __m512 mean, __m512 scale, __m512 least) {
  if (kNormalised) v = _mm512_mul_ps(_mm512_sub_ps(v, mean), scale);
  return _mm512_cmp_ps_mask(v, least, _CMP_NLT_UQ);
}

// Keys whose logits (kNormalised: normalised logits) are not below `least`, ascending, and the largest logit; writes
// up to 64 past the last key.
template <bool kNormalised>
MONET_AVX512 static inline int64_t scan_avx512(const float* z, int64_t keys, float mean, float scale, float least,
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

// Writes the active keys of a row, ascending, and its largest logit; returns how many keys there are. NaN counts as
// active. `marks` has room for all keys in whole blocks.
template <class V>
MONET_INLINE int64_t survivors(const float* z, int64_t keys, float mean, float scale, float least, uint8_t* marks,
                               int16_t* found, float& best) {
  // If the largest logit does not reach sigma, its own normalised value is the threshold, computed by the same
  // expression as the entries, so that it reaches itself and no row comes out empty.
#if defined(__x86_64__)
  if constexpr (V::kPieces == 1) {
    const int64_t count = scan_avx512<false>(z, keys, mean, scale, least, found, best);
    if (best >= least) return count;
    return scan_avx512<true>(z, keys, mean, scale, (best - mean) * scale, found, best);
  }
#endif
  best = row_max<V>(z, keys);
  const float threshold = (best - mean) * scale;
  if (best >= least)
    for (int64_t e = 0; e < keys; ++e) marks[e] = !(z[e] < least);
  else
    for (int64_t e = 0; e < keys; ++e) marks[e] = !((z[e] - mean) * scale < threshold);
  return find(marks, keys, found);
}

// In place: x[i] = exp(x[i]), in whole vectors.
template <class V>
MONET_INLINE void exponentials(float* x, int64_t count) {
  for (int64_t i = 0; i < count; i += V::kSize) {
    typename V::Floats v;
    std::memcpy(&v, x + i, sizeof v);
    v = exp_nonpositive<V>(v);
    std::memcpy(x + i, &v, sizeof v);
  }
}

// Which lanes of a vector that begins `first` entries into a list of `count` belong to it: all bits set.
template <class V>
MONET_INLINE typename V::Ints inside(int32_t first, int32_t count) {
  typename V::Ints lane;
  for (int n = 0; n < V::kSize; ++n) lane[n] = n;
  return lane < (typename V::Ints{} + (count - first));
}

// The numbers of a list, 0 past its end.
template <class V>
MONET_INLINE typename V::Floats load_inside(const float* x, int32_t first, int32_t count) {
  typename V::Ints bits;
  std::memcpy(&bits, x + first, sizeof bits);
  bits &= inside<V>(first, count);
  typename V::Floats v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// Sum of a list; reads up to 63 past it.
template <class V>
MONET_INLINE float sum(const float* x, int32_t count) {
  typename V::Floats sums[V::kPieces] = {};
  int32_t i = 0;
  do {  // four vectors of sixteen at once: most lists are shorter, and a branch on the length is often mispredicted
    for (int32_t n = 0; n < 64; n += V::kSize)
      sums[n / V::kSize % V::kPieces] += load_inside<V>(x, i + n, count);
    i += 64;
  } while (i < count);
  float lanes[kLanes];
  std::memcpy(lanes, sums, sizeof lanes);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

// Rows whose exponentials are computed together.
constexpr int64_t kRowsAtOnce = 16;

// Routes rows [begin, end) into `lists`.
template <class V>
MONET_INLINE void route_rows(const Logits& a, int64_t begin, int64_t end, Lists& lists) {
  const auto marks = std::make_unique<uint8_t[]>(padded(a.keys));
  int64_t used = 0;
  for (int64_t first = begin; first < end; first += kRowsAtOnce) {
    const int64_t last = first + kRowsAtOnce < end ? first + kRowsAtOnce : end, before = used;
    for (int64_t row = first; row < last; ++row) {
      lists.reserve(used);
      const float* z = a.logits + row * a.keys;
      const int64_t head = row % a.heads;
      int16_t* found = lists.indices() + used;
      float* x = lists.numbers() + used;
      float best;
      const int64_t count =
          survivors<V>(z, a.keys, a.mean[head], a.scale[head], a.least[head], marks.get(), found, best);
      for (int64_t i = 0; i < count; ++i) x[i] = z[found[i]] - best;
      a.counts[row] = static_cast<int32_t>(count);
      used += count;
    }
    const float* x = lists.numbers() + before;
    exponentials<V>(lists.numbers() + before, used - before);
    for (int64_t row = first; row < last; ++row) {
      const int32_t count = a.counts[row];
      const float total = sum<V>(x, count);
      a.totals[row] = total;
      // The largest logit contributes 1, so the sum is below 1 only if it is NaN: from NaN, +inf, or -inf - -inf.
      if (!(total >= 1)) a.counts[row] = kNotFinite;
      x += count;
    }
  }
}

// Lays out the lists of rows [begin, end) in arrays of `width` slots per row, with zeros after each list.
template <class V>
MONET_INLINE void lay_out(const Logits& a, const Lists& lists, int64_t begin, int64_t end, int32_t width,
                          int16_t* indices, float* probs) {
  typedef int16_t Shorts __attribute__((vector_size(2 * kLanes)));
  const Shorts lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int16_t* found = lists.indices();
  const float* x = lists.numbers();
  const int64_t whole = (width + kLanes - 1) / kLanes * kLanes;
  for (int64_t row = begin; row < end; ++row) {
    const int32_t count = a.counts[row];
    const float total = a.totals[row];
    int16_t* to = indices + row * width;
    float* p = probs + row * width;
    if ((end - row) * width >= whole) {  // whole vectors: the next rows overwrite what they write past the row
      for (int32_t i = 0; i < width; i += kLanes) {
        for (int32_t n = 0; n < kLanes; n += V::kSize) {
          const typename V::Floats v = load_inside<V>(x, i + n, count) / total;
          std::memcpy(p + i + n, &v, sizeof v);
        }
        Shorts keys;
        std::memcpy(&keys, found + i, sizeof keys);
        keys &= lane < (Shorts{} + static_cast<int16_t>(count - i));
        std::memcpy(to + i, &keys, sizeof keys);
      }
    } else {
      for (int32_t i = 0; i < width; ++i) {
        to[i] = i < count ? found[i] : int16_t{0};
        p[i] = i < count ? x[i] / total : 0.0f;
      }
    }
    found += count;
    x += count;
  }
}

}  // namespace monet
