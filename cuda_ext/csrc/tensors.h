// Checks of the tensors that every op takes, on any device, on LibTorch's stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <initializer_list>
#include <optional>

#include "arguments.h"

namespace monet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using std::optional;

// Throws unless `t` is contiguous, of this dtype and shape, and on the device of `first`; size -1 matches any.
inline void check(const Tensor& t, const char* name, const Tensor& first, ScalarType dtype,
                  std::initializer_list<int64_t> shape) {
  bool good = t.is_cpu() == first.is_cpu() && t.is_cuda() == first.is_cuda() &&
              t.get_device_index() == first.get_device_index() && t.is_contiguous() && t.scalar_type() == dtype &&
              t.dim() == static_cast<int64_t>(shape.size());
  if (good) {
    int64_t at = 0;
    for (int64_t size : shape) good = (size < 0 || t.size(at) == size) && good, ++at;
  }
  STD_TORCH_CHECK(good, name, " must be contiguous, on the ", first.is_cuda() ? "GPU" : "CPU",
                  " and of the documented dtype and shape");
}

template <class T>
constexpr ScalarType dtype_of() {
  return sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float;
}

// The numbers of a checked tensor.
template <class T>
const T* numbers(const Tensor& t, const char* name, const Tensor& first, std::initializer_list<int64_t> shape) {
  check(t, name, first, dtype_of<T>(), shape);
  return t.const_data_ptr<T>();
}

// The same, or null if there is no tensor.
template <class T>
const T* numbers(const optional<Tensor>& t, const char* name, const Tensor& first,
                 std::initializer_list<int64_t> shape) {
  return t ? numbers<T>(*t, name, first, shape) : nullptr;
}

inline int64_t heads_of(const Tensor& counts) { return counts.dim() == 2 ? counts.size(1) : 0; }

// One side of a routing. Values are trusted here: indices below `keys`, counts at most the width (sparse.py checks).
template <class T>
Side<T> side(const Tensor& indices, const Tensor& probs, const Tensor& counts, const Tensor& first, int64_t tokens,
             int64_t heads) {
  check(indices, "indices", first, ScalarType::Short, {tokens, heads, -1});
  check(probs, "probs", first, dtype_of<T>(), {tokens, heads, indices.size(2)});
  check(counts, "counts", first, ScalarType::Int, {tokens, heads});
  return {indices.const_data_ptr<int16_t>(), probs.const_data_ptr<T>(), counts.const_data_ptr<int32_t>(),
          indices.size(2)};
}

// What `mix` takes besides activations, for activations (tokens, keys, units).
template <class T>
Mix<T> mix_routing(const Tensor& a1, const Tensor& indices1, const Tensor& probs1, const Tensor& counts1,
                   const Tensor& indices2, const Tensor& probs2, const Tensor& counts2,
                   const optional<Tensor>& factors) {
  Mix<T> mix{};
  const int64_t tokens = a1.size(0);
  mix.heads = heads_of(counts1), mix.keys = a1.size(1), mix.units = a1.size(2);
  mix.factors = numbers<T>(factors, "factors", a1, {mix.keys, mix.keys});
  mix.one = side<T>(indices1, probs1, counts1, a1, tokens, mix.heads);
  mix.two = side<T>(indices2, probs2, counts2, a1, tokens, mix.heads);
  return mix;
}

// The inputs of `mix`, with null outputs. a2 is empty for horizontal experts.
template <class T>
Mix<T> mix_inputs(const Tensor& a1, const optional<Tensor>& a2, const Tensor& indices1, const Tensor& probs1,
                  const Tensor& counts1, const Tensor& indices2, const Tensor& probs2, const Tensor& counts2,
                  const optional<Tensor>& factors) {
  const T* activations = numbers<T>(a1, "a1", a1, {-1, -1, -1});
  Mix<T> mix = mix_routing<T>(a1, indices1, probs1, counts1, indices2, probs2, counts2, factors);
  mix.a1 = activations;
  mix.a2 = numbers<T>(a2, "a2", a1, {a1.size(0), mix.keys, mix.units});
  return mix;
}

