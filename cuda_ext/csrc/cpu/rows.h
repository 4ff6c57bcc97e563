// Finding the active keys of a span of rows: plain C++ on vectors, independent of torch.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "arena.h"
#include "levels.h"
#include "scan.h"

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

// The lists of a span's rows, back to back, with room for what whole vectors write and read past them.
class Lists {
 public:
  explicit Lists(int64_t rows)
      : room_(rows * kBlock + kSlack),
        indices_(enough(room_ * sizeof(int16_t))),
        numbers_(enough(room_ * sizeof(float))) {}
  int16_t* indices() const { return static_cast<int16_t*>(indices_.data()); }
  float* numbers() const { return static_cast<float*>(numbers_.data()); }

  // Makes room for `used` entries and what is written past them.
  void reserve(int64_t used) {
    if (used + kSlack <= room_) return;
    const int64_t room = 2 * used + kSlack;
    Held indices = enough(room * sizeof(int16_t)), numbers = enough(room * sizeof(float));
    std::memcpy(indices.data(), indices_.data(), room_ * sizeof(int16_t));
    std::memcpy(numbers.data(), numbers_.data(), room_ * sizeof(float));
    indices_ = std::move(indices), numbers_ = std::move(numbers), room_ = room;
  }

 private:
  static Held enough(int64_t bytes) {
    const Block block = Arena::shared().take(bytes);
    if (!block.data) throw std::bad_alloc();
    return Held(block);
  }

  static constexpr int64_t kSlack = 2 * kBlock;

  int64_t room_;
  Held indices_, numbers_;
};

// The order in which rows [begin, end) are read: from kStreams places in turn, far apart, because a processor fetches
// several streams of memory ahead of time in little more time than one. What is left over comes last.
template <class L>
class Order {
 public:
  Order(int64_t begin, int64_t end) : begin_(begin), part_((end - begin) / L::kStreams), count_(end - begin) {}
  int64_t count() const { return count_; }
  int64_t part() const { return part_; }
  int64_t row(int64_t n) const { return begin_ + (in_turn(n) ? n % L::kStreams * part_ + n / L::kStreams : n); }
  // The rows from row(n) up to here come in ascending order, after those in front of them.
  int64_t stop(int64_t n) const { return begin_ + (in_turn(n) ? (n % L::kStreams + 1) * part_ : count_); }

 private:
  bool in_turn(int64_t n) const { return n < L::kStreams * part_; }

  int64_t begin_, part_, count_;
};

// Numbers of a list that are handled at once: most lists are shorter, and a branch on the length is often mispredicted.
constexpr int32_t kAtOnce = 3 * kLanes;

// Which of a list's numbers n, n + 1, ... are among its first `count`: all bits set.
template <class V>
MONET_INLINE typename V::Ints inside(int32_t n, int32_t count) {
  typename V::Ints place;
  for (int lane = 0; lane < V::kSize; ++lane) place[lane] = n + lane;
  return place < (typename V::Ints{} + count);
}

// Subtracts from a list its largest number, ignoring NaN; writes up to kAtOnce past its end.
template <class V>
MONET_INLINE void subtract_largest(float* x, int64_t count) {
  using Floats = typename V::Floats;
  const Floats lowest = Floats{} - __builtin_inff();
  Floats tops[2] = {lowest, lowest};  // in turn, because one would wait for its latency
  for (int64_t i = 0; i < count; i += kAtOnce) {
    for (int32_t n = 0; n < kAtOnce; n += V::kSize) {
      Floats v;
      std::memcpy(&v, x + i + n, sizeof v);
      v = inside<V>(n, static_cast<int32_t>(count - i)) ? v : lowest;
      Floats& top = tops[n / V::kSize % 2];
      top = v > top ? v : top;
    }
  }
  Vectors<16>::Floats quarters[2 * V::kSize / 4];
  std::memcpy(quarters, tops, sizeof tops);
  Vectors<16>::Floats top = quarters[0];
  for (const Vectors<16>::Floats& quarter : quarters) top = quarter > top ? quarter : top;
  const float even = top[0] > top[2] ? top[0] : top[2], odd = top[1] > top[3] ? top[1] : top[3];
  const float best = even > odd ? even : odd;
  for (int64_t i = 0; i < count; i += kAtOnce) {
    for (int32_t n = 0; n < kAtOnce; n += V::kSize) {
      Floats v;
      std::memcpy(&v, x + i + n, sizeof v);
      v -= best;
      std::memcpy(x + i + n, &v, sizeof v);
    }
  }
}

