// Routing of a span of rows: plain C++ on vectors, independent of torch.
//
// The lists of a span are first written back to back, at their own lengths. Once every row is done, they are laid out
// in the tensors, as wide as the longest list. So memory is touched once, and no list can be too long for its slots.
#pragma once

#include <cstdint>
#include <cstring>

#include "../arguments.h"
#include "levels.h"
#include "rows.h"
#include "scan.h"

namespace monet {

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

// Numbers n, n + 1, ... of a list of `count`, 0 past its end.
template <class V>
MONET_INLINE typename V::Floats load_inside(const float* x, int32_t n, int32_t count) {
  typename V::Ints bits;
  std::memcpy(&bits, x + n, sizeof bits);
  bits &= inside<V>(n, count);
  typename V::Floats v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

// Sum of a list; reads up to kAtOnce past it.
template <class V>
MONET_INLINE float sum(const float* x, int32_t count) {
  typename V::Floats sums[V::kPieces] = {};
  int32_t i = 0;
  do {
    for (int32_t n = 0; n < kAtOnce; n += V::kSize)
      sums[n / V::kSize % V::kPieces] += load_inside<V>(x + i, n, count - i);
    i += kAtOnce;
  } while (i < count);
  Vectors<16>::Floats quarters[4];
  std::memcpy(quarters, sums, sizeof sums);
  const Vectors<16>::Floats last = (quarters[0] + quarters[2]) + (quarters[1] + quarters[3]);
  return (last[0] + last[2]) + (last[1] + last[3]);
}

// Rows whose exponentials are computed together.
constexpr int64_t kRowsAtOnce = 16;

// Routes rows [begin, end) into `lists`, in their order.
template <class L>
MONET_INLINE void route_rows(const Logits& a, int64_t begin, int64_t end, Lists& lists) {
  const Order<L> order(begin, end);
  Finder<L> finder(a, order);
  int64_t used = 0;
  for (int64_t first = 0; first < order.count(); first += kRowsAtOnce) {
    const int64_t last = first + kRowsAtOnce < order.count() ? first + kRowsAtOnce : order.count(), before = used;
    for (int64_t n = first; n < last; n += L::kStreams)
      used = finder.find(n, n + L::kStreams < last ? n + L::kStreams : last, lists, used);
    exponentials<L>(lists.numbers() + before, used - before);
    const float* x = lists.numbers() + before;
    for (int64_t n = first; n < last; ++n) {
      const int64_t row = order.row(n);
      const int32_t count = a.counts[row];
      const float total = sum<L>(x, count);
      a.totals[row] = total;
      // The largest logit contributes 1, so the sum is below 1 only if it is NaN: from NaN, +inf, or -inf - -inf.
      if (!(total >= 1)) a.counts[row] = kNotFinite;
      x += count;
    }
  }
}

// Lays out the lists of rows [begin, end), which are in their order, in arrays of `width` slots per row, with zeros after each list.
template <class V>
MONET_INLINE void lay_out(const Logits& a, const Lists& lists, int64_t begin, int64_t end, int32_t width,
                          int16_t* indices, float* probs) {
  typedef int16_t Shorts __attribute__((vector_size(2 * kLanes)));
  const Shorts lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int16_t* found = lists.indices();
  const float* x = lists.numbers();
  const int64_t whole = (width + kLanes - 1) / kLanes * kLanes;
  const Order<V> order(begin, end);
  for (int64_t n = 0; n < order.count(); ++n) {
    const int64_t row = order.row(n);
    const int32_t count = a.counts[row];
    const float total = a.totals[row];
    int16_t* to = indices + row * width;
    float* p = probs + row * width;
    if ((order.stop(n) - row) * width >= whole) {  // whole vectors: later rows overwrite what they write past the row
      for (int32_t i = 0; i < width; i += kLanes) {
        for (int32_t lane = 0; lane < kLanes; lane += V::kSize) {
          const typename V::Floats v = load_inside<V>(x + i, lane, count - i) / total;
          std::memcpy(p + i + lane, &v, sizeof v);
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
