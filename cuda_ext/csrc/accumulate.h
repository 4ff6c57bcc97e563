// Statistics and best tokens of all experts, updated in place: plain C++, knows nothing of torch.
//
// Work goes by key i: the experts (i, .) and all their statistics stay in the second-level cache while every token
// where i is active passes by, tokens ascending. A key belongs to one thread, so nothing is shared and the result does
// not depend on their number.
#pragma once

#include <cstring>

#include "levels.h"
#include "pairs.h"
#include "sparse.h"

namespace monet {

constexpr double kMassUnit = 68719476736.0;  // 2^36: masses are integers, so that sums do not depend on their order

struct Accumulate {
  const Entry<float>* entries;  // active entries of key set 1 by key, then token, then head
  const int64_t* offsets;       // (keys + 1) where each key's begin
  Side<float> two;
  const int64_t* labels;  // (tokens)
  const int64_t* rows;    // (tokens) ascending
  const int64_t* starts;  // (tokens) first row of the token's document
  int64_t keys, labels_count, bins, best, per_document;
  int32_t top;         // scores are at most 2^top
  int64_t* tokens;     // (keys * keys, labels)
  int64_t* mass;       // (keys * keys, labels)
  int64_t* histogram;  // (keys * keys, bins)
  float* best_scores;  // (keys * keys, best) falling; 0 where nothing is
  int64_t* best_rows;  // (keys * keys, best)
};

// Enters a score in a full or part-filled list, which keeps at most `per_document` of one document. Rows come in
// ascending order, so of equal scores the one that is there has the lower row and stays, and the entries of this
// token's document are those from its first row on.
MONET_INLINE void enter(const Accumulate& a, int64_t expert, float score, int64_t row, int64_t start) {
  float* scores = a.best_scores + expert * a.best;
  int64_t* rows = a.best_rows + expert * a.best;
  int64_t drop = a.best - 1;
  if (!(score > scores[drop])) return;
  int64_t same = 0, lowest = 0;
  for (int64_t n = 0; n < a.best && rows[n] >= 0; ++n) {
    if (rows[n] < start) continue;
    ++same;
    lowest = n;
  }
  if (same >= a.per_document) {
    drop = lowest;
    if (!(score > scores[drop])) return;
  }
  for (; drop > 0 && scores[drop - 1] < score; --drop) {
    scores[drop] = scores[drop - 1];
    rows[drop] = rows[drop - 1];
  }
  scores[drop] = score;
  rows[drop] = row;
}

// The octave of a score, of `bins` below 2^top; the first bin takes all that is below it.
MONET_INLINE int64_t octave(float score, int32_t top, int64_t bins) {
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof bits);
  const int64_t bin = static_cast<int64_t>(bits >> 23) - 127 - top + bins;
  return bin < 0 ? 0 : bin >= bins ? bins - 1 : bin;
}

// Keys [begin, end) of set 1.
MONET_INLINE void accumulate_keys(const Accumulate& a, int64_t begin, int64_t end) {
  Merger<float> merger(a.keys);
  for (int64_t i = begin; i < end; ++i) {
    int64_t e = a.offsets[i];
    while (e < a.offsets[i + 1]) {
      const int32_t token = a.entries[e].token;
      int64_t heads = 1;
      while (e + heads < a.offsets[i + 1] && a.entries[e + heads].token == token) ++heads;
      const Scores<float> s = merge(merger, a.entries + e, heads, a.two);
      e += heads;
      const int64_t label = a.labels[token], row = a.rows[token], start = a.starts[token];
      for (int64_t n = 0; n < s.count; ++n) {
        const float score = s.scores[n];
        if (!(score > 0)) continue;
        const int64_t expert = i * a.keys + s.keys[n], cell = expert * a.labels_count + label;
        a.tokens[cell] += 1;
        a.mass[cell] += static_cast<int64_t>(static_cast<double>(score) * kMassUnit + 0.5);
        a.histogram[expert * a.bins + octave(score, a.top, a.bins)] += 1;
        enter(a, expert, score, row, start);
      }
    }
  }
}

}  // namespace monet
