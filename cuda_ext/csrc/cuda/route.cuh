// `route` on the GPU: one warp per row. Up to 1,024 logits stay in registers, so that they are read once and nothing of
// their size is written; longer rows are read three times.
#pragma once

#include <cfloat>
#include <cstdint>

#include "../arguments.h"
#include "warp.cuh"

namespace monet {

constexpr int kRouteThreads = 256;

// As `Rows`, with logits of either dtype.
template <class T>
struct DeviceRows {
  const T* logits;
  Rows rows;
  int64_t count;
};

struct Bf16 {
  uint16_t bits;
};

static __device__ __forceinline__ float number(float z) { return z; }
static __device__ __forceinline__ float number(Bf16 z) { return __uint_as_float(static_cast<unsigned>(z.bits) << 16); }

// Sixteen bytes of logits, loaded at once.
template <class T>
struct alignas(16) Sixteen {
  static constexpr int kPer = 16 / sizeof(T);
  T values[kPer];
};

// A lane's share of a row: `kVectors` times sixteen bytes, a warp's vectors side by side.
template <class T, int kVectors, bool kAligned>
__global__ void __launch_bounds__(kRouteThreads, kVectors * 16 / sizeof(T) > 16 ? 2 : 4) route_rows(DeviceRows<T> a) {
  constexpr int kPer = Sixteen<T>::kPer;
  const int lane = threadIdx.x % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kRouteThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= a.count) return;
  const int keys = static_cast<int>(a.rows.keys);
  const T* from = a.logits + row * a.rows.keys;

  float z[kVectors][kPer];
  float best = -INFINITY;
  bool bad = false;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int first = (v * kWarp + lane) * kPer;
    if (kAligned) {
      if (first < keys) {
        const uint4 raw = __ldg(reinterpret_cast<const uint4*>(from + first));
        Sixteen<T> sixteen;
        memcpy(&sixteen, &raw, sizeof raw);
#pragma unroll
        for (int c = 0; c < kPer; ++c) z[v][c] = number(sixteen.values[c]);
      } else {
#pragma unroll
        for (int c = 0; c < kPer; ++c) z[v][c] = -INFINITY;
      }
    } else {
#pragma unroll
      for (int c = 0; c < kPer; ++c) z[v][c] = first + c < keys ? number(from[first + c]) : -INFINITY;
    }
#pragma unroll
    for (int c = 0; c < kPer; ++c) {
      bad |= !(z[v][c] <= FLT_MAX);
      best = fmaxf(best, z[v][c]);
    }
  }
  best = warp_max(best);
  if (__any_sync(kAll, bad) || best == -INFINITY) {
    if (lane == 0) a.rows.counts[row] = kNotFinite;
    return;
  }

  // The threshold uses the same expression as the entries, so the largest reaches it and no row comes out empty.
  const unsigned head = static_cast<unsigned>(row) % static_cast<unsigned>(a.rows.heads);
  const float mean = a.rows.mean[head], scale = a.rows.scale[head];
  const float threshold = fminf((best - mean) * scale, a.rows.sigma);
  unsigned marks = 0;  // one bit per entry of this lane
  float total = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int c = 0; c < kPer; ++c) {
      const bool active = (v * kWarp + lane) * kPer + c < keys && (z[v][c] - mean) * scale >= threshold;
      marks |= static_cast<unsigned>(active) << (v * kPer + c);
      z[v][c] = active ? expf(z[v][c] - best) : 0.0f;
      total += z[v][c];
    }
  }
  total = warp_sum(total);
  const int count = warp_sum(__popc(marks));
  if (lane == 0) a.rows.counts[row] = count;
  if (count > a.rows.width) return;

  int16_t* indices = a.rows.indices + row * a.rows.width;
  float* probs = a.rows.probs + row * a.rows.width;
  const unsigned below = (1u << lane) - 1;
  int done = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    int at = done;
#pragma unroll
    for (int c = 0; c < kPer; ++c) {
      const unsigned ballot = __ballot_sync(kAll, marks >> (v * kPer + c) & 1);
      at += __popc(ballot & below);
      done += __popc(ballot);
    }
#pragma unroll
    for (int c = 0; c < kPer; ++c) {
      if (marks >> (v * kPer + c) & 1) {
        indices[at] = static_cast<int16_t>((v * kWarp + lane) * kPer + c);
        probs[at] = z[v][c] / total;
        ++at;
      }
    }
  }
  for (int64_t n = count + lane; n < a.rows.width; n += kWarp) {
    indices[n] = 0;
    probs[n] = 0;
  }
}

// Rows of any length.
template <class T>
__global__ void __launch_bounds__(kRouteThreads) route_long_rows(DeviceRows<T> a) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kRouteThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= a.count) return;
  const int64_t keys = a.rows.keys;
  const T* from = a.logits + row * keys;
  float best = -INFINITY;
  bool bad = false;
  for (int64_t e = lane; e < keys; e += kWarp) {
    const float z = number(from[e]);
    bad |= !(z <= FLT_MAX);
    best = fmaxf(best, z);
  }
  best = warp_max(best);
  if (__any_sync(kAll, bad) || best == -INFINITY) {
    if (lane == 0) a.rows.counts[row] = kNotFinite;
    return;
  }
  const unsigned head = static_cast<unsigned>(row) % static_cast<unsigned>(a.rows.heads);
  const float mean = a.rows.mean[head], scale = a.rows.scale[head];
  const float threshold = fminf((best - mean) * scale, a.rows.sigma);
  float total = 0;
  int count = 0;
  for (int64_t e = lane; e < keys; e += kWarp) {
    const float z = number(from[e]);
    if ((z - mean) * scale >= threshold) {
      total += expf(z - best);
      ++count;
    }
  }
  total = warp_sum(total);
  count = warp_sum(count);
  if (lane == 0) a.rows.counts[row] = count;
  if (count > a.rows.width) return;
  int16_t* indices = a.rows.indices + row * a.rows.width;
  float* probs = a.rows.probs + row * a.rows.width;
  int done = 0;
  for (int64_t first = 0; first < keys; first += kWarp) {
    const float z = first + lane < keys ? number(from[first + lane]) : -INFINITY;
    const bool active = first + lane < keys && (z - mean) * scale >= threshold;
    const unsigned ballot = __ballot_sync(kAll, active);
    if (active) {
      const int at = done + __popc(ballot & ((1u << lane) - 1));
      indices[at] = static_cast<int16_t>(first + lane);
      probs[at] = expf(z - best) / total;
    }
    done += __popc(ballot);
  }
  for (int64_t n = count + lane; n < a.rows.width; n += kWarp) {
    indices[n] = 0;
    probs[n] = 0;
  }
}

}  // namespace monet
