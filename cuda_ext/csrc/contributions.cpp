// The op `monet::contributions_kernel` on LibTorch's stable ABI.
#include "contributions.h"

#include <algorithm>
#include <tuple>

#include "tensors.h"

namespace monet {
namespace {

using std::optional;

MONET_LEVELS(kFloat, Contributions<float>, contribute_tokens)
MONET_LEVELS(kDouble, Contributions<double>, contribute_tokens)

inline void run(const Contributions<float>& a, int64_t level, int64_t b, int64_t e) { kFloat[level](a, b, e); }
inline void run(const Contributions<double>& a, int64_t level, int64_t b, int64_t e) { kDouble[level](a, b, e); }

using Outputs = std::tuple<Tensor, Tensor, Tensor>;

// The projection of one set of output weights, (1 or tokens, keys, units) or (1 or tokens, keys); null where it is not.
template <class T>
const T* projection(const optional<Tensor>& t, const char* name, std::initializer_list<int64_t> shape) {
  if (!t) return nullptr;
  check(*t, name, dtype_of<T>(), shape);
  return t->const_data_ptr<T>();
}

template <class T>
Outputs contribute(const Tensor& a1, const optional<Tensor>& a2, const Side<T>& one, const Side<T>& two, int64_t heads,
                   const optional<Tensor>& factors, const optional<Tensor>& d11, const optional<Tensor>& d12,
                   const Tensor& d21, const optional<Tensor>& d22, const optional<Tensor>& c1, const Tensor& c2,
                   int64_t top, int64_t level) {
  const int64_t tokens = a1.size(0), keys = a1.size(1), units = a1.size(2);
  if (a2) check(*a2, "a2", dtype_of<T>(), {tokens, keys, units});
  if (factors) check(*factors, "factors", dtype_of<T>(), {keys, keys});
  const int64_t rows = d21.dim() == 3 ? d21.size(0) : 0;
  STD_TORCH_CHECK(rows == tokens || rows == 1, "d21 must have one row, or one a token");
  STD_TORCH_CHECK(!a2 || (d11 && d12 && d22 && c1), "vertical experts need all projections");
  STD_TORCH_CHECK(top >= 1, "top must be positive");
  STD_TORCH_CHECK(tokens * heads <= INT32_MAX, "too many tokens in one call");
  Tensor experts = torch::stable::new_empty(a1, {tokens, top}, ScalarType::Long);
  Tensor values = torch::stable::new_empty(a1, {tokens, top});
  Tensor totals = torch::stable::new_empty(a1, {tokens}, ScalarType::Double);
  const std::initializer_list<int64_t> wide = {rows, keys, units}, narrow = {rows, keys};
  const Contributions<T> work{
      a1.const_data_ptr<T>(), a2 ? a2->const_data_ptr<T>() : nullptr, one, two,
      factors ? factors->const_data_ptr<T>() : nullptr,
      projection<T>(d11, "d11", wide), projection<T>(d12, "d12", wide), projection<T>(d21, "d21", wide),
      projection<T>(d22, "d22", wide), projection<T>(c1, "c1", narrow), projection<T>(c2, "c2", narrow),
      rows == 1 ? 0 : 1, heads, keys, units, top,
      experts.mutable_data_ptr<int64_t>(), values.mutable_data_ptr<T>(), totals.mutable_data_ptr<double>()};
  const int64_t chosen = checked_level(level);
  torch::stable::parallel_for(0, tokens, 8, [&](int64_t b, int64_t e) { run(work, chosen, b, e); });
  return {experts, values, totals};
}

Outputs contributions(Tensor a1, optional<Tensor> a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2,
                      Tensor probs2, Tensor counts2, optional<Tensor> factors, optional<Tensor> d11,
                      optional<Tensor> d12, Tensor d21, optional<Tensor> d22, optional<Tensor> c1, Tensor c2,
                      int64_t top, int64_t level) {
  const ScalarType dtype = a1.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  check(a1, "a1", dtype, {-1, -1, -1});
  const int64_t tokens = a1.size(0), heads = counts1.dim() == 2 ? counts1.size(1) : 0;
  if (dtype == ScalarType::Double)
    return contribute<double>(a1, a2, side<double>(indices1, probs1, counts1, tokens, heads),
                              side<double>(indices2, probs2, counts2, tokens, heads), heads, factors, d11, d12, d21,
                              d22, c1, c2, top, level);
  return contribute<float>(a1, a2, side<float>(indices1, probs1, counts1, tokens, heads),
                           side<float>(indices2, probs2, counts2, tokens, heads), heads, factors, d11, d12, d21, d22,
                           c1, c2, top, level);
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
