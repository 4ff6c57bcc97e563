// Grids, shared memory and the choice of kernel variants; the only file that nvcc compiles.
#include "launch.h"

#include "accumulate.cuh"
#include "contributions.cuh"
#include "mix.cuh"
#include "route.cuh"

namespace monet {
namespace {

constexpr int64_t kSharedLimit = 227 * 1024;  // bytes a block may have on compute capability 9.0 and 10.0
constexpr int64_t kSharedDefault = 48 * 1024;

constexpr int64_t kMost = int64_t{1} << 31;  // entries that a kernel can count in 32 bits
constexpr const char* kTooMany = "too many tokens for one call; pass fewer at a time";

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool at_sixteen(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

const char* outcome() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Lets a kernel have this much shared memory.
template <class Kernel>
const char* allow(Kernel kernel, int64_t bytes) {
  if (bytes > kSharedLimit) return "too many keys, units or heads for the shared memory of a GPU";
  if (bytes <= kSharedDefault) return nullptr;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

template <class T, int kSmall>
const char* route_as(const void* logits, const Rows& rows, int64_t count, cudaStream_t stream) {
  const DeviceRows<T> a{static_cast<const T*>(logits), rows, count};
  const auto blocks = static_cast<unsigned>(ceil_div(count, kRouteThreads / kWarp));
  const bool aligned = at_sixteen(logits) && rows.keys % Sixteen<T>::kPer == 0;
  if (rows.keys <= 512) {
    (aligned ? route_rows<T, kSmall, true> : route_rows<T, kSmall, false>)<<<blocks, kRouteThreads, 0, stream>>>(a);
  } else if (rows.keys <= 1024) {
    (aligned ? route_rows<T, 2 * kSmall, true>
             : route_rows<T, 2 * kSmall, false>)<<<blocks, kRouteThreads, 0, stream>>>(a);
  } else {
    route_long_rows<T><<<blocks, kRouteThreads, 0, stream>>>(a);
  }
  return outcome();
}

}  // namespace

const char* launch_route(const void* logits, bool bf16, const Rows& rows, int64_t count, void* stream) {
  if (count == 0) return nullptr;
  if (count >= kMost) return kTooMany;
  const auto s = static_cast<cudaStream_t>(stream);
  return bf16 ? route_as<Bf16, 2>(logits, rows, count, s) : route_as<float, 4>(logits, rows, count, s);
}

const char* launch_mix(const Mix<float>& a, int64_t tokens, void* stream) {
  if (tokens == 0 || a.keys * a.units == 0) return nullptr;
  bool aligned = a.keys * a.units % 4 == 0;
  for (const void* p : {static_cast<const void*>(a.a1), static_cast<const void*>(a.a2),
                        static_cast<const void*>(a.straight1), static_cast<const void*>(a.cross1),
                        static_cast<const void*>(a.cross2), static_cast<const void*>(a.straight2)})
    aligned = aligned && at_sixteen(p);
  const auto kernel = aligned ? mix_tokens_device<true> : mix_tokens_device<false>;
  const int64_t bytes = 4 * mix_shared(a);
  if (const char* wrong = allow(kernel, bytes)) return wrong;
  kernel<<<static_cast<unsigned>(tokens), kMixThreads, bytes, static_cast<cudaStream_t>(stream)>>>(a);
  return outcome();
}

const char* launch_accumulate(const Accumulate& work, const Side<float>& one, int64_t tokens, int64_t heads,
                              float* table, void* stream) {
  const int64_t entries = tokens * heads * one.width;
  if (entries == 0) return nullptr;
  if (entries >= kMost) return kTooMany;
  if (heads > kWarp) return "more than 32 heads";
  const int64_t bytes = 4 * work.keys;
  if (const char* wrong = allow(accumulate_keys_device, bytes)) return wrong;
  const auto s = static_cast<cudaStream_t>(stream);
  cudaMemsetAsync(table, 0, sizeof(float) * work.keys * tokens * heads, s);
  lay_out<<<static_cast<unsigned>(ceil_div(entries, kLayThreads)), kLayThreads, 0, s>>>(one, work.labels, tokens, heads,
                                                                                         table);
  accumulate_keys_device<<<static_cast<unsigned>(work.keys), kWarp, bytes, s>>>(work, table, tokens,
                                                                                static_cast<int>(heads));
  return outcome();
}

const char* launch_contributions(const Contributions<float>& work, int64_t tokens, int64_t capacity, int32_t* experts,
                                 float* values, int32_t* counts, void* stream) {
  if (tokens == 0) return nullptr;
  const int64_t bytes = contributions_shared(work);
  if (const char* wrong = allow(contribute_tokens_device, bytes)) return wrong;
  contribute_tokens_device<<<static_cast<unsigned>(tokens), kContributeThreads, bytes,
                             static_cast<cudaStream_t>(stream)>>>(work, capacity, experts, values, counts);
  return outcome();
}

}  // namespace monet
