// The experts of one key i at one token, with scores summed over heads: `accumulate` and `contributions` go through
// these.
#pragma once

#include <cstdint>
#include <vector>

#include "../arguments.h"
#include "levels.h"

namespace monet {

// An active entry of key set 1.
template <class T>
struct Entry {
  int32_t token, row;  // row = token * heads + head
  T prob;
};

// Scores of the experts (i, j) of one key i: `count` distinct keys j, whose scores may underflow to 0.
template <class T>
struct Scores {
  const int16_t* keys;
  const T* scores;
  int64_t count;
};

// Scratch space of one thread.
template <class T>
struct Merger {
  explicit Merger(int64_t keys) : by_key(keys), found(keys + 1), packed(keys) {}
  std::vector<T> by_key;  // zero between calls
  std::vector<int16_t> found;  // room for one more
  std::vector<T> packed;
};

// `entries` are those of one key at one token, by ascending head: the order in which scores are summed.
template <class T>
MONET_INLINE Scores<T> merge(Merger<T>& m, const Entry<T>* entries, int64_t count, const Side<T>& two) {
  if (count == 1) {
    const int64_t first = entries->row * two.width, active = two.counts[entries->row];
    const T prob = entries->prob;
    const T* __restrict probs = two.probs + first;
    T* __restrict packed = m.packed.data();
    for (int64_t n = 0; n < active; ++n) packed[n] = prob * probs[n];
    return {two.indices + first, packed, active};
  }
  T* __restrict by_key = m.by_key.data();
  int16_t* __restrict list = m.found.data();
  int64_t found = 0;
  for (int64_t e = 0; e < count; ++e) {
    const int64_t first = entries[e].row * two.width, active = two.counts[entries[e].row];
    const T prob = entries[e].prob;
    const T* __restrict probs = two.probs + first;
    const int16_t* __restrict keys = two.indices + first;
    for (int64_t n = 0; n < active; ++n) {
      const T product = prob * probs[n], score = product > 0 ? product : 0;
      const int16_t j = keys[n];
      const T before = by_key[j];
      list[found] = j;  // counted if it is new; a branch on the data would cost more
      found += (before == 0) & (score > 0);
      by_key[j] = before + score;
    }
  }
  for (int64_t n = 0; n < found; ++n) {
    m.packed[n] = by_key[list[n]];
    by_key[list[n]] = 0;
  }
  return {m.found.data(), m.packed.data(), found};
}

}  // namespace monet
