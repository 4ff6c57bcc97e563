// The op `monet::route_padded` on LibTorch's stable ABI: one binary for every torch from 2.10 and every CPython.
#include <Python.h>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "rows.h"

namespace monet {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Kernel = void (*)(const Rows&, int64_t, int64_t, const Scratch&);

void rows_baseline(const Rows& a, int64_t begin, int64_t end, const Scratch& s) {
  route_rows<Vectors<16>>(a, begin, end, s);
}

// The same source compiled for wider vectors; chosen when the library runs, so that one binary serves any machine.
#if defined(__x86_64__)
#define MONET_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define MONET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,popcnt")))

MONET_AVX2 void rows_avx2(const Rows& a, int64_t begin, int64_t end, const Scratch& s) {
  route_rows<Vectors<32>>(a, begin, end, s);
}
MONET_AVX512 void rows_avx512(const Rows& a, int64_t begin, int64_t end, const Scratch& s) {
  route_rows<Vectors<64>>(a, begin, end, s);
}
#endif

// Levels: 0 baseline, 1 AVX2, 2 AVX-512.
int64_t best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return 1;
#endif
  return 0;
}

Kernel kernel(int64_t level) {
#if defined(__x86_64__)
  if (level == 2) return rows_avx512;
  if (level == 1) return rows_avx2;
#endif
  return rows_baseline;
}

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
  STD_TORCH_CHECK(level <= best_level(), "this machine lacks the instruction set asked for");
  check_vector(mean, "mean", heads);
  check_vector(scale, "scale", heads);

  Tensor indices = torch::stable::new_empty(logits, {tokens, heads, width}, ScalarType::Short);
  Tensor probs = torch::stable::new_empty(logits, {tokens, heads, width}, ScalarType::Float);
  Tensor counts = torch::stable::new_empty(logits, {tokens, heads}, ScalarType::Int);
  const Rows rows{
      logits.const_data_ptr<float>(), mean.const_data_ptr<float>(), scale.const_data_ptr<float>(),
      static_cast<float>(sigma), heads, keys, width,
      indices.mutable_data_ptr<int16_t>(), probs.mutable_data_ptr<float>(), counts.mutable_data_ptr<int32_t>()};
  const Kernel run = kernel(level < 0 ? best_level() : level);
  // About 30 microseconds of work a task: waking a thread for less costs more than it saves.
  const int64_t grain = std::max<int64_t>(1, 131072 / keys);
  torch::stable::parallel_for(0, tokens * heads, grain, [&](int64_t begin, int64_t end) {
    const int64_t room = padded(keys);
    const auto marks = std::make_unique<uint8_t[]>(room);
    const auto found = std::make_unique<int16_t[]>(room + 8);  // `find` writes up to 7 past the last
    const auto kept = std::make_unique<float[]>(room);
    run(rows, begin, end, {marks.get(), found.get(), kept.get()});
  });
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
