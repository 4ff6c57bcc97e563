// Statistics, top and sampled tokens of all experts, updated in place: plain C++, independent of torch.
//
// The work is split by key i: the experts (i, .) and all their statistics stay in the second-level cache while the
// tokens where i is active are processed in ascending order. Each key belongs to one thread, so nothing is shared and
// the result does not depend on the number of threads.
#pragma once

#include "../arguments.h"
#include "levels.h"
#include "pairs.h"
#include "../toplist.h"

namespace monet {

// Active entries of key set 1 sorted by key, token and head; those of key i are at offsets[i] .. offsets[i + 1].
struct ByKey {
  Accumulate work;
  const Entry<float>* entries;
  const int64_t* offsets;  // (keys + 1)
};

constexpr int64_t kListsAhead = 3;  // entries
constexpr int64_t kLine = 16;  // 4-byte numbers per cache line

// Keys [begin, end) of set 1.
MONET_INLINE void accumulate_keys(const ByKey& by_key, int64_t begin, int64_t end) {
  const Accumulate& a = by_key.work;
  const int64_t* offsets = by_key.offsets;
  Merger<float> merger(a.keys);
  for (int64_t i = begin; i < end; ++i) {
    int64_t e = offsets[i];
    while (e < offsets[i + 1]) {
      if (e + kListsAhead < offsets[i + 1]) {  // lists of key set 2 are ordered by token, far apart
        const int64_t list = by_key.entries[e + kListsAhead].row * a.two.width;
        __builtin_prefetch(a.two.indices + list);
        __builtin_prefetch(a.two.probs + list);
        __builtin_prefetch(a.two.probs + list + kLine - 1);
      }
      const int32_t token = by_key.entries[e].token;
      int64_t heads = 1;
      while (e + heads < offsets[i + 1] && by_key.entries[e + heads].token == token) ++heads;
      const Scores<float> s = merge(merger, by_key.entries + e, heads, a.two);
      e += heads;
      const int64_t label = a.labels[token], row = a.rows[token], start = a.starts[token];
      const int64_t priority = a.priorities[token];
      for (int64_t n = 0; n < s.count; ++n) {
        const float score = s.scores[n];
        if (!(score > 0)) continue;
        const int64_t expert = i * a.keys + s.keys[n], cell = expert * a.labels_count + label;
        a.tokens[cell] += 1;
        a.mass[cell] += static_cast<int64_t>(static_cast<double>(score) * kMassUnit + 0.5);
        const int64_t bin = expert * a.bins + octave(score, a.top, a.bins);
        a.histogram[bin] += 1;
        sample(a, bin, score, priority);
        enter(a, expert, score, row, start);
      }
    }
  }
}

}  // namespace monet
