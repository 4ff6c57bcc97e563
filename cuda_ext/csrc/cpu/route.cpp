// The op `monet::route_kernel` on LibTorch's stable ABI: one binary for every torch from 2.10 and every CPython.
#include "route.h"

#include <Python.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <tuple>
#include <vector>

#include "checked_level.h"
#include "output.h"

namespace monet {
namespace {

// A span of rows and its lists.
struct Span {
  int64_t begin, end;
  Lists lists;
};

// Vectors are exactly as wide as the machine's, so a level is more than a target of the same function.
#define MONET_ROUTE(target, level, Level)                                                                        \
  target void rows_##level(const Logits& a, int64_t begin, int64_t end, Lists& lists) {                          \
    route_rows<Level>(a, begin, end, lists);                                                                     \
  }                                                                                                              \
  target void lay_out_##level(const Logits& a, const Lists& lists, int64_t begin, int64_t end, int32_t width,    \
                              int16_t* indices, float* probs) {                                                  \
    lay_out<Level>(a, lists, begin, end, width, indices, probs);                                                 \
  }
MONET_ROUTE(, baseline, Baseline)
#if defined(__x86_64__)
MONET_ROUTE(MONET_AVX2, avx2, Avx2)
MONET_ROUTE(MONET_AVX512, skylake, Skylake)
MONET_ROUTE(MONET_VBMI2, icelake, IceLake)
constexpr decltype(&rows_baseline) kRows[] = {rows_baseline, rows_avx2, rows_skylake, rows_icelake};
constexpr decltype(&lay_out_baseline) kLayOut[] = {lay_out_baseline, lay_out_avx2, lay_out_skylake, lay_out_icelake};
#else
constexpr decltype(&rows_baseline) kRows[] = {rows_baseline};
constexpr decltype(&lay_out_baseline) kLayOut[] = {lay_out_baseline};
#endif

std::tuple<Tensor, Tensor, Tensor> route(Tensor logits, Tensor mean, Tensor var, double sigma, int64_t level) {
  check(logits, "logits", logits, ScalarType::Float, {-1, -1, -1});
  const int64_t tokens = logits.size(0), heads = logits.size(1), keys = logits.size(2), count = tokens * heads;
  STD_TORCH_CHECK(keys >= 1 && keys <= INT16_MAX, "logits must have 1 to 32767 keys");
  check(mean, "mean", logits, ScalarType::Float, {heads});
  check(var, "var", logits, ScalarType::Float, {heads});
  STD_TORCH_CHECK(std::isfinite(sigma), "sigma must be finite");
  const int64_t chosen = checked_level(level);

  const float* means = mean.const_data_ptr<float>();
  const float* variances = var.const_data_ptr<float>();
  std::vector<float> scale(heads), least(heads);
  for (int64_t head = 0; head < heads; ++head) {
    STD_TORCH_CHECK(std::isfinite(means[head]), "mean must be finite");
    STD_TORCH_CHECK(std::isfinite(variances[head]) && variances[head] >= 0, "var must be finite and not negative");
    scale[head] = 1.0f / std::sqrt(variances[head] + 1e-5f);
    least[head] = least_active(means[head], scale[head], static_cast<float>(sigma));
  }

  Tensor counts = torch::stable::new_empty(logits, {tokens, heads}, ScalarType::Int);
  std::vector<float> totals(count);
  int32_t* lengths = counts.mutable_data_ptr<int32_t>();
  const Logits rows{logits.const_data_ptr<float>(), means, scale.data(), least.data(), heads, keys, lengths,
                    totals.data()};
  std::vector<Span> spans;
  std::mutex mutex;
  // About 20 microseconds of work a task: waking a thread for less costs more than it saves.
  const int64_t grain = std::max<int64_t>(1, 131072 / keys);
  torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    Span span{begin, end, Lists(end - begin)};
    kRows[chosen](rows, begin, end, span.lists);
    const std::lock_guard<std::mutex> lock(mutex);
    spans.push_back(std::move(span));
  });

  int32_t fewest = 0, most = 0;
  for (int64_t row = 0; row < count; ++row) {
    fewest = std::min(fewest, lengths[row]);
    most = std::max(most, lengths[row]);
  }
  STD_TORCH_CHECK(fewest >= 0, "logits must not hold NaN or +inf, nor a row of nothing but -inf");
  Tensor indices = new_output(logits, {tokens, heads, most}, ScalarType::Short);
  Tensor probs = new_output(logits, {tokens, heads, most}, ScalarType::Float);
  int16_t* to_indices = indices.mutable_data_ptr<int16_t>();
  float* to_probs = probs.mutable_data_ptr<float>();
  torch::stable::parallel_for(0, static_cast<int64_t>(spans.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      kLayOut[chosen](rows, spans[n].lists, spans[n].begin, spans[n].end, most, to_indices, to_probs);
  });
  return {indices, probs, counts};
}

}  // namespace
}  // namespace monet

STABLE_TORCH_LIBRARY(monet, m) {
  m.def(
      "route_kernel(Tensor logits, Tensor mean, Tensor var, float sigma, int level=-1) "
      "-> (Tensor indices, Tensor probs, Tensor counts)");
  m.def("best_level() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CPU, m) { m.impl("route_kernel", TORCH_BOX(&monet::route)); }

STABLE_TORCH_LIBRARY_IMPL(monet, CompositeExplicitAutograd, m) { m.impl("best_level", TORCH_BOX(&monet::best_level)); }

// An empty Python module, so that `import cuda_ext._C` loads the library too.
extern "C" PyObject* PyInit__C() {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}