// Finds the active keys of rows one by one.
template <class L>
class OneByOne {
 public:
  OneByOne(const Logits& a, const Order<L>& order) : a_(a), order_(order), marks_(new uint8_t[padded(a.keys)]()) {}

  // Writes the keys of row(n), and their logits less the largest one, behind `used` entries; returns how many there are
  // then.
  MONET_INLINE_MEMBER int64_t find(int64_t n, int64_t, Lists& lists, int64_t used) {
    lists.reserve(used + padded(a_.keys));
    const int64_t row = order_.row(n), head = row % a_.heads;
    const float* z = a_.logits + row * a_.keys;
    int16_t* found = lists.indices() + used;
    float* x = lists.numbers() + used;
    float best;
    const int64_t count =
        survivors<L>(z, a_.keys, a_.mean[head], a_.scale[head], a_.least[head], marks_.get(), found, best);
    for (int64_t i = 0; i < count; ++i) x[i] = z[found[i]] - best;
    a_.counts[row] = static_cast<int32_t>(count);
    return used + count;
  }

 private:
  const Logits& a_;
  const Order<L>& order_;
  std::unique_ptr<uint8_t[]> marks_;
};

#if defined(__x86_64__)
// Finds the active keys of as many rows as there are streams, on AVX2: all are marked first.
class InTurn {
 public:
  InTurn(const Logits& a, const Order<Avx2>& order)
      : a_(a),
        order_(order),
        chunks_((a.keys + kChunk - 1) / kChunk),
        end_(a.logits + order.stop(order.count()) * a.keys),
        marks_(new uint8_t[Avx2::kStreams * chunks_ * kMarks]()),
        copies_(new float[Avx2::kStreams * room()]()) {}

  // The same for row(n) up to row(last).
  MONET_AVX2 int64_t find(int64_t n, int64_t last, Lists& lists, int64_t used) {
    const int64_t rows = last - n;
    const float* z[Avx2::kStreams];
    for (int64_t k = 0; k < rows; ++k) z[k] = mark<false>(k, order_.row(n + k), 0);
    const float* later[Avx2::kStreams];
    for (int64_t k = 0; k < Avx2::kStreams; ++k)
      later[k] = a_.logits + (order_.row(0) + k * order_.part() + n / Avx2::kStreams + 1) * a_.keys;
    lists.reserve(used + rows * padded(a_.keys));
    for (int64_t k = 0; k < rows; ++k) {
      const int64_t row = order_.row(n + k), ahead = k * a_.keys / Avx2::kStreams;
      int16_t* found = lists.indices() + used;
      float* x = lists.numbers() + used;
      int64_t count = find_avx2(z[k], a_.keys, marks(k), later, ahead, found, x);
      if (count == 0) {  // see `survivors`
        mark<true>(k, row, row_max<Avx2>(z[k], a_.keys));
        count = find_avx2(z[k], a_.keys, marks(k), later, ahead, found, x);
      }
      subtract_largest<Avx2>(x, count);
      a_.counts[row] = static_cast<int32_t>(count);
      used += count;
    }
    return used;
  }

 private:
  int64_t room() const { return chunks_ * kChunk + 8; }
  uint8_t* marks(int64_t k) const { return marks_.get() + k * chunks_ * kMarks; }

  // Marks a row and returns its logits, copied if more is read past them than the span has.
  template <bool kNormalised>
  MONET_AVX2 const float* mark(int64_t k, int64_t row, float best) {
    const float* z = a_.logits + row * a_.keys;
    if (end_ - z < room()) {
      float* copy = copies_.get() + k * room();
      std::memcpy(copy, z, a_.keys * sizeof(float));
      z = copy;
    }
    const int64_t head = row % a_.heads;
    const float mean = a_.mean[head], scale = a_.scale[head];
    mark_avx2<kNormalised>(z, a_.keys, mean, scale, kNormalised ? (best - mean) * scale : a_.least[head], marks(k));
    return z;
  }

  const Logits& a_;
  const Order<Avx2>& order_;
  int64_t chunks_;
  const float* end_;
  std::unique_ptr<uint8_t[]> marks_;
  std::unique_ptr<float[]> copies_;
};
template <class L>
using Finder = std::conditional_t<std::is_same_v<L, Avx2>, InTurn, OneByOne<L>>;
#else
template <class L>
using Finder = OneByOne<L>;
#endif

}  // namespace monet
