// The CUDA implementations of the ops, in a separate library: it needs LibTorch's stable ABI of 2.13, the first that
// gives access to the current stream. It imports without a GPU, and on a torch without CUDA.
#include <Python.h>

#include <torch/csrc/stable/accelerator.h>

#include <tuple>

#include "../tensors.h"
#include "launch.h"

namespace monet {
namespace {

// Makes a tensor's device the current one and looks up its stream.
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

std::tuple<Tensor, Tensor> mix_horizontal(Tensor a, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2,
                                          Tensor probs2, Tensor counts2, optional<Tensor> factors, int64_t) {
  Mix<float> mix = mix_inputs<float>(a, {}, indices1, probs1, counts1, indices2, probs2, counts2, factors);
  Tensor top = torch::stable::empty_like(a), bias = torch::stable::new_empty(a, {a.size(0), mix.keys});
  mix.cross2 = top.mutable_data_ptr<float>(), mix.columns = bias.mutable_data_ptr<float>();
  const OnDevice device(a);
  succeed(launch_mix(mix, a.size(0), device.stream()));
  return {top, bias};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> mix_vertical(
    Tensor a1, Tensor a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2,
    Tensor counts2, optional<Tensor> factors, int64_t) {
  Mix<float> mix = mix_inputs<float>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors);
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

void accumulate(Tensor tokens, Tensor mass, Tensor histogram, Tensor best_scores, Tensor best_rows,
                Tensor sample_priorities, Tensor sample_scores, Tensor indices1, Tensor probs1, Tensor counts1,
                Tensor indices2, Tensor probs2, Tensor counts2, Tensor labels, Tensor rows, Tensor starts,
                Tensor priorities, int64_t keys, int64_t top, int64_t per_document, int64_t) {
  const Counted in = accumulate_inputs(tokens, mass, histogram, best_scores, best_rows, sample_priorities,
                                       sample_scores, indices1, probs1, counts1, indices2, probs2, counts2, labels,
                                       rows, starts, priorities, keys, top, per_document);
  Tensor table = torch::stable::new_empty(probs1, {keys, in.tokens * in.heads});
  const OnDevice device(tokens);
  succeed(launch_accumulate(in.work, in.one, in.tokens, in.heads, table.mutable_data_ptr<float>(), device.stream()));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> contribution_pairs(
    Tensor a1, optional<Tensor> a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2,
    Tensor counts2, optional<Tensor> factors, optional<Tensor> d11, optional<Tensor> d12, Tensor d21,
    optional<Tensor> d22, optional<Tensor> c1, Tensor c2, int64_t capacity) {
  const Mix<float> mix = mix_inputs<float>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors);
  Contributions<float> work = contribution_inputs<float>(mix, a1, d11, d12, d21, d22, c1, c2);
  const int64_t tokens = a1.size(0);
  Tensor experts = torch::stable::new_empty(a1, {tokens, capacity}, ScalarType::Int);
  Tensor values = torch::stable::new_empty(a1, {tokens, capacity});
  Tensor counts = torch::stable::new_empty(a1, {tokens}, ScalarType::Int);
  Tensor totals = torch::stable::new_empty(a1, {tokens}, ScalarType::Double);
  work.totals = totals.mutable_data_ptr<double>();
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