// The inputs of `contributions`: those of `mix`, and projections with one row or one per token. Outputs are null.
template <class T>
Contributions<T> contribution_inputs(const Mix<T>& in, const Tensor& a1, const optional<Tensor>& d11,
                                     const optional<Tensor>& d12, const Tensor& d21, const optional<Tensor>& d22,
                                     const optional<Tensor>& c1, const Tensor& c2) {
  const int64_t tokens = a1.size(0), rows = d21.dim() == 3 ? d21.size(0) : 0;
  STD_TORCH_CHECK(rows == tokens || rows == 1, "d21 must have one row, or one per token");
  STD_TORCH_CHECK(!in.a2 || (d11 && d12 && d22 && c1), "vertical experts need all projections");
  STD_TORCH_CHECK(tokens * in.heads <= INT32_MAX, "too many tokens in one call");
  const std::initializer_list<int64_t> wide = {rows, in.keys, in.units}, narrow = {rows, in.keys};
  Contributions<T> work{};
  work.a1 = in.a1, work.a2 = in.a2, work.one = in.one, work.two = in.two, work.factors = in.factors;
  work.d11 = numbers<T>(d11, "d11", a1, wide), work.d12 = numbers<T>(d12, "d12", a1, wide);
  work.d21 = numbers<T>(d21, "d21", a1, wide), work.d22 = numbers<T>(d22, "d22", a1, wide);
  work.c1 = numbers<T>(c1, "c1", a1, narrow), work.c2 = numbers<T>(c2, "c2", a1, narrow);
  work.row_step = rows == 1 ? 0 : 1;
  work.heads = in.heads, work.keys = in.keys, work.units = in.units;
  return work;
}

// The inputs of `accumulate`, with key set 1 apart, which each device sorts in its own way.
struct Counted {
  Accumulate work;
  Side<float> one;
  int64_t tokens, heads;
};

inline Counted accumulate_inputs(Tensor& tokens, Tensor& mass, Tensor& histogram, Tensor& best_scores,
                                 Tensor& best_rows, Tensor& sample_priorities, Tensor& sample_scores,
                                 const Tensor& indices1, const Tensor& probs1, const Tensor& counts1,
                                 const Tensor& indices2, const Tensor& probs2, const Tensor& counts2,
                                 const Tensor& labels, const Tensor& rows, const Tensor& starts,
                                 const Tensor& priorities, int64_t keys, int64_t top, int64_t per_document) {
  check(labels, "labels", tokens, ScalarType::Long, {-1});
  const int64_t count = labels.size(0), heads = heads_of(counts1), experts = keys * keys;
  check(rows, "rows", tokens, ScalarType::Long, {count});
  check(starts, "starts", tokens, ScalarType::Long, {count});
  check(priorities, "priorities", tokens, ScalarType::Long, {count});
  check(tokens, "tokens", tokens, ScalarType::Long, {experts, -1});
  check(mass, "mass", tokens, ScalarType::Long, {experts, tokens.size(1)});
  check(histogram, "histogram", tokens, ScalarType::Long, {experts, -1});
  check(best_scores, "best_scores", tokens, ScalarType::Float, {experts, -1});
  check(best_rows, "best_rows", tokens, ScalarType::Long, {experts, best_scores.size(1)});
  check(sample_priorities, "sample_priorities", tokens, ScalarType::Long, {experts, histogram.size(1), -1});
  check(sample_scores, "sample_scores", tokens, ScalarType::Float,
        {experts, histogram.size(1), sample_priorities.size(2)});
  STD_TORCH_CHECK(histogram.size(1) >= 1 && best_scores.size(1) >= 1 && per_document >= 1,
                  "bins, best and per_document must be at least 1");
  STD_TORCH_CHECK(count * heads <= INT32_MAX, "too many tokens in one call");
  const Side<float> one = side<float>(indices1, probs1, counts1, tokens, count, heads);
  const Side<float> two = side<float>(indices2, probs2, counts2, tokens, count, heads);
  const Accumulate work{
      two, labels.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>(), starts.const_data_ptr<int64_t>(),
      priorities.const_data_ptr<int64_t>(), keys, tokens.size(1), histogram.size(1), best_scores.size(1), per_document,
      sample_priorities.size(2), static_cast<int32_t>(top), tokens.mutable_data_ptr<int64_t>(),
      mass.mutable_data_ptr<int64_t>(), histogram.mutable_data_ptr<int64_t>(), best_scores.mutable_data_ptr<float>(),
      best_rows.mutable_data_ptr<int64_t>(), sample_priorities.mutable_data_ptr<int64_t>(),
      sample_scores.mutable_data_ptr<float>()};
  return {work, one, count, heads};
}

}  // namespace monet
