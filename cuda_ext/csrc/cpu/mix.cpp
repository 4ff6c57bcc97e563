// The ops `monet::mix_{horizontal,vertical}_kernel` and their gradients on LibTorch's stable ABI.
#include "mix.h"

#include <algorithm>
#include <tuple>

#include "checked_level.h"
#include "mix_bfloat16.h"
#include "output.h"

namespace monet {
namespace {

MONET_LEVELS(kMixFloat, Mix<float>, mix_tokens)
MONET_LEVELS(kMixDouble, Mix<double>, mix_tokens)
MONET_LEVELS(kBackwardFloat, MixBackward<float>, mix_backward_tokens)
MONET_LEVELS(kBackwardDouble, MixBackward<double>, mix_backward_tokens)
MONET_LEVELS(kMixBfloat16, MixBfloat16, mix_bfloat16_tokens)
MONET_LEVELS(kBackwardBfloat16, MixBackwardBfloat16, mix_backward_bfloat16_tokens)

inline void run(const Mix<float>& a, int64_t level, int64_t b, int64_t e) { kMixFloat[level](a, b, e); }
inline void run(const Mix<double>& a, int64_t level, int64_t b, int64_t e) { kMixDouble[level](a, b, e); }
inline void run(const MixBackward<float>& a, int64_t level, int64_t b, int64_t e) { kBackwardFloat[level](a, b, e); }
inline void run(const MixBackward<double>& a, int64_t level, int64_t b, int64_t e) { kBackwardDouble[level](a, b, e); }
inline void run(const MixBfloat16& a, int64_t level, int64_t b, int64_t e) { kMixBfloat16[level](a, b, e); }
inline void run(const MixBackwardBfloat16& a, int64_t level, int64_t b, int64_t e) { kBackwardBfloat16[level](a, b, e); }

template <class Arguments>
void run_tokens(const Arguments& arguments, int64_t tokens, int64_t block, int64_t level) {
  const int64_t chosen = checked_level(level), grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(block, 1));
  torch::stable::parallel_for(0, tokens, grain, [&](int64_t b, int64_t e) { run(arguments, chosen, b, e); });
}

using Horizontal = std::tuple<Tensor, Tensor>;
using Vertical = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using BackwardHorizontal = std::tuple<Tensor, Tensor, Tensor>;
using BackwardVertical = std::tuple<Tensor, Tensor, Tensor, Tensor>;

template <class T>
Horizontal horizontal(const Tensor& a, Mix<T> mix, int64_t level) {
  Tensor top = new_output(a, {a.size(0), mix.keys, mix.units}, dtype_of<T>());
  Tensor bias = new_output(a, {a.size(0), mix.keys}, dtype_of<T>());
  mix.cross2 = top.mutable_data_ptr<T>(), mix.columns = bias.mutable_data_ptr<T>();
  run_tokens(mix, a.size(0), mix.keys * mix.units, level);
  return {top, bias};
}

template <class T>
Vertical vertical(const Tensor& a1, Mix<T> mix, int64_t level) {
  const auto units = [&] { return new_output(a1, {a1.size(0), mix.keys, mix.units}, dtype_of<T>()); };
  const auto keys = [&] { return new_output(a1, {a1.size(0), mix.keys}, dtype_of<T>()); };
  Tensor straight1 = units(), cross1 = units(), rows = keys(), cross2 = units(), straight2 = units(), columns = keys();
  mix.straight1 = straight1.mutable_data_ptr<T>(), mix.cross1 = cross1.mutable_data_ptr<T>();
  mix.rows = rows.mutable_data_ptr<T>(), mix.cross2 = cross2.mutable_data_ptr<T>();
  mix.straight2 = straight2.mutable_data_ptr<T>(), mix.columns = columns.mutable_data_ptr<T>();
  run_tokens(mix, a1.size(0), 2 * mix.keys * mix.units, level);
  return {straight1, cross1, rows, cross2, straight2, columns};
}

// The numbers of a tensor in bfloat16, or null if there is none.
const Bfloat16* halves(const optional<Tensor>& t, const char* name, const Tensor& first,
                       std::initializer_list<int64_t> shape) {
  if (!t) return nullptr;
  check(*t, name, first, ScalarType::BFloat16, shape);
  return static_cast<const Bfloat16*>(t->const_data_ptr());
}

Tensor new_halves(const Tensor& like, std::initializer_list<int64_t> shape, Bfloat16*& numbers) {
  Tensor made = new_output(like, shape, ScalarType::BFloat16);
  numbers = static_cast<Bfloat16*>(made.mutable_data_ptr());
  return made;
}

MixBfloat16 bfloat16_inputs(const Tensor& a1, const optional<Tensor>& a2, const Mix<float>& mix) {
  MixBfloat16 work{mix};
  work.a1 = halves(a1, "a1", a1, {-1, -1, -1});
  work.a2 = halves(a2, "a2", a1, {a1.size(0), mix.keys, mix.units});
  return work;
}

Horizontal horizontal_bfloat16(const Tensor& a, MixBfloat16 work, int64_t level) {
  const int64_t keys = work.mix.keys, units = work.mix.units;
  Tensor top = new_halves(a, {a.size(0), keys, units}, work.cross2);
  Tensor bias = new_halves(a, {a.size(0), keys}, work.columns);
  run_tokens(work, a.size(0), keys * units, level);
  return {top, bias};
}

Vertical vertical_bfloat16(const Tensor& a1, MixBfloat16 work, int64_t level) {
  const int64_t tokens = a1.size(0), keys = work.mix.keys, units = work.mix.units;
  Tensor straight1 = new_halves(a1, {tokens, keys, units}, work.straight1);
  Tensor cross1 = new_halves(a1, {tokens, keys, units}, work.cross1), rows = new_halves(a1, {tokens, keys}, work.rows);
  Tensor cross2 = new_halves(a1, {tokens, keys, units}, work.cross2);
  Tensor straight2 = new_halves(a1, {tokens, keys, units}, work.straight2);
  Tensor columns = new_halves(a1, {tokens, keys}, work.columns);
  run_tokens(work, tokens, 2 * keys * units, level);
  return {straight1, cross1, rows, cross2, straight2, columns};
}

Horizontal mix_horizontal(Tensor a, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2,
                          Tensor counts2, optional<Tensor> factors, int64_t level) {
  if (a.scalar_type() == ScalarType::BFloat16) {
    const auto mix = mix_routing<float>(a, indices1, probs1, counts1, indices2, probs2, counts2, factors);
    return horizontal_bfloat16(a, bfloat16_inputs(a, {}, mix), level);
  }
  if (a.scalar_type() == ScalarType::Double)
    return horizontal(a, mix_inputs<double>(a, {}, indices1, probs1, counts1, indices2, probs2, counts2, factors),
                      level);
  return horizontal(a, mix_inputs<float>(a, {}, indices1, probs1, counts1, indices2, probs2, counts2, factors), level);
}

Vertical mix_vertical(Tensor a1, Tensor a2, Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2,
                      Tensor probs2, Tensor counts2, optional<Tensor> factors, int64_t level) {
  if (a1.scalar_type() == ScalarType::BFloat16) {
    const auto mix = mix_routing<float>(a1, indices1, probs1, counts1, indices2, probs2, counts2, factors);
    return vertical_bfloat16(a1, bfloat16_inputs(a1, a2, mix), level);
  }
  if (a1.scalar_type() == ScalarType::Double)
    return vertical(a1, mix_inputs<double>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors),
                    level);
  return vertical(a1, mix_inputs<float>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors), level);
}

