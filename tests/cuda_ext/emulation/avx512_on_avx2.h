// The AVX-512 intrinsics that scan.h uses, number by number as Intel's guide defines them, so that machines without
// AVX-512 run the kernels written for it. Include it before the kernels.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "levels.h"

#undef MONET_AVX512
#undef MONET_VBMI2
#define MONET_AVX512 MONET_AVX2
#define MONET_VBMI2 MONET_AVX2

namespace wide {

// Sixty-four bytes as numbers of one type.
template <class T>
struct Numbers {
  T of[64 / sizeof(T)];
};
typedef Numbers<float> Floats;
struct Whole {
  unsigned char of[64];
};
template <class T>
Numbers<T> read(const Whole& v) {
  Numbers<T> out;
  std::memcpy(&out, &v, sizeof out);
  return out;
}
template <class T>
Whole whole(const Numbers<T>& v) {
  Whole out;
  std::memcpy(&out, &v, sizeof out);
  return out;
}
template <class T>
Numbers<T> all(T x) {
  Numbers<T> out;
  for (T& n : out.of) n = x;
  return out;
}
template <class T, class Make>
Numbers<T> each(Make make) {
  Numbers<T> out;
  for (int n = 0; n < static_cast<int>(64 / sizeof(T)); ++n) out.of[n] = make(n);
  return out;
}
template <class T>
Whole compress(uint64_t mask, const Whole& v) {
  const Numbers<T> from = read<T>(v);
  Numbers<T> out = all<T>(0);
  for (int n = 0, at = 0; n < static_cast<int>(64 / sizeof(T)); ++n)
    if (mask >> n & 1) out.of[at++] = from.of[n];
  return whole(out);
}
template <class T>
Whole add(const Whole& x, const Whole& y) {
  return whole(each<T>([&](int n) { return static_cast<T>(read<T>(x).of[n] + read<T>(y).of[n]); }));
}
inline Floats loadu(const float* p) {
  return each<float>([&](int n) { return p[n]; });
}
inline Floats mask_loadu(const Floats& other, uint32_t mask, const float* p) {
  return each<float>([&](int n) { return mask >> n & 1 ? p[n] : other.of[n]; });
}
inline Floats max(const Floats& x, const Floats& y) {  // the second if either is NaN
  return each<float>([&](int n) { return x.of[n] > y.of[n] ? x.of[n] : y.of[n]; });
}
inline Floats sub(const Floats& x, const Floats& y) {
  return each<float>([&](int n) { return x.of[n] - y.of[n]; });
}
inline Floats mul(const Floats& x, const Floats& y) {
  return each<float>([&](int n) { return x.of[n] * y.of[n]; });
}
inline __mmask16 not_less(const Floats& x, const Floats& y) {
  __mmask16 out = 0;
  for (int n = 0; n < 16; ++n) out |= static_cast<__mmask16>(!(x.of[n] < y.of[n])) << n;
  return out;
}
inline float reduce_max(const Floats& x) {
  float best = x.of[0];
  for (const float n : x.of) best = n > best ? n : best;
  return best;
}
inline __m256i narrow(const Whole& v) {  // the low half of each 32-bit number
  int16_t out[16];
  for (int n = 0; n < 16; ++n) out[n] = static_cast<int16_t>(read<int32_t>(v).of[n]);
  __m256i result;
  std::memcpy(&result, out, sizeof result);
  return result;
}
inline __m256i half(const Whole& v, int which) {
  __m256i out;
  std::memcpy(&out, v.of + 32 * which, sizeof out);
  return out;
}
inline Whole widen(__m256i v) {  // bytes to 16-bit numbers
  unsigned char bytes[32];
  std::memcpy(bytes, &v, sizeof bytes);
  return whole(each<int16_t>([&](int n) { return static_cast<int16_t>(bytes[n]); }));
}
inline Whole ascending() {
  return whole(each<int32_t>([](int n) { return n; }));
}
inline Whole ascending_bytes() {
  return whole(each<unsigned char>([](int n) { return static_cast<unsigned char>(n); }));
}
inline void store(void* to, const Whole& v) { std::memcpy(to, &v, sizeof v); }

}  // namespace wide

#define __m512 wide::Floats
#define __m512i wide::Whole
#define _mm512_set1_ps wide::all<float>
#define _mm512_set1_epi16(x) wide::whole(wide::all<int16_t>(x))
#define _mm512_set1_epi32(x) wide::whole(wide::all<int32_t>(x))
#undef _mm512_setr_epi32
#define _mm512_setr_epi32(...) wide::ascending()
#define _mm512_set_epi64(...) wide::ascending_bytes()
#define _mm512_loadu_ps wide::loadu
#define _mm512_mask_loadu_ps wide::mask_loadu
#define _mm512_max_ps wide::max
#define _mm512_sub_ps wide::sub
#define _mm512_mul_ps wide::mul
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask(x, y, predicate) wide::not_less(x, y)
#define _mm512_reduce_max_ps wide::reduce_max
#define _mm512_maskz_compress_epi32 wide::compress<int32_t>
#define _mm512_maskz_compress_epi8 wide::compress<unsigned char>
#define _mm512_add_epi32 wide::add<int32_t>
#define _mm512_add_epi16 wide::add<int16_t>
#define _mm512_cvtepi32_epi16 wide::narrow
#define _mm512_cvtepu8_epi16 wide::widen
#define _mm512_castsi512_si256(v) wide::half(v, 0)
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64 wide::half
#define _mm512_storeu_si512 wide::store
