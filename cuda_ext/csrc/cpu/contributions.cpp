// The op `monet::contributions_kernel` on LibTorch's stable ABI.
#include "contributions.h"

#include <algorithm>
#include <tuple>

#include "checked_level.h"

namespace monet {
namespace {

MONET_LEVELS(kFloat, Contributions<float>, contribute_tokens)
MONET_LEVELS(kDouble, Contributions<double>, contribute_tokens)

inline void run(const Contributions<float>& a, int64_t level, int64_t b, int64_t e) { kFloat[level](a, b, e); }
inline void run(const Contributions<double>& a, int64_t level, int64_t b, int64_t e) { kDouble[level](a, b, e); }

using Outputs = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Outputs contribute(Contributions<T> work, const Tensor& a1, int64_t top, int64_t level) {
  STD_TORCH_CHECK(top >= 1, "top must be positive");
  const int64_t tokens = a1.size(0), chosen = checked_level(level);
  Tensor experts = torch::stable::new_empty(a1, {tokens, top}, ScalarType::Long);
  Tensor values = torch::stable::new_empty(a1, {tokens, top});
  Tensor totals = torch::stable::new_empty(a1, {tokens}, ScalarType::Double);
  work.top = top, work.experts = experts.mutable_data_ptr<int64_t>();
  work.values = values.mutable_data_ptr<T>(), work.totals = totals.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, tokens, 8, [&](int64_t b, int64_t e) { run(work, chosen, b, e); });
  return {experts, values, totals};
}

Outputs contributions(Tensor a1, optional<Tensor> a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2,
                      Tensor probs2, Tensor counts2, optional<Tensor> factors, optional<Tensor> d11,
                      optional<Tensor> d12, Tensor d21, optional<Tensor> d22, optional<Tensor> c1, Tensor c2,
                      int64_t top, int64_t level) {
  const auto run_in = [&](auto zero) {
    using T = decltype(zero);
    const Mix<T> mix = mix_inputs<T>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors);
    return contribute(contribution_inputs<T>(mix, a1, d11, d12, d21, d22, c1, c2), a1, top, level);
  };
  return a1.scalar_type() == ScalarType::Double ? run_in(double{}) : run_in(float{});
}

}  // namespace
}  // namespace monet

STABLE_TORCH_LIBRARY_FRAGMENT(monet, m) {
  m.def(
      "contributions_kernel(Tensor a1, Tensor? a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, "
      "Tensor probs2, Tensor counts2, Tensor? factors, Tensor? d11, Tensor? d12, Tensor d21, Tensor? d22, Tensor? c1, "
      "Tensor c2, int top, int level=-1) -> (Tensor experts, Tensor values, Tensor totals)");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CPU, m) { m.impl("contributions_kernel", TORCH_BOX(&monet::contributions)); }
