// `accumulate` on the GPU: one warp per key i, which goes through the tokens where i is active, in order, and owns the
// statistics of the experts (i, .). Counts and masses are integers, so the result does not depend on scheduling.
#pragma once

#include <cstdint>

#include "../arguments.h"
#include "../toplist.h"
#include "warp.cuh"

namespace monet {

constexpr int kLayThreads = 256;

// Probabilities of key set 1 by key: table (keys, tokens * heads), zero before, so that a warp finds its key's tokens in
// one stretch of memory. One thread per entry; tokens without a label are left out.
static __global__ void __launch_bounds__(kLayThreads)
    lay_out(Side<float> one, const int64_t* labels, int64_t tokens, int64_t heads, float* table) {
  const unsigned entry = blockIdx.x * kLayThreads + threadIdx.x, width = static_cast<unsigned>(one.width);
  if (entry >= tokens * heads * one.width) return;
  const unsigned row = entry / width;
  if (static_cast<int>(entry % width) >= one.counts[row] || labels[row / static_cast<unsigned>(heads)] < 0) return;
  table[one.indices[entry] * tokens * heads + row] = one.probs[entry];
}

static __device__ __forceinline__ void count_score(const Accumulate& a, int64_t expert, int64_t token, float score) {
  using Word = unsigned long long;
  const int64_t cell = expert * a.labels_count + a.labels[token];
  // Atomics, only so that no thread waits for the old value.
  atomicAdd(reinterpret_cast<Word*>(a.tokens + cell), Word{1});
  atomicAdd(reinterpret_cast<Word*>(a.mass + cell),
            static_cast<Word>(static_cast<int64_t>(static_cast<double>(score) * kMassUnit + 0.5)));
  const int64_t bin = expert * a.bins + octave(score, a.top, a.bins);
  atomicAdd(reinterpret_cast<Word*>(a.histogram + bin), Word{1});
  sample(a, bin, score, a.priorities[token]);
  enter(a, expert, score, a.rows[token], a.starts[token]);
}

// One block of one warp per key; shared memory of `keys` floats. At most 32 heads.
static __global__ void __launch_bounds__(kWarp)
    accumulate_keys_device(Accumulate a, const float* table, int64_t tokens, int heads) {
  extern __shared__ float4 shared4[];
  float* by_key = reinterpret_cast<float*>(shared4);  // scores of a token by key j; zero between tokens
  const int lane = threadIdx.x;
  const int64_t i = blockIdx.x;
  for (int64_t e = lane; e < a.keys; e += kWarp) by_key[e] = 0;
  __syncwarp();
  const float* probs = table + i * tokens * heads;
  const int step = kWarp / heads;  // whole tokens at a time
  for (int64_t first = 0; first < tokens; first += step) {
    const int64_t rows_left = (tokens - first) * heads;
    const float mine = lane < step * heads && lane < rows_left ? probs[first * heads + lane] : 0.0f;
    unsigned active = __ballot_sync(kAll, mine > 0);
    while (active) {  // the same in every lane
      const int in_step = (__ffs(active) - 1) / heads;
      const int64_t token = first + in_step;
      const unsigned of_token = active & (((heads == 32 ? 0u : 1u << heads) - 1u) << (in_step * heads));
      active &= ~of_token;
      const bool alone = __popc(of_token) == 1;
      for (int pass = alone ? 1 : 0; pass < 2; ++pass) {
        for (unsigned left = of_token; left; left &= left - 1) {
          const int source = __ffs(left) - 1;
          const float p = __shfl_sync(kAll, mine, source);
          const int64_t row = first * heads + source;
          const int count = a.two.counts[row];
          for (int n = lane; n < count; n += kWarp) {
            const int64_t j = a.two.indices[row * a.two.width + n];
            float score = p * a.two.probs[row * a.two.width + n];
            if (pass == 0) {
              by_key[j] += score;
              continue;
            }
            if (!alone) {  // the first head that has j takes the sum
              score = by_key[j];
              by_key[j] = 0;
            }
            if (score > 0) count_score(a, i * a.keys + j, token, score);
          }
          __syncwarp();
        }
      }
    }
  }
}

}  // namespace monet
