// What every op asks of its tensors, on LibTorch's stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <initializer_list>
#include <optional>

#include "arguments.h"
#include "levels.h"

namespace monet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A contiguous CPU tensor of this dtype and shape; a size of -1 may be anything.
inline void check(const Tensor& t, const char* name, ScalarType dtype, std::initializer_list<int64_t> shape) {
  bool good = t.is_cpu() && t.is_contiguous() && t.scalar_type() == dtype &&
              t.dim() == static_cast<int64_t>(shape.size());
  if (good) {
    int64_t at = 0;
    for (int64_t size : shape) good = (size < 0 || t.size(at) == size) && good, ++at;
  }
  STD_TORCH_CHECK(good, name, " must be contiguous, on the CPU and of the dtype and shape that the op documents");
}

template <class T>
constexpr ScalarType dtype_of() {
  return sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float;
}

// One side of a routing. Values are trusted here: indices below `keys`, counts at most the width (sparse.py checks).
template <class T>
Side<T> side(const Tensor& indices, const Tensor& probs, const Tensor& counts, int64_t tokens, int64_t heads) {
  check(indices, "indices", ScalarType::Short, {tokens, heads, -1});
  check(probs, "probs", dtype_of<T>(), {tokens, heads, indices.size(2)});
  check(counts, "counts", ScalarType::Int, {tokens, heads});
  return {indices.const_data_ptr<int16_t>(), probs.const_data_ptr<T>(), counts.const_data_ptr<int32_t>(),
          indices.size(2)};
}

inline int64_t checked_level(int64_t level) {
  STD_TORCH_CHECK(level <= best_level(), "this machine lacks the instruction set asked for");
  return level < 0 ? best_level() : level;
}

}  // namespace monet
