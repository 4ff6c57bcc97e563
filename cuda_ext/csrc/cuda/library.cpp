// The CUDA implementations of the ops, in a library apart: on LibTorch's stable ABI of 2.13, which first tells the
// stream. It imports without a GPU, and on a torch without CUDA.
#include <Python.h>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <initializer_list>
#include <optional>
#include <tuple>

#include "launch.h"

namespace monet {
namespace {

using std::optional;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Makes a tensor's device the current one, and finds its stream.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& t)
      : guard_(t.get_device_index()), stream_(torch::stable::accelerator::getCurrentStream(t.get_device_index())) {}
  void* stream() const { return stream_.nativeHandle(); }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  torch::stable::accelerator::Stream stream_;
};

void succeed(const char* wrong) { STD_TORCH_CHECK(wrong == nullptr, wrong); }

void check(const Tensor& t, const char* name, const Tensor& first, ScalarType dtype,
           std::initializer_list<int64_t> shape) {
  bool good = t.is_cuda() && t.get_device_index() == first.get_device_index() && t.is_contiguous() &&
              t.scalar_type() == dtype && t.dim() == static_cast<int64_t>(shape.size());
  if (good) {
    int64_t at = 0;
    for (int64_t size : shape) good = (size < 0 || t.size(at) == size) && good, ++at;
  }
  STD_TORCH_CHECK(good, name, " must be contiguous, on the GPU and of the dtype and shape that the op documents");
}

Side<float> side(const Tensor& indices, const Tensor& probs, const Tensor& counts, const Tensor& first, int64_t tokens,
                 int64_t heads) {
  check(indices, "indices", first, ScalarType::Short, {tokens, heads, -1});
  check(probs, "probs", first, ScalarType::Float, {tokens, heads, indices.size(2)});
  check(counts, "counts", first, ScalarType::Int, {tokens, heads});
  return {indices.const_data_ptr<int16_t>(), probs.const_data_ptr<float>(), counts.const_data_ptr<int32_t>(),
          indices.size(2)};
}

const float* numbers(const optional<Tensor>& t, const char* name, const Tensor& first,
                     std::initializer_list<int64_t> shape) {
  if (!t) return nullptr;
  check(*t, name, first, ScalarType::Float, shape);
  return t->const_data_ptr<float>();
}

std::tuple<Tensor, Tensor, Tensor> route_padded(Tensor logits, Tensor mean, Tensor scale, double sigma, int64_t width) {
  const bool bf16 = logits.scalar_type() == ScalarType::BFloat16;
  check(logits, "logits", logits, bf16 ? ScalarType::BFloat16 : ScalarType::Float, {-1, -1, -1});
  const int64_t tokens = logits.size(0), heads = logits.size(1), keys = logits.size(2);
  STD_TORCH_CHECK(keys >= 1 && keys <= INT16_MAX, "keys must lie in 1 .. 32767");
  STD_TORCH_CHECK(width >= 1, "width must be positive");
  check(mean, "mean", logits, ScalarType::Float, {heads});
  check(scale, "scale", logits, ScalarType::Float, {heads});
  Tensor indices = torch::stable::new_empty(logits, {tokens, heads, width}, ScalarType::Short);
  Tensor probs = torch::stable::new_empty(logits, {tokens, heads, width}, ScalarType::Float);
  Tensor counts = torch::stable::new_empty(logits, {tokens, heads}, ScalarType::Int);
  const Rows rows{nullptr, mean.const_data_ptr<float>(), scale.const_data_ptr<float>(), static_cast<float>(sigma),
                  heads, keys, width, indices.mutable_data_ptr<int16_t>(), probs.mutable_data_ptr<float>(),
                  counts.mutable_data_ptr<int32_t>()};
  const OnDevice device(logits);
  succeed(launch_route(logits.data_ptr(), bf16, rows, tokens * heads, device.stream()));
  return {indices, probs, counts};
}

Mix<float> inputs(const Tensor& a1, const optional<Tensor>& a2, const Tensor& indices1, const Tensor& probs1,
                  const Tensor& counts1, const Tensor& indices2, const Tensor& probs2, const Tensor& counts2,
                  const optional<Tensor>& factors) {
  check(a1, "a1", a1, ScalarType::Float, {-1, -1, -1});
  const int64_t tokens = a1.size(0), keys = a1.size(1), units = a1.size(2), heads = counts1.dim() == 2 ? counts1.size(1) : 0;
  Mix<float> mix{};
  mix.a1 = a1.const_data_ptr<float>();
  mix.a2 = numbers(a2, "a2", a1, {tokens, keys, units});
  mix.one = side(indices1, probs1, counts1, a1, tokens, heads);
  mix.two = side(indices2, probs2, counts2, a1, tokens, heads);
  mix.factors = numbers(factors, "factors", a1, {keys, keys});
  mix.heads = heads, mix.keys = keys, mix.units = units;
  return mix;
}

std::tuple<Tensor, Tensor> mix_horizontal(Tensor a, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2,
                                          Tensor probs2, Tensor counts2, optional<Tensor> factors, int64_t) {
  Mix<float> mix = inputs(a, {}, indices1, probs1, counts1, indices2, probs2, counts2, factors);
  Tensor top = torch::stable::empty_like(a), bias = torch::stable::new_empty(a, {a.size(0), mix.keys});
  mix.cross2 = top.mutable_data_ptr<float>(), mix.columns = bias.mutable_data_ptr<float>();
  const OnDevice device(a);
  succeed(launch_mix(mix, a.size(0), device.stream()));
  return {top, bias};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> mix_vertical(
    Tensor a1, Tensor a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2,
    Tensor counts2, optional<Tensor> factors, int64_t) {
  Mix<float> mix = inputs(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors);
  Tensor straight1 = torch::stable::empty_like(a1), cross1 = torch::stable::empty_like(a1);
  Tensor cross2 = torch::stable::empty_like(a1), straight2 = torch::stable::empty_like(a1);
  Tensor rows = torch::stable::new_empty(a1, {a1.size(0), mix.keys});
  Tensor columns = torch::stable::new_empty(a1, {a1.size(0), mix.keys});
  mix.straight1 = straight1.mutable_data_ptr<float>(), mix.cross1 = cross1.mutable_data_ptr<float>();
  mix.rows = rows.mutable_data_ptr<float>(), mix.cross2 = cross2.mutable_data_ptr<float>();
  mix.straight2 = straight2.mutable_data_ptr<float>(), mix.columns = columns.mutable_data_ptr<float>();
  const OnDevice device(a1);
  succeed(launch_mix(mix, a1.size(0), device.stream()));
  return {straight1, cross1, rows, cross2, straight2, columns};
}

void accumulate(Tensor tokens, Tensor mass, Tensor histogram, Tensor best_scores, Tensor best_rows, Tensor indices1,
                Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2, Tensor counts2, Tensor labels,
                Tensor rows, Tensor starts, int64_t keys, int64_t top, int64_t per_document, int64_t) {
  check(labels, "labels", tokens, ScalarType::Long, {-1});
  const int64_t count = labels.size(0), heads = counts1.dim() == 2 ? counts1.size(1) : 0, experts = keys * keys;
  check(rows, "rows", tokens, ScalarType::Long, {count});
  check(starts, "starts", tokens, ScalarType::Long, {count});
  check(tokens, "tokens", tokens, ScalarType::Long, {experts, -1});
  check(mass, "mass", tokens, ScalarType::Long, {experts, tokens.size(1)});
  check(histogram, "histogram", tokens, ScalarType::Long, {experts, -1});
  check(best_scores, "best_scores", tokens, ScalarType::Float, {experts, -1});
  check(best_rows, "best_rows", tokens, ScalarType::Long, {experts, best_scores.size(1)});
  STD_TORCH_CHECK(histogram.size(1) >= 1 && best_scores.size(1) >= 1 && per_document >= 1,
                  "there must be a bin, a place in the lists and an entry a document");
  const Side<float> one = side(indices1, probs1, counts1, tokens, count, heads);
  const Side<float> two = side(indices2, probs2, counts2, tokens, count, heads);
  const Accumulate work{
      two, labels.const_data_ptr<int64_t>(), rows.const_data_ptr<int64_t>(), starts.const_data_ptr<int64_t>(),
      keys, tokens.size(1), histogram.size(1), best_scores.size(1), per_document, static_cast<int32_t>(top),
      tokens.mutable_data_ptr<int64_t>(), mass.mutable_data_ptr<int64_t>(), histogram.mutable_data_ptr<int64_t>(),
      best_scores.mutable_data_ptr<float>(), best_rows.mutable_data_ptr<int64_t>()};
  Tensor table = torch::stable::new_empty(probs1, {keys, count * heads});
  const OnDevice device(tokens);
  succeed(launch_accumulate(work, one, count, heads, table.mutable_data_ptr<float>(), device.stream()));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> contribution_pairs(
    Tensor a1, optional<Tensor> a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2,
    Tensor counts2, optional<Tensor> factors, optional<Tensor> d11, optional<Tensor> d12, Tensor d21,
    optional<Tensor> d22, optional<Tensor> c1, Tensor c2, int64_t capacity) {
  const Mix<float> in = inputs(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors);
  const int64_t tokens = a1.size(0), rows = d21.dim() == 3 ? d21.size(0) : 0;
  STD_TORCH_CHECK(rows == tokens || rows == 1, "d21 must have one row, or one a token");
  STD_TORCH_CHECK(!a2 || (d11 && d12 && d22 && c1), "vertical experts need all projections");
  const std::initializer_list<int64_t> wide = {rows, in.keys, in.units}, narrow = {rows, in.keys};
  Tensor experts = torch::stable::new_empty(a1, {tokens, capacity}, ScalarType::Int);
  Tensor values = torch::stable::new_empty(a1, {tokens, capacity});
  Tensor counts = torch::stable::new_empty(a1, {tokens}, ScalarType::Int);
  Tensor totals = torch::stable::new_empty(a1, {tokens}, ScalarType::Double);
  const Contributions<float> work{
      in.a1, in.a2, in.one, in.two, in.factors,
      numbers(d11, "d11", a1, wide), numbers(d12, "d12", a1, wide), numbers(d21, "d21", a1, wide),
      numbers(d22, "d22", a1, wide), numbers(c1, "c1", a1, narrow), numbers(c2, "c2", a1, narrow),
      rows == 1 ? 0 : 1, in.heads, in.keys, in.units, 0, nullptr, nullptr, totals.mutable_data_ptr<double>()};
  const OnDevice device(a1);
  succeed(launch_contributions(work, tokens, capacity, experts.mutable_data_ptr<int32_t>(),
                               values.mutable_data_ptr<float>(), counts.mutable_data_ptr<int32_t>(), device.stream()));
  return {experts, values, counts, totals};
}

}  // namespace
}  // namespace monet

STABLE_TORCH_LIBRARY_FRAGMENT(monet, m) {
  m.def(
      "route_padded(Tensor logits, Tensor mean, Tensor scale, float sigma, int width) "
      "-> (Tensor indices, Tensor probs, Tensor counts)");
  m.def(
      "contribution_pairs(Tensor a1, Tensor? a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, "
      "Tensor probs2, Tensor counts2, Tensor? factors, Tensor? d11, Tensor? d12, Tensor d21, Tensor? d22, Tensor? c1, "
      "Tensor c2, int capacity) -> (Tensor experts, Tensor values, Tensor counts, Tensor totals)");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CUDA, m) {
  m.impl("route_padded", TORCH_BOX(&monet::route_padded));
  m.impl("mix_horizontal_kernel", TORCH_BOX(&monet::mix_horizontal));
  m.impl("mix_vertical_kernel", TORCH_BOX(&monet::mix_vertical));
  m.impl("accumulate_kernel", TORCH_BOX(&monet::accumulate));
  m.impl("contribution_pairs", TORCH_BOX(&monet::contribution_pairs));
}

// An empty Python module, so that `import cuda_ext._CUDA` loads the library too.
extern "C" PyObject* PyInit__CUDA() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_CUDA", nullptr, -1, nullptr, nullptr, nullptr, nullptr,
                                   nullptr};
  return PyModule_Create(&definition);
}
