// Statistics, top and sampled tokens of all experts, updated in place: plain C++, independent of torch.
//
// The work is split by key i: the experts (i, .) and all their statistics stay in the second-level cache while the
// tokens where i is active are processed in ascending order. Each key belongs to one thread, so nothing is shared and
// the result does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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

// What the tokens of a call add to the counts of one key's experts. A pair adds to the statistics in three places, far
// apart, and to a tally in three rows that the first-level cache holds: those of the token's label, which documents
// change rarely, and of the score's octave, of which few are common.
class Tally {
 public:
  // Whether so many entries of a key bring pairs enough to repay adding the tally to the statistics.
  static bool pays(const Accumulate& a, int64_t entries) {
    return a.labels_count <= kMostLabels && entries * a.two.width >= 2 * a.keys * (a.labels_count + a.bins);
  }

  explicit Tally(const Accumulate& a)
      : keys_(a.keys),
        tokens_(a.labels_count * a.keys),
        mass_(a.labels_count * a.keys),
        bins_(a.bins * a.keys),
        last_scores_(a.keys),
        bars_(a.keys),
        entering_(a.keys + 1) {}

  // Begins with key i of set 1, when everything is zero. The lists of its experts, which the second-level cache holds,
  // are fetched at once: few scores enter them, far apart, and each would wait for memory.
  void begin(const Accumulate& a, int64_t i) {
    const float* scores = a.best_scores + i * keys_ * a.best;
    const int64_t* rows = a.best_rows + i * keys_ * a.best;
    for (int64_t n = 0; n < keys_ * a.best; n += kLine) {
      __builtin_prefetch(scores + n);
      __builtin_prefetch(rows + n);
      __builtin_prefetch(rows + n + kLine / 2);
    }
    for (int64_t j = 0; j < keys_; ++j) last_scores_[j] = a.best_scores[(i * keys_ + j + 1) * a.best - 1];
    start_ = -1;
  }
  int32_t* tokens(int64_t label) { return tokens_.data() + label * keys_; }
  int64_t* mass(int64_t label) { return mass_.data() + label * keys_; }
  int32_t* bins() { return bins_.data(); }
  // What scores of the document that begins at `start` must exceed to enter the lists of best tokens: at first the
  // score at the end of a list, and more once the document has as many entries as it may.
  const float* bars(int64_t start) {
    if (start != start_) bars_ = last_scores_;
    start_ = start;
    return bars_.data();
  }

  // Room for which of a token's pairs are above the bar, and one more.
  int16_t* entering() { return entering_.data(); }

  // Enters a score above the bar.
  void enter_list(const Accumulate& a, int64_t i, int64_t j, float score, int64_t row, int64_t start) {
    const float bar = enter(a, i * keys_ + j, score, row, start);
    last_scores_[j] = a.best_scores[(i * keys_ + j + 1) * a.best - 1];
    bars_[j] = bar > bars_[j] ? bar : bars_[j];
  }

  // Adds the tally to the statistics of key i and sets it to zero.
  void add_to(const Accumulate& a, int64_t i) {
    for (int64_t j = 0; j < keys_; j += kLine) {
      const int64_t end = j + kLine < keys_ ? j + kLine : keys_;
      move(tokens_, a.labels_count, a.tokens, i, j, end);
      move(mass_, a.labels_count, a.mass, i, j, end);
      move(bins_, a.bins, a.histogram, i, j, end);
    }
  }

 private:
  static constexpr int64_t kMostLabels = 32;

  template <class T>
  void move(std::vector<T>& from, int64_t rows, int64_t* to, int64_t i, int64_t j, int64_t end) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t n = j; n < end; ++n) {
        T& added = from[row * keys_ + n];
        to[(i * keys_ + n) * rows + row] += added;
        added = 0;
      }
    }
  }

  int64_t keys_;
  std::vector<int32_t> tokens_;  // (labels, keys)
  std::vector<int64_t> mass_;    // (labels, keys)
  std::vector<int32_t> bins_;    // (bins, keys)
  std::vector<float> last_scores_, bars_;
  std::vector<int16_t> entering_;
  int64_t start_ = -1;
};

MONET_INLINE int64_t units_of_mass(float score) {
  return static_cast<int64_t>(static_cast<double>(score) * kMassUnit + 0.5);
}