template <class T>
BackwardHorizontal backward_horizontal(const Tensor& top, const Tensor& bias, const Tensor& a, const Tensor& probs1,
                                       const Tensor& probs2, const Mix<T>& forward, int64_t level) {
  const int64_t tokens = a.size(0);
  MixBackward<T> g{};
  g.forward = forward;
  g.cross2 = numbers<T>(top, "top", a, {tokens, forward.keys, forward.units});
  g.columns = numbers<T>(bias, "bias", a, {tokens, forward.keys});
  Tensor to = new_output(a, {tokens, forward.keys, forward.units}, dtype_of<T>());
  Tensor p = torch::stable::empty_like(probs1), q = torch::stable::empty_like(probs2);
  g.a1 = to.mutable_data_ptr<T>(), g.probs1 = p.mutable_data_ptr<T>(), g.probs2 = q.mutable_data_ptr<T>();
  run_tokens(g, tokens, 2 * forward.keys * forward.units, level);
  return {to, p, q};
}

template <class T>
BackwardVertical backward_vertical(const Tensor& straight1, const Tensor& cross1, const Tensor& rows,
                                   const Tensor& cross2, const Tensor& straight2, const Tensor& columns,
                                   const Tensor& a1, const Tensor& a2, const Tensor& probs1, const Tensor& probs2,
                                   const Mix<T>& forward, int64_t level) {
  const int64_t tokens = a1.size(0), keys = forward.keys, units = forward.units;
  MixBackward<T> g{};
  g.forward = forward;
  g.straight1 = numbers<T>(straight1, "straight1", a1, {tokens, keys, units});
  g.cross1 = numbers<T>(cross1, "cross1", a1, {tokens, keys, units});
  g.rows = numbers<T>(rows, "rows", a1, {tokens, keys});
  g.cross2 = numbers<T>(cross2, "cross2", a1, {tokens, keys, units});
  g.straight2 = numbers<T>(straight2, "straight2", a1, {tokens, keys, units});
  g.columns = numbers<T>(columns, "columns", a1, {tokens, keys});
  const auto wide = [&] { return new_output(a1, {tokens, keys, units}, dtype_of<T>()); };
  Tensor to1 = wide(), to2 = wide();
  Tensor p = torch::stable::empty_like(probs1), q = torch::stable::empty_like(probs2);
  g.a1 = to1.mutable_data_ptr<T>(), g.a2 = to2.mutable_data_ptr<T>();
  g.probs1 = p.mutable_data_ptr<T>(), g.probs2 = q.mutable_data_ptr<T>();
  run_tokens(g, tokens, 4 * keys * units, level);
  return {to1, to2, p, q};
}

