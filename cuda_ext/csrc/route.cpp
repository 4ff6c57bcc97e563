// The op `monet::route_padded` on LibTorch's stable ABI: one binary for every torch from 2.10 and every CPython.
#include "route.h"

#include <Python.h>

#include <algorithm>
#include <tuple>

#include "tensors.h"

namespace monet {
namespace {

// Vectors are exactly as wide as the machine's, so a level is more than a target of the same function.
void rows_baseline(const Rows& a, int64_t begin, int64_t end) { route_rows<Vectors<16>>(a, begin, end); }
#if defined(__x86_64__)
MONET_AVX2 void rows_avx2(const Rows& a, int64_t begin, int64_t end) { route_rows<Vectors<32>>(a, begin, end); }
MONET_AVX512 void rows_avx512(const Rows& a, int64_t begin, int64_t end) { route_rows<Vectors<64>>(a, begin, end); }
void (*const kRows[])(const Rows&, int64_t, int64_t) = {rows_baseline, rows_avx2, rows_avx512};
#else
void (*const kRows[])(const Rows&, int64_t, int64_t) = {rows_baseline};
#endif

void check_vector(const Tensor& t, const char* name, int64_t heads) {
  STD_TORCH_CHECK(t.is_cpu() && t.scalar_type() == ScalarType::Float && t.is_contiguous() && t.dim() == 1 &&
                      t.size(0) == heads,
                  name, " must be contiguous float32 (heads,) on the CPU");
}

std::tuple<Tensor, Tensor, Tensor> route_padded(
    Tensor logits, Tensor mean, Tensor scale, double sigma, int64_t width, int64_t level) {
  STD_TORCH_CHECK(
      logits.is_cpu() && logits.scalar_type() == ScalarType::Float && logits.is_contiguous() && logits.dim() == 3,
      "logits must be contiguous float32 (tokens, heads, keys) on the CPU");
  const int64_t tokens = logits.size(0), heads = logits.size(1), keys = logits.size(2);
  STD_TORCH_CHECK(keys >= 1 && keys <= INT16_MAX, "keys must lie in 1 .. 32767");
  STD_TORCH_CHECK(width >= 1, "width must be positive");
  check_vector(mean, "mean", heads);
  check_vector(scale, "scale", heads);
  const auto run = kRows[checked_level(level)];

  Tensor indices = torch::stable::new_empty(logits, {tokens, heads, width}, ScalarType::Short);
  Tensor probs = torch::stable::new_empty(logits, {tokens, heads, width}, ScalarType::Float);
  Tensor counts = torch::stable::new_empty(logits, {tokens, heads}, ScalarType::Int);
  const Rows rows{
      logits.const_data_ptr<float>(), mean.const_data_ptr<float>(), scale.const_data_ptr<float>(),
      static_cast<float>(sigma), heads, keys, width,
      indices.mutable_data_ptr<int16_t>(), probs.mutable_data_ptr<float>(), counts.mutable_data_ptr<int32_t>()};
  // About 30 microseconds of work a task: waking a thread for less costs more than it saves.
  const int64_t grain = std::max<int64_t>(1, 131072 / keys);
  torch::stable::parallel_for(0, tokens * heads, grain, [&](int64_t begin, int64_t end) { run(rows, begin, end); });
  return {indices, probs, counts};
}

}  // namespace
}  // namespace monet

STABLE_TORCH_LIBRARY(monet, m) {
  m.def(
      "route_padded(Tensor logits, Tensor mean, Tensor scale, float sigma, int width, int level=-1) "
      "-> (Tensor indices, Tensor probs, Tensor counts)");
  m.def("best_level() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CPU, m) { m.impl("route_padded", TORCH_BOX(&monet::route_padded)); }

STABLE_TORCH_LIBRARY_IMPL(monet, CompositeExplicitAutograd, m) { m.impl("best_level", TORCH_BOX(&monet::best_level)); }

// An empty Python module, so that `import cuda_ext._C` loads the library too.
extern "C" PyObject* PyInit__C() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}
