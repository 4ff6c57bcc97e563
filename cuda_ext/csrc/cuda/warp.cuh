// Reductions over a warp, shared by the kernels. Uses nothing but the CUDA language, so that tests can run the kernels
// on a CPU.
#pragma once

#include <cstdint>

namespace monet {

constexpr int kWarp = 32;
constexpr unsigned kAll = 0xffffffffu;

static __device__ __forceinline__ float warp_max(float v) {
  for (int step = kWarp / 2; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(kAll, v, step));
  return v;
}

// In a fixed order, so that the sum has the same bits on every run.
template <class T>
static __device__ __forceinline__ T warp_sum(T v) {
  for (int step = kWarp / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAll, v, step);
  return v;
}

}  // namespace monet