BackwardHorizontal backward_horizontal_bfloat16(const Tensor& top, const Tensor& bias, const Tensor& a,
                                                const Tensor& probs1, const Tensor& probs2, const Mix<float>& mix,
                                                int64_t level) {
  const int64_t tokens = a.size(0);
  MixBackwardBfloat16 g{};
  g.backward.forward = mix;
  g.in1 = halves(a, "a", a, {-1, -1, -1});
  g.cross2 = halves(top, "top", a, {tokens, mix.keys, mix.units});
  g.columns = halves(bias, "bias", a, {tokens, mix.keys});
  Tensor to = new_halves(a, {tokens, mix.keys, mix.units}, g.a1);
  Tensor p = torch::stable::empty_like(probs1), q = torch::stable::empty_like(probs2);
  g.backward.probs1 = p.mutable_data_ptr<float>(), g.backward.probs2 = q.mutable_data_ptr<float>();
  run_tokens(g, tokens, 2 * mix.keys * mix.units, level);
  return {to, p, q};
}

BackwardVertical backward_vertical_bfloat16(const Tensor& straight1, const Tensor& cross1, const Tensor& rows,
                                            const Tensor& cross2, const Tensor& straight2, const Tensor& columns,
                                            const Tensor& a1, const Tensor& a2, const Tensor& probs1,
                                            const Tensor& probs2, const Mix<float>& mix, int64_t level) {
  const int64_t tokens = a1.size(0), keys = mix.keys, units = mix.units;
  MixBackwardBfloat16 g{};
  g.backward.forward = mix;
  g.in1 = halves(a1, "a1", a1, {-1, -1, -1});
  g.in2 = halves(a2, "a2", a1, {tokens, keys, units});
  g.straight1 = halves(straight1, "straight1", a1, {tokens, keys, units});
  g.cross1 = halves(cross1, "cross1", a1, {tokens, keys, units});
  g.rows = halves(rows, "rows", a1, {tokens, keys});
  g.cross2 = halves(cross2, "cross2", a1, {tokens, keys, units});
  g.straight2 = halves(straight2, "straight2", a1, {tokens, keys, units});
  g.columns = halves(columns, "columns", a1, {tokens, keys});
  Tensor to1 = new_halves(a1, {tokens, keys, units}, g.a1), to2 = new_halves(a1, {tokens, keys, units}, g.a2);
  Tensor p = torch::stable::empty_like(probs1), q = torch::stable::empty_like(probs2);
  g.backward.probs1 = p.mutable_data_ptr<float>(), g.backward.probs2 = q.mutable_data_ptr<float>();
  run_tokens(g, tokens, 4 * keys * units, level);
  return {to1, to2, p, q};
}

