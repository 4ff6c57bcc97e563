// What each active expert adds along a direction, for the strongest per token: plain C++, independent of torch.
//
// Expert (i, j) adds W[i, j] (direction . E_ij), and direction . E_ij is a sum of a term in i, a term in j, and at most
// two dot products of a vector of i and a vector of j.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "../arguments.h"
#include "levels.h"
#include "mix.h"
#include "pairs.h"

namespace monet {

template <class T>
struct Candidate {
  T size;  // absolute value; infinite for NaN, so that NaN comes first
  int64_t expert;
  T value;
};

// Strongest first, ties by the lower id: a strict order, so that any selection algorithm gives the same result.
template <class T>
static inline bool stronger(const Candidate<T>& x, const Candidate<T>& y) {
  return x.size != y.size ? x.size > y.size : x.expert < y.expert;
}

// Reduces the list to its `top` strongest; not inlined, because sorting gains nothing from wide vectors.
template <class T>
static __attribute__((noinline)) void select(std::vector<Candidate<T>>& list, int64_t top, bool sorted) {
  const int64_t kept = std::min<int64_t>(top, list.size());
  if (kept < static_cast<int64_t>(list.size()))
    std::nth_element(list.begin(), list.begin() + kept, list.end(), stronger<T>);
  list.resize(kept);
  if (sorted) std::sort(list.begin(), list.end(), stronger<T>);
}

// Tokens [begin, end).
template <class T>
MONET_INLINE void contribute_tokens(const Contributions<T>& a, int64_t begin, int64_t end) {
  const int64_t keys = a.keys, units = a.units, block = keys * units;
  Merger<T> merger(keys);
  std::vector<T> by_column(keys);
  std::vector<int64_t> offsets(keys + 1), next(keys);
  std::vector<Entry<T>> entries(a.heads * a.one.width);
  std::vector<Candidate<T>> list;
  const int64_t room = std::max<int64_t>(2 * a.top, 256);
  list.reserve(room);
  for (int64_t token = begin; token < end; ++token) {
    const int64_t projection = token * a.row_step;
    const bool both = a.a2 != nullptr;
    const T* a1 = a.a1 + token * block;
    const T* a2 = both ? a.a2 + token * block : nullptr;
    const T* d12 = both ? a.d12 + projection * block : nullptr;
    const T* d21 = a.d21 + projection * block;
    std::fill(offsets.begin(), offsets.end(), 0);
    for (int64_t row = token * a.heads; row < (token + 1) * a.heads; ++row) {
      const List<T> i = list_of(a.one, row), j = list_of(a.two, row);
      for (int64_t n = 0; n < i.count; ++n) ++offsets[i.keys[n] + 1];
      for (int64_t n = 0; n < j.count; ++n) {
        const int64_t f = j.keys[n];
        by_column[f] = a.c2[projection * keys + f];
        if (both)
          by_column[f] +=
              dot<T>(a2 + f * units, a.d22 + projection * block + f * units, nullptr, nullptr, units);
      }
    }
    for (int64_t key = 0; key < keys; ++key) offsets[key + 1] += offsets[key];
    std::copy(offsets.begin(), offsets.end() - 1, next.begin());
    for (int64_t row = token * a.heads; row < (token + 1) * a.heads; ++row) {
      const List<T> i = list_of(a.one, row);
      for (int64_t n = 0; n < i.count; ++n)
        entries[next[i.keys[n]]++] = {static_cast<int32_t>(token), static_cast<int32_t>(row), i.probs[n]};
    }

    list.clear();
    double total = 0;
    T least = -1;  // size of the weakest of `top` known candidates, which others must exceed
    for (int64_t key = 0; key < keys; ++key) {
      const int64_t count = offsets[key + 1] - offsets[key];
      if (count == 0) continue;
      const Scores<T> s = merge(merger, entries.data() + offsets[key], count, a.two);
      const int64_t at = key * units;
      T by_row = 0;
      if (both)
        by_row = a.c1[projection * keys + key] +
                 dot<T>(a1 + at, a.d11 + projection * block + at, nullptr, nullptr, units);
      for (int64_t n = 0; n < s.count; ++n) {
        const int64_t f = s.keys[n], expert = key * keys + f;
        if (!(s.scores[n] > 0)) continue;
        const T along = dot<T>(a1 + at, d21 + f * units, both ? d12 + at : nullptr, both ? a2 + f * units : nullptr,
                               units) +
                        (by_row + by_column[f]);
        const T value = (a.factors ? a.factors[expert] * s.scores[n] : s.scores[n]) * along;
        total += value;
        const T size = value == value ? std::abs(value) : static_cast<T>(INFINITY);
        // Ids ascend, so of equal sizes the known candidate has the lower id and stays.
        if (!(size > least)) continue;
        list.push_back({size, expert, value});
        if (static_cast<int64_t>(list.size()) == room) {
          select(list, a.top, false);
          least = list.back().size;
          for (const Candidate<T>& c : list) least = std::min(least, c.size);
        }
      }
    }
    select(list, a.top, true);
    a.totals[token] = total;
    for (int64_t n = 0; n < a.top; ++n) {
      const bool there = n < static_cast<int64_t>(list.size());
      a.experts[token * a.top + n] = there ? list[n].expert : -1;
      a.values[token * a.top + n] = there ? list[n].value : 0;
    }
  }
}

}  // namespace monet
