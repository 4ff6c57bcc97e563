// The kernels behind C functions that run them on a CPU. MONET_KERNEL names the one to compile; each returns what went
// wrong, or null.
#include "cuda_on_cpu.h"

#define ROUTE 1
#define MIX 2
#define ACCUMULATE 3
#define CONTRIBUTIONS 4

#include "arguments.h"

using namespace monet;

namespace {

const char* run(int descending, unsigned grid, unsigned block, int64_t shared_bytes,
                const std::function<void()>& body) {
  emulation::machine.descending = descending != 0;
  return emulation::launch(grid, block, static_cast<size_t>(shared_bytes), body)
             ? nullptr
             : emulation::machine.error.c_str();
}

}  // namespace

extern "C" uint64_t emulated_collectives() { return emulation::machine.collectives; }

#if MONET_KERNEL == ROUTE
#include "cuda/route.cuh"

template <class T, int kSmall>
static const char* route_as(int descending, int aligned, const DeviceRows<T>& a) {
  const auto blocks = static_cast<unsigned>((a.count + 7) / 8);
  const auto go = [&](auto kernel) { return run(descending, blocks, kRouteThreads, 0, [&] { kernel(a); }); };
  if (a.rows.keys <= 512) return aligned ? go(route_rows<T, kSmall, true>) : go(route_rows<T, kSmall, false>);
  if (a.rows.keys <= 1024) return aligned ? go(route_rows<T, 2 * kSmall, true>) : go(route_rows<T, 2 * kSmall, false>);
  return go(route_long_rows<T>);
}

extern "C" const char* emulated_route(int descending, int aligned, int bf16, const void* logits, const float* mean,
                                      const float* scale, float sigma, int64_t count, int64_t heads, int64_t keys,
                                      int64_t width, int16_t* indices, float* probs, int32_t* counts) {
  const Rows rows{nullptr, mean, scale, sigma, heads, keys, width, indices, probs, counts};
  if (bf16) return route_as<Bf16, 2>(descending, aligned, {static_cast<const Bf16*>(logits), rows, count});
  return route_as<float, 4>(descending, aligned, {static_cast<const float*>(logits), rows, count});
}
#endif

#define SIDES                                                                                                  \
  const int16_t *indices1, const float *probs1, const int32_t *counts1, int64_t width1, const int16_t *indices2, \
      const float *probs2, const int32_t *counts2, int64_t width2

#if MONET_KERNEL == MIX
#include "cuda/mix.cuh"

extern "C" const char* emulated_mix(int descending, int aligned, int64_t tokens, int64_t heads, int64_t keys,
                                    int64_t units, const float* a1, const float* a2, SIDES, const float* factors,
                                    float* straight1, float* cross1, float* rows, float* cross2, float* straight2,
                                    float* columns) {
  const Mix<float> a{a1, a2, {indices1, probs1, counts1, width1}, {indices2, probs2, counts2, width2}, factors, heads,
                     keys, units, straight1, cross1, rows, cross2, straight2, columns};
  const auto go = [&](auto kernel) {
    return run(descending, static_cast<unsigned>(tokens), kMixThreads, 4 * mix_shared(a), [&] { kernel(a); });
  };
  return aligned ? go(mix_tokens_device<true>) : go(mix_tokens_device<false>);
}
#endif

#if MONET_KERNEL == ACCUMULATE
#include "cuda/accumulate.cuh"

extern "C" const char* emulated_accumulate(int descending, int64_t tokens, int64_t heads, int64_t keys, int64_t labels,
                                           int64_t bins, int64_t best, int64_t per_document, int64_t sampled, int top,
                                           SIDES, const int64_t* label, const int64_t* rows, const int64_t* starts,
                                           const int64_t* priorities, float* table, int64_t* active, int64_t* mass,
                                           int64_t* histogram, float* best_scores, int64_t* best_rows,
                                           int64_t* sample_priorities, float* sample_scores) {
  const Side<float> one{indices1, probs1, counts1, width1}, two{indices2, probs2, counts2, width2};
  const Accumulate a{two, label, rows, starts, priorities, keys, labels, bins, best, per_document, sampled, top, active,
                     mass, histogram, best_scores, best_rows, sample_priorities, sample_scores};
  const auto blocks = static_cast<unsigned>((tokens * heads * width1 + kLayThreads - 1) / kLayThreads);
  const char* wrong =
      run(descending, blocks, kLayThreads, 0, [&] { lay_out(one, label, tokens, heads, table); });
  if (wrong) return wrong;
  return run(descending, static_cast<unsigned>(keys), kWarp, 4 * keys,
             [&] { accumulate_keys_device(a, table, tokens, static_cast<int>(heads)); });
}
#endif

#if MONET_KERNEL == CONTRIBUTIONS
#include "cuda/contributions.cuh"

extern "C" const char* emulated_contributions(int descending, int64_t tokens, int64_t heads, int64_t keys,
                                              int64_t units, const float* a1, const float* a2, SIDES,
                                              const float* factors, const float* d11, const float* d12,
                                              const float* d21, const float* d22, const float* c1, const float* c2,
                                              int64_t row_step, int64_t capacity, int32_t* experts, float* values,
                                              int32_t* counts, double* totals) {
  const Contributions<float> a{a1, a2, {indices1, probs1, counts1, width1}, {indices2, probs2, counts2, width2},
                               factors, d11, d12, d21, d22, c1, c2, row_step, heads, keys, units, 0, nullptr, nullptr,
                               totals};
  return run(descending, static_cast<unsigned>(tokens), kContributeThreads, contributions_shared(a),
             [&] { contribute_tokens_device(a, capacity, experts, values, counts); });
}
#endif
