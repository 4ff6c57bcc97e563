// Routes random logits with the code of every instruction set, AVX-512 emulated, and exits 1 where bits differ.
//
//   instruction_sets SEED ROWS KEYS SIGMA ODD
//
// Numbers are in whole tenths, so that many tie; of the logits one in ODD, if that is not 0, is -inf, NaN or +inf.
#include "avx512_on_avx2.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "route.h"

using namespace monet;

namespace {

struct Routed {
  std::vector<int32_t> counts;
  std::vector<int16_t> indices;
  std::vector<float> probs;
};

template <class L>
MONET_INLINE Routed route(const std::vector<float>& logits, int64_t rows, int64_t keys, float sigma) {
  Routed out;
  out.counts.resize(rows);
  const float mean = 0.1f, scale = 1.5f, least = least_active(mean, scale, sigma);
  std::vector<float> totals(rows);
  const Logits work{logits.data(), &mean, &scale, &least, 1, keys, out.counts.data(), totals.data()};
  Lists lists(rows);
  route_rows<L>(work, 0, rows, lists);
  int32_t width = 0;
  for (const int32_t n : out.counts) {
    if (n < 0) return out;  // a row without a routing, at which the op stops
    width = n > width ? n : width;
  }
  out.indices.resize(rows * width);
  out.probs.resize(rows * width);
  lay_out<L>(work, lists, 0, rows, width, out.indices.data(), out.probs.data());
  return out;
}

using Router = Routed (*)(const std::vector<float>&, int64_t, int64_t, float);
Routed baseline(const std::vector<float>& z, int64_t r, int64_t k, float s) { return route<Baseline>(z, r, k, s); }
MONET_AVX2 Routed avx2(const std::vector<float>& z, int64_t r, int64_t k, float s) { return route<Avx2>(z, r, k, s); }
MONET_AVX2 Routed skylake(const std::vector<float>& z, int64_t r, int64_t k, float s) {
  return route<Skylake>(z, r, k, s);
}
MONET_AVX2 Routed icelake(const std::vector<float>& z, int64_t r, int64_t k, float s) {
  return route<IceLake>(z, r, k, s);
}

template <class T>
bool same(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  std::mt19937 generator(static_cast<unsigned>(std::atoi(argv[1])));
  const int64_t rows = std::atoi(argv[2]), keys = std::atoi(argv[3]), odd = std::atoi(argv[5]);
  const auto sigma = static_cast<float>(std::atof(argv[4]));
  const float unusual[] = {-INFINITY, NAN, INFINITY};
  std::normal_distribution<float> normal;
  std::vector<float> logits(rows * keys);
  for (float& z : logits)
    z = odd && generator() % odd == 0 ? unusual[generator() % 3] : std::round(normal(generator) * 10) / 10;
  const Routed expected = baseline(logits, rows, keys, sigma);
  const struct {
    const char* name;
    Router run;
  } others[] = {{"avx2", avx2}, {"skylake-avx512", skylake}, {"avx512", icelake}};
  for (const auto& other : others) {
    const Routed actual = other.run(logits, rows, keys, sigma);
    if (same(actual.counts, expected.counts) && same(actual.indices, expected.indices) &&
        same(actual.probs, expected.probs))
      continue;
    std::fprintf(stderr, "%s differs\n", other.name);
    return 1;
  }
  return 0;
}
