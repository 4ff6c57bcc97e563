// `mix` on the GPU: one block per token. Activations are read from memory once, sums build up in shared memory, and
// every output is written once, sixteen bytes at a time. Heads are processed one after another: the keys of a head are
// distinct, so no two of its threads add to the same sum, and sums have a fixed order without atomics.
#pragma once

#include <cstdint>

#include "../arguments.h"
#include "warp.cuh"

namespace monet {

constexpr int kMixThreads = 256;

// Shared memory of a block, in floats: sums of both sides, sums of weights; without factors, the mixed units of heads.
static inline __host__ __device__ int64_t mix_shared(const Mix<float>& a) {
  const int64_t sides = a.a2 ? 2 : 1;
  return sides * (a.keys * (a.units + 1) + (a.factors ? 0 : a.heads * (a.units + 1)));
}

// One side's sums: out[to] += sum_from S p q a[from]. `step_from` and `step_to` walk S.
struct MixSide {
  Side<float> from, to;
  const float* a;   // (keys, units) of this token
  float* sums;      // shared (keys, units)
  float* weights;   // shared (keys)
  float* mixed;     // shared (heads, units), without factors
  float* all;       // shared (heads), without factors
  int64_t step_from, step_to;
};

// Without factors a head mixes the activations once: one warp per head, whose lanes share the list.
static __device__ __forceinline__ void mix_heads(const MixSide& s, int64_t token, int64_t heads, int64_t units) {
  const int lane = threadIdx.x % kWarp;
  for (int64_t head = threadIdx.x / kWarp; head < heads; head += kMixThreads / kWarp) {
    const int64_t row = token * heads + head, first = row * s.from.width;
    const int count = s.from.counts[row];
    for (int64_t u = 0; u <= units; ++u) {
      float sum = 0;
      for (int n = lane; n < count; n += kWarp)
        sum += s.from.probs[first + n] * (u < units ? s.a[s.from.indices[first + n] * units + u] : 1.0f);
      sum = warp_sum(sum);
      if (lane == 0) (u < units ? s.mixed[head * units + u] : s.all[head]) = sum;
    }
  }
}

// One head of one side, one thread per (key, unit); the unit past the last is the sum of weights.
static __device__ __forceinline__ void mix_head(const Mix<float>& a, const MixSide& s, int64_t token, int64_t head) {
  const int64_t row = token * a.heads + head;
  const unsigned wide = static_cast<unsigned>(a.units) + 1;
  const int64_t from = row * s.from.width, to = row * s.to.width;
  const int count_from = s.from.counts[row];
  const unsigned items = s.to.counts[row] * wide;
  for (unsigned item = threadIdx.x; item < items; item += kMixThreads) {
    const unsigned n = item / wide, u = item % wide;
    const int64_t key = s.to.indices[to + n];
    float sum;
    if (a.factors) {
      sum = 0;
      for (int m = 0; m < count_from; ++m) {
        const int64_t other = s.from.indices[from + m];
        const float weight = s.from.probs[from + m] * a.factors[other * s.step_from + key * s.step_to];
        sum += weight * (u < a.units ? s.a[other * a.units + u] : 1.0f);
      }
    } else {
      sum = u < a.units ? s.mixed[head * a.units + u] : s.all[head];
    }
    (u < a.units ? s.sums[key * a.units + u] : s.weights[key]) += s.to.probs[to + n] * sum;
  }
}

// Writes a side: its sums, the sums of its weights, and these times the side's own activations (not for horizontal).
template <bool kAligned>
static __device__ __forceinline__ void mix_write(const Mix<float>& a, const float* sums, const float* weights,
                                                 const float* own, float* to_sums, float* to_weights, float* straight) {
  const unsigned units = static_cast<unsigned>(a.units), block = static_cast<unsigned>(a.keys) * units;
  if (kAligned) {
    for (unsigned at = 4 * threadIdx.x; at < block; at += 4 * kMixThreads) {
      *reinterpret_cast<float4*>(to_sums + at) = *reinterpret_cast<const float4*>(sums + at);
      if (straight) {
        float4 v = *reinterpret_cast<const float4*>(own + at);
        v.x *= weights[at / units];
        v.y *= weights[(at + 1) / units];
        v.z *= weights[(at + 2) / units];
        v.w *= weights[(at + 3) / units];
        *reinterpret_cast<float4*>(straight + at) = v;
      }
    }
  } else {
    for (unsigned at = threadIdx.x; at < block; at += kMixThreads) {
      to_sums[at] = sums[at];
      if (straight) straight[at] = weights[at / units] * own[at];
    }
  }
  for (int64_t e = threadIdx.x; e < a.keys; e += kMixThreads) to_weights[e] = weights[e];
}

// kAligned: keys * units is a multiple of 4 and all arrays of that shape begin at a multiple of 16 bytes.
template <bool kAligned>
__global__ void __launch_bounds__(kMixThreads) mix_tokens_device(Mix<float> a) {
  extern __shared__ float4 shared4[];
  float* shared = reinterpret_cast<float*>(shared4);
  const int64_t token = blockIdx.x, block = a.keys * a.units;
  const bool both = a.a2 != nullptr;
  const int64_t total = mix_shared(a);
  for (int64_t n = threadIdx.x; n < total; n += kMixThreads) shared[n] = 0;

  // Sums first: where they can be read sixteen bytes at a time they stand at multiples of sixteen.
  float* rest = shared + (both ? 2 : 1) * block;
  MixSide two{a.one, a.two, a.a1 + token * block, shared, rest, nullptr, nullptr, a.keys, 1};
  rest += a.keys;
  MixSide one{a.two, a.one, both ? a.a2 + token * block : nullptr, shared + block, rest, nullptr, nullptr, 1, a.keys};
  if (both) rest += a.keys;
  if (!a.factors) {
    two.mixed = rest;
    two.all = two.mixed + a.heads * a.units;
    one.mixed = two.all + a.heads;
    one.all = one.mixed + a.heads * a.units;
  }
  __syncthreads();
  if (!a.factors) {
    mix_heads(two, token, a.heads, a.units);
    if (both) mix_heads(one, token, a.heads, a.units);
    __syncthreads();
  }
  for (int64_t head = 0; head < a.heads; ++head) {
    mix_head(a, two, token, head);
    if (both) mix_head(a, one, token, head);
    __syncthreads();
  }
  mix_write<kAligned>(a, two.sums, two.weights, one.a, a.cross2 + token * block, a.columns + token * a.keys,
                      both ? a.straight2 + token * block : nullptr);
  if (both)
    mix_write<kAligned>(a, one.sums, one.weights, two.a, a.cross1 + token * block, a.rows + token * a.keys,
                        a.straight1 + token * block);
}

}  // namespace monet