BackwardHorizontal mix_horizontal_backward(Tensor top, Tensor bias, Tensor a, Tensor indices1, Tensor probs1,
                                           Tensor counts1, Tensor indices2, Tensor probs2, Tensor counts2,
                                           optional<Tensor> factors, int64_t level) {
  if (a.scalar_type() == ScalarType::BFloat16) {
    const auto mix = mix_routing<float>(a, indices1, probs1, counts1, indices2, probs2, counts2, factors);
    return backward_horizontal_bfloat16(top, bias, a, probs1, probs2, mix, level);
  }
  if (a.scalar_type() == ScalarType::Double)
    return backward_horizontal(
        top, bias, a, probs1, probs2,
        mix_inputs<double>(a, {}, indices1, probs1, counts1, indices2, probs2, counts2, factors), level);
  return backward_horizontal(top, bias, a, probs1, probs2,
                             mix_inputs<float>(a, {}, indices1, probs1, counts1, indices2, probs2, counts2, factors),
                             level);
}

BackwardVertical mix_vertical_backward(Tensor straight1, Tensor cross1, Tensor rows, Tensor cross2, Tensor straight2,
                                       Tensor columns, Tensor a1, Tensor a2, Tensor indices1, Tensor probs1,
                                       Tensor counts1, Tensor indices2, Tensor probs2, Tensor counts2,
                                       optional<Tensor> factors, int64_t level) {
  if (a1.scalar_type() == ScalarType::BFloat16) {
    const auto mix = mix_routing<float>(a1, indices1, probs1, counts1, indices2, probs2, counts2, factors);
    return backward_vertical_bfloat16(straight1, cross1, rows, cross2, straight2, columns, a1, a2, probs1, probs2, mix,
                                      level);
  }
  if (a1.scalar_type() == ScalarType::Double)
    return backward_vertical(straight1, cross1, rows, cross2, straight2, columns, a1, a2, probs1, probs2,
                             mix_inputs<double>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors),
                             level);
  return backward_vertical(straight1, cross1, rows, cross2, straight2, columns, a1, a2, probs1, probs2,
                           mix_inputs<float>(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors),
                           level);
}

}  // namespace
}  // namespace monet

#define MONET_ROUTING "Tensor indices1, Tensor probs1, Tensor counts1, Tensor indices2, Tensor probs2, Tensor counts2"

STABLE_TORCH_LIBRARY_FRAGMENT(monet, m) {
  m.def("mix_horizontal_kernel(Tensor a, " MONET_ROUTING ", Tensor? factors, int level=-1) -> (Tensor, Tensor)");
  m.def("mix_vertical_kernel(Tensor a1, Tensor a2, " MONET_ROUTING ", Tensor? factors, int level=-1) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("mix_horizontal_backward_kernel(Tensor top, Tensor bias, Tensor a, " MONET_ROUTING
        ", Tensor? factors, int level=-1) -> (Tensor, Tensor, Tensor)");
  m.def("mix_vertical_backward_kernel(Tensor straight1, Tensor cross1, Tensor rows, Tensor cross2, Tensor straight2, "
        "Tensor columns, Tensor a1, Tensor a2, " MONET_ROUTING ", Tensor? factors, int level=-1) "
        "-> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(monet, CPU, m) {
  m.impl("mix_horizontal_kernel", TORCH_BOX(&monet::mix_horizontal));
  m.impl("mix_vertical_kernel", TORCH_BOX(&monet::mix_vertical));
  m.impl("mix_horizontal_backward_kernel", TORCH_BOX(&monet::mix_horizontal_backward));
  m.impl("mix_vertical_backward_kernel", TORCH_BOX(&monet::mix_vertical_backward));
}
