// The op `monet::accumulate_kernel` on LibTorch's stable ABI.
#include "accumulate.h"

#include <algorithm>
#include <vector>

#include "checked_level.h"

namespace monet {
namespace {

MONET_LEVELS(kAccumulate, ByKey, accumulate_keys)

void accumulate(Tensor tokens, Tensor mass, Tensor histogram, Tensor best_scores, Tensor best_rows,
                Tensor sample_priorities, Tensor sample_scores, Tensor indices1, Tensor probs1, Tensor counts1,
                Tensor indices2, Tensor probs2, Tensor counts2, Tensor labels, Tensor rows, Tensor starts,
                Tensor priorities, int64_t keys, int64_t top, int64_t per_document, int64_t level) {
  const Counted in = accumulate_inputs(tokens, mass, histogram, best_scores, best_rows, sample_priorities,
                                       sample_scores, indices1, probs1, counts1, indices2, probs2, counts2, labels,
                                       rows, starts, priorities, keys, top, per_document);
  const Side<float>& one = in.one;
  const int64_t chosen = checked_level(level);

  // Entries of key set 1 by key: a counting sort, which keeps tokens and heads in order.
  std::vector<int64_t> offsets(keys + 1);
  const auto each = [&](auto&& visit) {
    for (int64_t token = 0; token < in.tokens; ++token) {
      if (in.work.labels[token] < 0) continue;
      for (int64_t row = token * in.heads; row < (token + 1) * in.heads; ++row)
        for (int64_t n = row * one.width; n < row * one.width + one.counts[row]; ++n) visit(token, row, n);
    }
  };
  each([&](int64_t, int64_t, int64_t n) { ++offsets[one.indices[n] + 1]; });
  for (int64_t key = 0; key < keys; ++key) offsets[key + 1] += offsets[key];
  std::vector<Entry<float>> entries(offsets[keys]);
  std::vector<int64_t> next(offsets.begin(), offsets.end() - 1);
  each([&](int64_t token, int64_t row, int64_t n) {
    entries[next[one.indices[n]]++] = {static_cast<int32_t>(token), static_cast<int32_t>(row), one.probs[n]};
  });

  const ByKey by_key{in.work, entries.data(), offsets.data()};
  const int64_t grain = std::max<int64_t>(1, keys * 4096 / std::max<int64_t>(1, offsets[keys]));
  torch::stable::parallel_for(0, keys, grain, [&](int64_t b, int64_t e) { kAccumulate[chosen](by_key, b, e); });
}

}  // namespace
}  // namespace monet

STABLE_TORCH_LIBRARY_FRAGMENT(monet, m) {
  m.def(
      "accumulate_kernel(Tensor(a!) tokens, Tensor(b!) mass, Tensor(c!) histogram, Tensor(d!) best_scores, "
      "Tensor(e!) best_rows, Tensor(f!) sample_priorities, Tensor(g!) sample_scores, Tensor indices1, Tensor probs1, "
      "Tensor counts1, Tensor indices2, Tensor probs2, Tensor counts2, Tensor labels, Tensor rows, Tensor starts, "
      "Tensor priorities, int keys, int top, int per_document, int level=-1) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CPU, m) { m.impl("accumulate_kernel", TORCH_BOX(&monet::accumulate)); }
