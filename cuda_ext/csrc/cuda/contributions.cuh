// `contributions` on the GPU: one block per token, one warp per key i. Writes every active expert with its value; the
// strongest are selected afterwards.
#pragma once

#include <cstdint>

#include "../arguments.h"
#include "warp.cuh"

namespace monet {

constexpr int kContributeThreads = 256;
constexpr int kContributeWarps = kContributeThreads / kWarp;

// Shared memory of a block, in bytes: one sum per warp and the number of experts so far; then floats: key set 1 by
// head, a row of scores per warp, and the term in j.
constexpr int64_t kContributeFirst = 8 * kContributeWarps + 16;
static inline __host__ __device__ int64_t contributions_shared(const Contributions<float>& a) {
  return kContributeFirst + 4 * a.keys * (a.heads + kContributeWarps + 1);
}

static __device__ __forceinline__ float dot_units(const float* x, const float* y, int64_t units) {
  float sum = 0;
  for (int64_t u = 0; u < units; ++u) sum += x[u] * y[u];
  return sum;
}

// Writes experts (tokens, capacity) in arbitrary order with their values, counts (tokens) and totals (tokens). A pair
// of keys takes at most one slot, so a capacity of all pairs of a token's heads is enough.
static __global__ void __launch_bounds__(kContributeThreads)
    contribute_tokens_device(Contributions<float> a, int64_t capacity, int32_t* experts, float* values, int32_t* counts) {
  extern __shared__ float4 shared4[];
  double* totals = reinterpret_cast<double*>(shared4);           // (warps)
  int* places = reinterpret_cast<int*>(totals + kContributeWarps);
  float* by_head = reinterpret_cast<float*>(shared4 + kContributeFirst / 16);  // (heads, keys) of key set 1
  float* scores = by_head + a.heads * a.keys;  // (warps, keys), zero between keys
  float* by_column = scores + kContributeWarps * a.keys;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t token = blockIdx.x, block = a.keys * a.units, projection = token * a.row_step;
  const bool both = a.a2 != nullptr;
  const float* a1 = a.a1 + token * block;
  const float* a2 = both ? a.a2 + token * block : nullptr;
  const float* d12 = both ? a.d12 + projection * block : nullptr;
  const float* d21 = a.d21 + projection * block;

  for (int64_t n = threadIdx.x; n < a.keys * (a.heads + kContributeWarps); n += kContributeThreads) by_head[n] = 0;
  for (int64_t e = threadIdx.x; e < a.keys; e += kContributeThreads) {
    float part = a.c2[projection * a.keys + e];
    if (both) part += dot_units(a2 + e * a.units, a.d22 + projection * block + e * a.units, a.units);
    by_column[e] = part;
  }
  if (threadIdx.x == 0) *places = 0;
  __syncthreads();
  const unsigned width = static_cast<unsigned>(a.one.width), entries = static_cast<unsigned>(a.heads) * width;
  for (unsigned n = threadIdx.x; n < entries; n += kContributeThreads) {
    const unsigned head = n / width, slot = n % width;
    const int64_t row = token * a.heads + head;
    if (static_cast<int>(slot) < a.one.counts[row])
      by_head[head * a.keys + a.one.indices[row * a.one.width + slot]] = a.one.probs[row * a.one.width + slot];
  }
  __syncthreads();

  float* mine = scores + warp * a.keys;
  double total = 0;
  for (int64_t i = warp; i < a.keys; i += kContributeWarps) {
    float by_row = 0;
    bool known = false;
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t head = 0; head < a.heads; ++head) {
        const float p = by_head[head * a.keys + i];  // the same in every lane
        if (!(p > 0)) continue;
        if (both && !known) {
          by_row = a.c1[projection * a.keys + i] +
                   dot_units(a1 + i * a.units, a.d11 + projection * block + i * a.units, a.units);
          known = true;
        }
        const int64_t row = token * a.heads + head;
        const int count = a.two.counts[row];
        for (int n = lane; n < count; n += kWarp) {
          const int64_t j = a.two.indices[row * a.two.width + n];
          if (pass == 0) {
            mine[j] += p * a.two.probs[row * a.two.width + n];
            continue;
          }
          const float score = mine[j];  // the first head that has j takes the sum
          mine[j] = 0;
          if (!(score > 0)) continue;
          const int64_t expert = i * a.keys + j;
          float along = dot_units(a1 + i * a.units, d21 + j * a.units, a.units);
          if (both) along += dot_units(d12 + i * a.units, a2 + j * a.units, a.units);
          along += by_row + by_column[j];
          const float value = (a.factors ? a.factors[expert] * score : score) * along;
          total += value;
          const int64_t place = token * capacity + atomicAdd(places, 1);
          experts[place] = static_cast<int32_t>(expert);
          values[place] = value;
        }
        __syncwarp();
      }
    }
  }
  total = warp_sum(total);
  if (lane == 0) totals[warp] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (int w = 0; w < kContributeWarps; ++w) sum += totals[w];
    a.totals[token] = sum;
    counts[token] = *places;
  }
}

}  // namespace monet
