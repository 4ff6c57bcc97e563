// The op `monet::accumulate_kernel` on LibTorch's stable ABI.
#include "accumulate.h"

#include <algorithm>
#include <vector>

#include "tensors.h"

namespace monet {
namespace {

MONET_LEVELS(kAccumulate, ByKey, accumulate_keys)

void accumulate(Tensor tokens, Tensor mass, Tensor histogram, Tensor best_scores, Tensor best_rows, Tensor indices1,
                Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2, Tensor counts2, Tensor labels,
                Tensor rows, Tensor starts, int64_t keys, int64_t top, int64_t per_document, int64_t level) {
  check(labels, "labels", ScalarType::Long, {-1});
  const int64_t count = labels.size(0), heads = counts1.dim() == 2 ? counts1.size(1) : 0, experts = keys * keys;
  check(rows, "rows", ScalarType::Long, {count});
  check(starts, "starts", ScalarType::Long, {count});
  check(tokens, "tokens", ScalarType::Long, {experts, -1});
  check(mass, "mass", ScalarType::Long, {experts, tokens.size(1)});
  check(histogram, "histogram", ScalarType::Long, {experts, -1});
  check(best_scores, "best_scores", ScalarType::Float, {experts, -1});
  check(best_rows, "best_rows", ScalarType::Long, {experts, best_scores.size(1)});
  STD_TORCH_CHECK(histogram.size(1) >= 1 && best_scores.size(1) >= 1 && per_document >= 1,
                  "there must be a bin, a place in the lists and an entry a document");
  STD_TORCH_CHECK(count * heads <= INT32_MAX, "too many tokens in one call");
  const Side<float> one = side<float>(indices1, probs1, counts1, count, heads);
  const Side<float> two = side<float>(indices2, probs2, counts2, count, heads);
  const int64_t chosen = checked_level(level);

  // Entries of key set 1 by key: a counting sort, which keeps tokens and heads in order.
  const int64_t* label = labels.const_data_ptr<int64_t>();
  std::vector<int64_t> offsets(keys + 1);
  const auto each = [&](auto&& visit) {
    for (int64_t token = 0; token < count; ++token) {
      if (label[token] < 0) continue;
      for (int64_t row = token * heads; row < (token + 1) * heads; ++row)
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

  const Accumulate work{
      two, label, rows.const_data_ptr<int64_t>(), starts.const_data_ptr<int64_t>(),
      keys, tokens.size(1), histogram.size(1), best_scores.size(1), per_document, static_cast<int32_t>(top),
      tokens.mutable_data_ptr<int64_t>(), mass.mutable_data_ptr<int64_t>(), histogram.mutable_data_ptr<int64_t>(),
      best_scores.mutable_data_ptr<float>(), best_rows.mutable_data_ptr<int64_t>()};
  const ByKey by_key{work, entries.data(), offsets.data()};
  const int64_t grain = std::max<int64_t>(1, keys * 4096 / std::max<int64_t>(1, offsets[keys]));
  torch::stable::parallel_for(0, keys, grain, [&](int64_t begin, int64_t end) { kAccumulate[chosen](by_key, begin, end); });
}

}  // namespace
}  // namespace monet

STABLE_TORCH_LIBRARY_FRAGMENT(monet, m) {
  m.def(
      "accumulate_kernel(Tensor(a!) tokens, Tensor(b!) mass, Tensor(c!) histogram, Tensor(d!) best_scores, "
      "Tensor(e!) best_rows, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2, "
      "Tensor counts2, Tensor labels, Tensor rows, Tensor starts, int keys, int top, int per_document, int level=-1) "
      "-> ()");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CPU, m) { m.impl("accumulate_kernel", TORCH_BOX(&monet::accumulate)); }
