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
  explicit Merger(int64_t keys) : by_key(keys), found(keys), packed(keys) {}
  std::vector<T> by_key;  // zero between calls
  std::vector<int16_t> found;
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
  int64_t found = 0;
  for (int64_t e = 0; e < count; ++e) {
    const int64_t first = entries[e].row * two.width, active = two.counts[entries[e].row];
    for (int64_t n = 0; n < active; ++n) {
      const T score = entries[e].prob * two.probs[first + n];
      if (!(score > 0)) continue;
      const int16_t j = two.indices[first + n];
      if (m.by_key[j] == 0) m.found[found++] = j;
      m.by_key[j] += score;
    }
  }
  for (int64_t n = 0; n < found; ++n) {
    m.packed[n] = m.by_key[m.found[n]];
    m.by_key[m.found[n]] = 0;
  }
  return {m.found.data(), m.packed.data(), found};
}

}  // namespace monet
