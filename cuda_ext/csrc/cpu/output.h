// Tensors for what CPU ops return: large ones in memory that is kept for the next call.
#pragma once

#include <initializer_list>
#include <vector>

#include "../tensors.h"
#include "arena.h"

#if defined(__linux__)
// Of torch 2.11 and newer; its headers hide it from libraries, such as this one, that load with 2.10 too.
extern "C" __attribute__((weak)) AOTITorchError torch_from_blob(
    void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides, int64_t storage_offset, int32_t dtype,
    int32_t device_type, int32_t device_index, AtenTensorHandle* result, int32_t layout, const uint8_t* opaque_metadata,
    int64_t opaque_metadata_size, void (*deleter)(void* data, void* size), void* size);
#endif

namespace monet {

// An uninitialised tensor on the CPU, whose memory the arena takes back once nothing refers to it any more.
inline Tensor new_output(const Tensor& like, std::initializer_list<int64_t> shape, ScalarType dtype) {
#if defined(__linux__)
  int64_t bytes = dtype == ScalarType::Double                                        ? 8
                  : dtype == ScalarType::Short || dtype == ScalarType::BFloat16 ? 2
                                                                                : 4;
  for (const int64_t size : shape) bytes *= size;
  const bool large = torch_from_blob && bytes >= static_cast<int64_t>(Arena::kLarge);  // others are malloc's, as ever
  const Block block = large ? Arena::shared().take(bytes) : Block{nullptr, 0};
  if (block.data) {
    const std::vector<int64_t> sizes(shape);
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t n = sizes.size() - 1; n > 0; --n) strides[n - 1] = strides[n] * sizes[n];
    AtenTensorHandle made;
    const auto give_back = [](void* data, void* size) {
      Arena::shared().give_back({data, reinterpret_cast<uintptr_t>(size)});
    };
    STABLE_TORCH_ERROR_CODE_CHECK(
        torch_from_blob(block.data, static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(), 0,
                        torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype)),
                        aoti_torch_device_type_cpu(), -1, &made, aoti_torch_layout_strided(), nullptr, 0, give_back,
                        reinterpret_cast<void*>(block.size)));
    return Tensor(made);
  }
#endif
  return torch::stable::new_empty(like, shape, dtype);
}

}  // namespace monet
