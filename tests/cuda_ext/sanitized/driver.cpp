// Runs the CPU kernels of all four ops on random arrays of exactly their size, for sanitizers to watch.
//
//   driver SEED TOKENS HEADS KEYS UNITS [fault]
//
// `fault` makes an index one past the last key, which the sanitizer must find. Exits 1 where instruction sets differ.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "accumulate.h"
#include "contributions.h"
#include "mix.h"
#include "route.h"

using namespace monet;

namespace {

MONET_LEVELS(kMix, Mix<float>, mix_tokens)
MONET_LEVELS(kBackward, MixBackward<float>, mix_backward_tokens)
MONET_LEVELS(kAccumulate, ByKey, accumulate_keys)
MONET_LEVELS(kContribute, Contributions<float>, contribute_tokens)

std::mt19937 generator;

std::vector<float> numbers(int64_t count, float low = -1) {
  std::vector<float> out(count);
  for (float& x : out) x = std::uniform_real_distribution<float>(low, 1)(generator);
  return out;
}

struct Routed {
  std::vector<int16_t> indices;
  std::vector<float> probs;
  std::vector<int32_t> counts;
  int64_t width;
  Side<float> side() const { return {indices.data(), probs.data(), counts.data(), width}; }
};

template <class V>
MONET_INLINE Routed route(const std::vector<float>& logits, int64_t rows, int64_t heads, int64_t keys) {
  Routed out;
  out.counts.resize(rows);
  const std::vector<float> mean(heads, 0.1f), scale(heads, 1.5f), least(heads, least_active(0.1f, 1.5f, 0.8f));
  std::vector<float> totals(rows);
  const Logits work{logits.data(), mean.data(), scale.data(), least.data(), heads, keys, out.counts.data(),
                    totals.data()};
  Lists lists(rows);
  route_rows<V>(work, 0, rows, lists);
  out.width = 0;
  for (int32_t n : out.counts) out.width = n > out.width ? n : out.width;
  out.indices.resize(rows * out.width);
  out.probs.resize(rows * out.width);
  lay_out<V>(work, lists, 0, rows, static_cast<int32_t>(out.width), out.indices.data(), out.probs.data());
  return out;
}

using Router = Routed (*)(const std::vector<float>&, int64_t, int64_t, int64_t);
Routed route_baseline(const std::vector<float>& z, int64_t r, int64_t h, int64_t k) { return route<Baseline>(z, r, h, k); }
#if defined(__x86_64__)
MONET_AVX2 Routed route_avx2(const std::vector<float>& z, int64_t r, int64_t h, int64_t k) {
  return route<Avx2>(z, r, h, k);
}
MONET_AVX512 Routed route_skylake(const std::vector<float>& z, int64_t r, int64_t h, int64_t k) {
  return route<Skylake>(z, r, h, k);
}
MONET_VBMI2 Routed route_icelake(const std::vector<float>& z, int64_t r, int64_t h, int64_t k) {
  return route<IceLake>(z, r, h, k);
}
const Router kRoute[] = {route_baseline, route_avx2, route_skylake, route_icelake};
#else
const Router kRoute[] = {route_baseline};
#endif

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  generator.seed(static_cast<unsigned>(std::atoi(argv[1])));
  const int64_t tokens = std::atoi(argv[2]), heads = std::atoi(argv[3]), keys = std::atoi(argv[4]);
  const int64_t units = std::atoi(argv[5]), rows = tokens * heads, block = tokens * keys * units;
  const std::vector<float> z1 = numbers(rows * keys, -2), z2 = numbers(rows * keys, -2);
  std::vector<float> first;
  for (int64_t level = 0; level <= best_level(); ++level) {
    Routed one = kRoute[level](z1, rows, heads, keys), two = kRoute[level](z2, rows, heads, keys);
    if (argc > 6 && rows) one.indices[0] = static_cast<int16_t>(tokens * keys);
    std::vector<float> all = one.probs;

    generator.seed(7);
    const std::vector<float> a1 = numbers(block), a2 = numbers(block), factors = numbers(keys * keys);
    for (const float* s : {static_cast<const float*>(nullptr), factors.data()}) {
      for (const bool both : {true, false}) {
        std::vector<float> out[4], keyed[2], to[2], p(one.probs.size()), q(two.probs.size());
        for (auto& o : out) o.resize(block);
        for (auto& o : keyed) o.resize(tokens * keys);
        for (auto& o : to) o.resize(block);
        const Mix<float> mix{a1.data(), both ? a2.data() : nullptr, one.side(), two.side(), s, heads, keys, units,
                             out[0].data(), out[1].data(), keyed[0].data(), out[2].data(), out[3].data(),
                             keyed[1].data()};
        kMix[level](mix, 0, tokens);
        const MixBackward<float> backward{mix, out[0].data(), out[1].data(), keyed[0].data(), out[2].data(),
                                          out[3].data(), keyed[1].data(), to[0].data(), to[1].data(), p.data(),
                                          q.data()};
        kBackward[level](backward, 0, tokens);
        for (const auto* o : {&out[2], &keyed[1], &to[0], &p, &q}) all.insert(all.end(), o->begin(), o->end());

        const std::vector<float> d = numbers(keys * units), c = numbers(keys);
        std::vector<int64_t> experts(tokens * 5);
        std::vector<float> values(tokens * 5);
        std::vector<double> totals(tokens);
        const Contributions<float> work{
            a1.data(), both ? a2.data() : nullptr, one.side(), two.side(), s, d.data(), d.data(), d.data(), d.data(),
            c.data(), c.data(), 0, heads, keys, units, 5, experts.data(), values.data(), totals.data()};
        kContribute[level](work, 0, tokens);
        all.insert(all.end(), values.begin(), values.end());
      }
    }

    std::vector<int64_t> labels(tokens), lines(tokens), offsets(keys + 1);
    for (int64_t t = 0; t < tokens; ++t) labels[t] = t % 2, lines[t] = t;
    std::vector<Entry<float>> entries;
    for (int64_t key = 0; key < keys; ++key) {
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t n = 0; n < one.counts[row]; ++n)
          if (one.indices[row * one.width + n] == key)
            entries.push_back({static_cast<int32_t>(row / heads), static_cast<int32_t>(row),
                               one.probs[row * one.width + n]});
      offsets[key + 1] = static_cast<int64_t>(entries.size());
    }
    std::vector<int64_t> counted(keys * keys * 2), mass(counted), bins(keys * keys * 3), best_rows(keys * keys * 4, -1);
    std::vector<int64_t> priorities(keys * keys * 3 * 2, -1);
    std::vector<float> best_scores(keys * keys * 4), sampled(priorities.size());
    const Accumulate work{
        two.side(), labels.data(), lines.data(), lines.data(), lines.data(), keys, 2, 3, 4, 1, 2, 4, counted.data(),
        mass.data(), bins.data(), best_scores.data(), best_rows.data(), priorities.data(), sampled.data()};
    kAccumulate[level](ByKey{work, entries.data(), offsets.data()}, 0, keys);
    for (const auto* o : {&best_scores, &sampled}) all.insert(all.end(), o->begin(), o->end());

    if (level == 0) first = all;
    if (all.size() != first.size() || std::memcmp(all.data(), first.data(), all.size() * sizeof(float)) != 0) {
      std::fprintf(stderr, "instruction set %d differs\n", static_cast<int>(level));
      return 1;
    }
  }
  return 0;
}