// The token's pairs with key i, counted in a tally. The lists, which few pairs enter, have a loop of their own, so that
// the one for counts keeps its addresses in registers.
MONET_INLINE void tally_pairs(const Accumulate& a, int64_t i, const Scores<float>& s, int32_t token, Tally& tally) {
  const int64_t keys = a.keys, bins = a.bins, row = a.rows[token], start = a.starts[token];
  const int64_t priority = a.priorities[token];
  const int32_t top = a.top;
  int32_t* tokens = tally.tokens(a.labels[token]);
  int64_t* mass = tally.mass(a.labels[token]);
  int32_t* of_bin = tally.bins();
  for (int64_t n = 0; n < s.count; ++n) {
    const float score = s.scores[n];
    const int64_t j = s.keys[n];
    const bool active = score > 0;
    tokens[j] += active;
    mass[j] += units_of_mass(score);  // 0 of a score that underflowed to 0
    of_bin[octave(score, top, bins) * keys + j] += active;
  }
  for (int64_t n = 0; a.sampled > 0 && n < s.count; ++n) {
    const float score = s.scores[n];
    if (score > 0) sample(a, (i * keys + s.keys[n]) * bins + octave(score, top, bins), score, priority);
  }
  if (start < 0) return;
  const float* bars = tally.bars(start);
  int16_t* entering = tally.entering();  // the keys of one token differ, so that none raises another's bar
  int64_t many = 0;
  for (int64_t n = 0; n < s.count; ++n) {
    entering[many] = static_cast<int16_t>(n);
    many += s.scores[n] > bars[s.keys[n]];
  }
  for (int64_t m = 0; m < many; ++m) {
    const int64_t n = entering[m];
    tally.enter_list(a, i, s.keys[n], s.scores[n], row, start);
  }
}

// The same, added to the statistics at once.
MONET_INLINE void add_pairs(const Accumulate& a, int64_t i, const Scores<float>& s, int32_t token) {
  const int64_t label = a.labels[token], row = a.rows[token], start = a.starts[token];
  const int64_t priority = a.priorities[token];
  for (int64_t n = 0; n < s.count; ++n) {
    const float score = s.scores[n];
    if (!(score > 0)) continue;
    const int64_t expert = i * a.keys + s.keys[n], cell = expert * a.labels_count + label;
    a.tokens[cell] += 1;
    a.mass[cell] += units_of_mass(score);
    const int64_t bin = expert * a.bins + octave(score, a.top, a.bins);
    a.histogram[bin] += 1;
    sample(a, bin, score, priority);
    enter(a, expert, score, row, start);
  }
}

// Keys [begin, end) of set 1.
MONET_INLINE void accumulate_keys(const ByKey& by_key, int64_t begin, int64_t end) {
  const Accumulate a = by_key.work;  // a copy, which no store below can change
  const int64_t* offsets = by_key.offsets;
  const Entry<float>* entries = by_key.entries;
  Merger<float> merger(a.keys);
  std::unique_ptr<Tally> tally;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t last = offsets[i + 1];
    const bool tallied = Tally::pays(a, last - offsets[i]);
    if (tallied) {
      if (!tally) tally = std::make_unique<Tally>(a);
      tally->begin(a, i);
    }
    for (int64_t e = offsets[i]; e < last;) {
      if (e + kListsAhead < last) {  // lists of key set 2 are ordered by token, far apart
        const int64_t list = entries[e + kListsAhead].row * a.two.width;
        __builtin_prefetch(a.two.indices + list);
        __builtin_prefetch(a.two.indices + list + 2 * kLine);
        for (int64_t n = 0; n < 3; ++n) __builtin_prefetch(a.two.probs + list + n * kLine);
      }
      const int32_t token = entries[e].token;
      int64_t heads = 1;
      while (e + heads < last && entries[e + heads].token == token) ++heads;
      const Scores<float> s = merge(merger, entries + e, heads, a.two);
      e += heads;
      if (tallied)
        tally_pairs(a, i, s, token, *tally);
      else
        add_pairs(a, i, s, token);
    }
    if (tallied) tally->add_to(a, i);
  }
}

}  // namespace monet
