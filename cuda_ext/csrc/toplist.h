// Inserting one score into the lists of one expert: the same source on the CPU and on the GPU.
#pragma once

#include <cstdint>
#include <cstring>

#include "arguments.h"

#if defined(__CUDACC__)
#define MONET_EVERYWHERE static __host__ __device__ __forceinline__
#define MONET_ROLLED _Pragma("unroll 1")  // registers cost more than branches
#else
#define MONET_ROLLED
#define MONET_EVERYWHERE static inline __attribute__((always_inline))
#endif

namespace monet {

// Shifts list[place .. drop - 1] down by one, over the entry at `drop`.
template <class T>
MONET_EVERYWHERE void move_down(T* list, int32_t place, int32_t drop) {
#if defined(__CUDA_ARCH__)
  for (int32_t n = drop; n > place; --n) list[n] = list[n - 1];
#else
  std::memmove(list + place + 1, list + place, sizeof(T) * (drop - place));
#endif
}

// Inserts a score into a full or partly filled list, which keeps at most `per_document` entries per document. Rows come
// in ascending order. So of equal scores the earlier one has the lower row and stays, and the entries of this token's
// document are those with rows from `start` on. A token with a negative `start` is no candidate. Returns a score that
// later tokens of the document, until one of another enters, cannot get into the list without exceeding.
MONET_EVERYWHERE float enter(const Accumulate& a, int64_t expert, float score, int64_t row, int64_t start) {
  float* scores = a.best_scores + expert * a.best;
  int64_t* rows = a.best_rows + expert * a.best;
  const auto best = static_cast<int32_t>(a.best);  // more 32-bit numbers fit a vector
  int32_t drop = best - 1;
  if (start < 0 || !(score > scores[drop])) return scores[drop];
  int32_t same = 0, lowest = 0;
  MONET_ROLLED
  for (int32_t n = 0; n < best; ++n) {  // rows of empty slots are -1
    const bool of_document = rows[n] >= start;
    same += of_document;
    lowest = of_document ? n : lowest;
  }
  if (same >= a.per_document) {
    drop = lowest;
    if (!(score > scores[drop])) return scores[drop];
  }
  int32_t place = 0;
  MONET_ROLLED
  for (int32_t n = 0; n < drop; ++n) place += scores[n] >= score;
  move_down(scores, place, drop);
  move_down(rows, place, drop);
  scores[place] = score;
  rows[place] = row;
  return scores[best - 1];
}

// Inserts a token into an expert's sample for a bin, which keeps the lowest priorities; one with priority -1 is left out.
MONET_EVERYWHERE void sample(const Accumulate& a, int64_t cell, float score, int64_t priority) {
  if (a.sampled == 0) return;
  int64_t* priorities = a.sample_priorities + cell * a.sampled;
  float* scores = a.sample_scores + cell * a.sampled;
  const auto mine = static_cast<uint64_t>(priority);  // unsigned, so that -1 sorts last
  int64_t at = a.sampled - 1;
  if (mine >= static_cast<uint64_t>(priorities[at])) return;
  for (; at > 0 && mine < static_cast<uint64_t>(priorities[at - 1]); --at) {
    priorities[at] = priorities[at - 1];
    scores[at] = scores[at - 1];
  }
  priorities[at] = priority;
  scores[at] = score;
}

// The octave of a score, among `bins` below 2^top; the first bin also takes everything below it.
MONET_EVERYWHERE int64_t octave(float score, int32_t top, int64_t bins) {
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof bits);
  const int64_t bin = static_cast<int64_t>(bits >> 23) - 127 - top + bins;
  return bin < 0 ? 0 : bin >= bins ? bins - 1 : bin;
}

}  // namespace monet
