// The routed sums of an expert layer and their gradients, over the active pairs: plain C++, independent of torch.
//
// With W_h[i, j] = S[i, j] p_h[i] q_h[j] the layer needs, summed over heads, sum_j W a2[j] and sum_j W for each key i,
// and sum_i W a1[i] and sum_i W for each key j. Without S the sums factor, and cost k instead of k * k.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "../arguments.h"
#include "levels.h"

namespace monet {

// Units are processed eight at a time, however wide the machine's vectors are. Sums cross lanes in one fixed order, so
// every instruction set gives the same bits.
template <class T>
struct Eight {
  typedef T Type __attribute__((vector_size(8 * sizeof(T))));
};
template <class T>
using V8 = typename Eight<T>::Type;

// Up to eight numbers from `p`, of which `left` belong to the row; 0 beyond. The common short rows are spelled out,
// because a vector filled in a loop goes through memory, which takes longer than the sums it is for.
template <class T>
MONET_INLINE V8<T> load8(const T* p, int64_t left) {
  if (left == 4) return V8<T>{p[0], p[1], p[2], p[3]};
  if (left == 2) return V8<T>{p[0], p[1]};
  V8<T> v{};
  if (left >= 8) {
    std::memcpy(&v, p, sizeof v);
  } else {
    for (int64_t u = 0; u < left; ++u) v[u] = p[u];
  }
  return v;
}

template <class T>
MONET_INLINE void store8(T* p, int64_t left, V8<T> v) {
  if (left >= 8) {
    std::memcpy(p, &v, sizeof v);
  } else if (left == 4) {
    p[0] = v[0], p[1] = v[1], p[2] = v[2], p[3] = v[3];
  } else if (left == 2) {
    p[0] = v[0], p[1] = v[1];
  } else {
    for (int64_t u = 0; u < left; ++u) p[u] = v[u];
  }
}

template <class T>
MONET_INLINE void add8(T* p, int64_t left, V8<T> v) {
  store8<T>(p, left, load8<T>(p, left) + v);
}

template <class T>
MONET_INLINE T sum8(V8<T> v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// One (token, head) of one side.
template <class T>
struct List {
  const int16_t* keys;
  const T* probs;
  int64_t count;
};

template <class T>
MONET_INLINE List<T> list_of(const Side<T>& side, int64_t row) {
  return {side.indices + row * side.width, side.probs + row * side.width, side.counts[row]};
}

template <class T>
MONET_INLINE T total(const T* values, int64_t count) {
  T sum = 0;
  for (int64_t n = 0; n < count; ++n) sum += values[n];
  return sum;
}

// Units [at, at + left), at most eight, of sum_n probs[n] * a[keys[n]].
template <class T>
MONET_INLINE V8<T> weighted(const List<T>& s, const T* a, int64_t units, int64_t at, int64_t left) {
  V8<T> even{}, odd{};  // two chains of additions, to hide the latency of one
  int64_t n = 0;
  for (; n + 2 <= s.count; n += 2) {
    even += s.probs[n] * load8<T>(a + s.keys[n] * units + at, left);
    odd += s.probs[n + 1] * load8<T>(a + s.keys[n + 1] * units + at, left);
  }
  if (n < s.count) even += s.probs[n] * load8<T>(a + s.keys[n] * units + at, left);
  return even + odd;
}

template <class T>
MONET_INLINE V8<T> weighted8(const List<T>& s, const T* a, int64_t units, int64_t at) {
  return weighted<T>(s, a, units, at, units - at);
}

// A head without factors, units [at, at + left): out[to.keys[m]] += to.probs[m] * sum_n from.probs[n] * a[from.keys[n]].
template <class T>
MONET_INLINE void spread_units(const List<T>& from, const T* a, const List<T>& to, T* out, int64_t units, int64_t at,
                               int64_t left) {
  const V8<T> mixed = weighted<T>(from, a, units, at, left);
  for (int64_t m = 0; m < to.count; ++m) add8<T>(out + to.keys[m] * units + at, left, to.probs[m] * mixed);
}

// The same, all units. Whole vectors have code of their own, without the branches on how many numbers are left.
template <class T>
MONET_INLINE void spread(const List<T>& from, const T* a, const List<T>& to, T* out, int64_t units) {
  int64_t at = 0;
  for (; at + 8 <= units; at += 8) spread_units<T>(from, a, to, out, units, at, 8);
  if (at < units) spread_units<T>(from, a, to, out, units, at, units - at);
}

// For a head with factors: the rows of `a` at the list's keys, `room` numbers each, zero beyond the units.
template <class T>
MONET_INLINE void take(const List<T>& s, const T* a, int64_t units, int64_t room, T* out) {
  for (int64_t n = 0; n < s.count; ++n)
    for (int64_t at = 0; at < room; at += 8)
      store8<T>(out + n * room + at, 8, load8<T>(a + s.keys[n] * units + at, units - at));
}

// out[to[m]] += sum_n w[m * step_m + n * step_n] * taken[n]; four rows at a time share the loads.
template <class T>
MONET_INLINE void multiply(const T* w, int64_t step_m, int64_t step_n, const List<T>& to, int64_t count, const T* taken,
                           T* out, int64_t units, int64_t room) {
  for (int64_t at = 0; at < units; at += 8) {
    int64_t m = 0;
    for (; m + 4 <= to.count; m += 4) {
      V8<T> sum[4] = {};
      for (int64_t n = 0; n < count; ++n) {
        V8<T> a;
        std::memcpy(&a, taken + n * room + at, sizeof a);
        for (int r = 0; r < 4; ++r) sum[r] += w[(m + r) * step_m + n * step_n] * a;
      }
      for (int r = 0; r < 4; ++r) add8<T>(out + to.keys[m + r] * units + at, units - at, sum[r]);
    }
    for (; m < to.count; ++m) {
      V8<T> sum{};
      for (int64_t n = 0; n < count; ++n) {
        V8<T> a;
        std::memcpy(&a, taken + n * room + at, sizeof a);
        sum += w[m * step_m + n * step_n] * a;
      }
      add8<T>(out + to.keys[m] * units + at, units - at, sum);
    }
  }
}

// S[i, j] at the active pairs of a head, (i.count, j.count).
template <class T>
MONET_INLINE void gather(const T* factors, int64_t keys, const List<T>& i, const List<T>& j, T* out) {
  for (int64_t m = 0; m < i.count; ++m) {
    const T* row = factors + i.keys[m] * keys;
    for (int64_t n = 0; n < j.count; ++n) out[m * j.count + n] = row[j.keys[n]];
  }
}

// out[e] = weights[e] * a[e] for the keys that a token's heads list; the others, whose weights are 0, are left alone.
template <class T>
MONET_INLINE void scale(const Side<T>& side, int64_t token, int64_t heads, const T* weights, const T* a, int64_t units,
                        T* out) {
  for (int64_t head = 0; head < heads; ++head) {
    const List<T> s = list_of(side, token * heads + head);
    for (int64_t n = 0; n < s.count; ++n) {
      const int64_t e = s.keys[n];
      for (int64_t at = 0; at < units; at += 8)
        store8<T>(out + e * units + at, units - at, weights[e] * load8<T>(a + e * units + at, units - at));
    }
  }
}

// Sum over units of x[i] * y[j] + z[i] * v[j]; the second product only if `v` is not null.
template <class T>
MONET_INLINE T dot(const T* x, const T* y, const T* z, const T* v, int64_t units) {
  V8<T> sum{};
  for (int64_t at = 0; at < units; at += 8) {
    sum += load8<T>(x + at, units - at) * load8<T>(y + at, units - at);
    if (v) sum += load8<T>(z + at, units - at) * load8<T>(v + at, units - at);
  }
  return sum8<T>(sum);
}

// Whether a token's heads list so many keys that a pass over all keys, in order, takes less time than one over the lists.
template <class T>
MONET_INLINE bool lists_many(const Side<T>& side, int64_t token, int64_t heads, int64_t keys) {
  int64_t listed = 0;
  for (int64_t head = 0; head < heads; ++head) listed += side.counts[token * heads + head];
  return 4 * listed > keys;
}

template <class T>
MONET_INLINE void gather_key(int64_t e, const T* straight, const T* a, const T* incoming, int64_t units, T* grads) {
  grads[e] = incoming[e] + dot<T>(straight + e * units, a + e * units, nullptr, nullptr, units);
}

// For the keys that a token's heads list, at least: grads[e] = incoming[e] + straight[e] . a[e].
template <class T>
MONET_INLINE void gather_straight(const Side<T>& side, int64_t token, int64_t heads, int64_t keys, const T* straight,
                                  const T* a, const T* incoming, int64_t units, T* grads) {
  if (lists_many(side, token, heads, keys)) {
    for (int64_t e = 0; e < keys; ++e) gather_key(e, straight, a, incoming, units, grads);
    return;
  }
  for (int64_t head = 0; head < heads; ++head) {
    const List<T> s = list_of(side, token * heads + head);
    for (int64_t n = 0; n < s.count; ++n) gather_key<T>(s.keys[n], straight, a, incoming, units, grads);
  }
}

template <class T>
MONET_INLINE void spread_key(int64_t e, T* sums, const T* straight, int64_t units, T* out) {
  for (int64_t at = 0; at < units; at += 8)
    add8<T>(out + e * units + at, units - at, sums[e] * load8<T>(straight + e * units + at, units - at));
  sums[e] = 0;
}

// For the keys that a token's heads list: out[e] += sums[e] * straight[e], once; sums are 0 afterwards.
template <class T>
MONET_INLINE void spread_straight(const Side<T>& side, int64_t token, int64_t heads, int64_t keys, T* sums,
                                  const T* straight, int64_t units, T* out) {
  if (lists_many(side, token, heads, keys)) {
    for (int64_t e = 0; e < keys; ++e) spread_key(e, sums, straight, units, out);
    return;
  }
  for (int64_t head = 0; head < heads; ++head) {
    const List<T> s = list_of(side, token * heads + head);
    for (int64_t n = 0; n < s.count; ++n) spread_key<T>(s.keys[n], sums, straight, units, out);
  }
}

// Prefetches one of the `shares` of a block into the second-level cache. Heads read activations in an order that
// processors do not predict, so each head prefetches its share of the next token's while it works on this one's.
template <class T>
MONET_INLINE void fetch(const T* block, int64_t count, int64_t share, int64_t shares) {
  constexpr int64_t kLine = 64 / sizeof(T);
  const int64_t lines = (count + kLine - 1) / kLine;
  for (int64_t line = lines * share / shares; line < lines * (share + 1) / shares; ++line)
    __builtin_prefetch(block + line * kLine, 0, 2);
}

// Tokens [begin, end).
template <class T>
MONET_INLINE void mix_tokens(const Mix<T>& a, int64_t begin, int64_t end) {
  const int64_t block = a.keys * a.units, room = (a.units + 7) / 8 * 8;
  std::vector<T> w(a.factors ? a.one.width * a.two.width : 0);
  std::vector<T> taken(a.factors ? std::max(a.one.width, a.two.width) * room : 0), sums(a.two.width);
  for (int64_t token = begin; token < end; ++token) {
    const T* a1 = a.a1 + token * block;
    const T* a2 = a.a2 ? a.a2 + token * block : nullptr;
    T* cross1 = a.a2 ? a.cross1 + token * block : nullptr;
    T* rows = a.a2 ? a.rows + token * a.keys : nullptr;
    T* cross2 = a.cross2 + token * block;
    T* columns = a.columns + token * a.keys;
    std::memset(cross2, 0, block * sizeof(T));
    std::memset(columns, 0, a.keys * sizeof(T));
    if (a2) {
      std::memset(cross1, 0, block * sizeof(T));
      std::memset(rows, 0, a.keys * sizeof(T));
    }
    for (int64_t head = 0; head < a.heads; ++head) {
      const List<T> i = list_of(a.one, token * a.heads + head), j = list_of(a.two, token * a.heads + head);
      if (token + 1 < end) {
        fetch(a1 + block, block, head, a.heads);
        if (a2) fetch(a2 + block, block, head, a.heads);
      }
      if (a.factors) {
        gather(a.factors, a.keys, i, j, w.data());
        std::memset(sums.data(), 0, j.count * sizeof(T));
        for (int64_t m = 0; m < i.count; ++m) {
          T* __restrict weights = w.data() + m * j.count;
          T* __restrict below = sums.data();
          for (int64_t n = 0; n < j.count; ++n) {
            weights[n] *= i.probs[m] * j.probs[n];
            below[n] += weights[n];
          }
          if (a2) rows[i.keys[m]] += total(weights, j.count);
        }
        for (int64_t n = 0; n < j.count; ++n) columns[j.keys[n]] += sums[n];
        take(i, a1, a.units, room, taken.data());
        multiply(w.data(), 1, j.count, j, i.count, taken.data(), cross2, a.units, room);
        if (a2) {
          take(j, a2, a.units, room, taken.data());
          multiply(w.data(), j.count, 1, i, j.count, taken.data(), cross1, a.units, room);
        }
      } else {
        const T all1 = total(i.probs, i.count);
        for (int64_t n = 0; n < j.count; ++n) columns[j.keys[n]] += all1 * j.probs[n];
        spread(i, a1, j, cross2, a.units);
        if (a2) {
          const T all2 = total(j.probs, j.count);
          for (int64_t m = 0; m < i.count; ++m) rows[i.keys[m]] += all2 * i.probs[m];
          spread(j, a2, i, cross1, a.units);
        }
      }
    }
    if (a2) {
      T *straight1 = a.straight1 + token * block, *straight2 = a.straight2 + token * block;
      std::memset(straight1, 0, block * sizeof(T));
      std::memset(straight2, 0, block * sizeof(T));
      scale(a.one, token, a.heads, rows, a1, a.units, straight1);
      scale(a.two, token, a.heads, columns, a2, a.units, straight2);
    }
  }
}

// Gradient of W at pair (i, j): a1[i] . cross2'[j] + columns'[j] + cross1'[i] . a2[j] + rows'[i]. A prime marks an
// incoming gradient; rows' and columns' include what comes through straight1 and straight2.
template <class T>
MONET_INLINE void mix_backward_tokens(const MixBackward<T>& g, int64_t begin, int64_t end) {
  const Mix<T>& a = g.forward;
  const int64_t keys = a.keys, units = a.units, block = keys * units, room = (units + 7) / 8 * 8;
  const int64_t pairs = a.one.width * a.two.width, widest = std::max(a.one.width, a.two.width);
  std::vector<T> s(a.factors ? pairs : 0), w(a.factors ? pairs : 0), taken(a.factors ? widest * room : 0);
  std::vector<T> row_sums(keys), column_sums(keys), row_grads(keys), column_grads(keys), mixed(4 * room);
  for (int64_t token = begin; token < end; ++token) {
    const int64_t at_token = token * block;
    const bool both = a.a2 != nullptr;
    const T* a1 = a.a1 + at_token;
    const T* a2 = both ? a.a2 + at_token : nullptr;
    const T* cross1 = both ? g.cross1 + at_token : nullptr;
    const T* cross2 = g.cross2 + at_token;
    T* to1 = g.a1 + at_token;
    T* to2 = both ? g.a2 + at_token : nullptr;
    std::memset(to1, 0, block * sizeof(T));
    std::memcpy(column_grads.data(), g.columns + token * keys, keys * sizeof(T));
    if (both) {
      std::memset(to2, 0, block * sizeof(T));
      const T *rows = g.rows + token * keys, *columns = g.columns + token * keys;
      gather_straight(a.one, token, a.heads, keys, g.straight1 + at_token, a1, rows, units, row_grads.data());
      gather_straight(a.two, token, a.heads, keys, g.straight2 + at_token, a2, columns, units, column_grads.data());
    }
    for (int64_t head = 0; head < a.heads; ++head) {
      const int64_t row = token * a.heads + head;
      const List<T> i = list_of(a.one, row), j = list_of(a.two, row);
      T* p = g.probs1 + row * a.one.width;
      T* q = g.probs2 + row * a.two.width;
      std::memset(p, 0, a.one.width * sizeof(T));
      std::memset(q, 0, a.two.width * sizeof(T));
      if (a.factors) {
        gather(a.factors, keys, i, j, s.data());
        for (int64_t m = 0; m < i.count; ++m) {
          const int64_t e = i.keys[m];
          for (int64_t n = 0; n < j.count; ++n) {
            const int64_t f = j.keys[n];
            const T factor = s[m * j.count + n];
            const T grad = dot<T>(a1 + e * units, cross2 + f * units, both ? cross1 + e * units : nullptr,
                                  both ? a2 + f * units : nullptr, units) +
                           row_grads[e] + column_grads[f];
            p[m] += factor * j.probs[n] * grad;
            q[n] += factor * i.probs[m] * grad;
            const T weight = factor * i.probs[m] * j.probs[n];
            w[m * j.count + n] = weight;
            row_sums[e] += weight;
            column_sums[f] += weight;
          }
        }
        take(j, cross2, units, room, taken.data());
        multiply(w.data(), j.count, 1, i, j.count, taken.data(), to1, units, room);
        if (both) {
          take(i, cross1, units, room, taken.data());
          multiply(w.data(), 1, j.count, j, i.count, taken.data(), to2, units, room);
        }
        continue;
      }
      T *one_a = mixed.data(), *two_a = one_a + room, *one_cross = two_a + room, *two_cross = one_cross + room;
      for (int64_t at = 0; at < units; at += 8) {
        store8<T>(one_a + at, 8, weighted8<T>(i, a1, units, at));
        store8<T>(two_cross + at, 8, weighted8<T>(j, cross2, units, at));
        if (both) {
          store8<T>(two_a + at, 8, weighted8<T>(j, a2, units, at));
          store8<T>(one_cross + at, 8, weighted8<T>(i, cross1, units, at));
        }
      }
      const T all1 = total(i.probs, i.count), all2 = total(j.probs, j.count);
      T rows_mixed = 0, columns_mixed = 0;
      for (int64_t m = 0; m < i.count; ++m) rows_mixed += i.probs[m] * row_grads[i.keys[m]];
      for (int64_t n = 0; n < j.count; ++n) columns_mixed += j.probs[n] * column_grads[j.keys[n]];
      for (int64_t m = 0; m < i.count; ++m) {
        const int64_t e = i.keys[m];
        p[m] = dot<T>(a1 + e * units, two_cross, both ? cross1 + e * units : nullptr, both ? two_a : nullptr, units) +
               row_grads[e] * all2 + columns_mixed;
        row_sums[e] += i.probs[m] * all2;
        for (int64_t at = 0; at < units; at += 8)
          add8<T>(to1 + e * units + at, units - at, i.probs[m] * load8<T>(two_cross + at, 8));
      }
      for (int64_t n = 0; n < j.count; ++n) {
        const int64_t f = j.keys[n];
        q[n] = dot<T>(cross2 + f * units, one_a, both ? a2 + f * units : nullptr, both ? one_cross : nullptr, units) +
               rows_mixed + column_grads[f] * all1;
        column_sums[f] += j.probs[n] * all1;
        if (both)
          for (int64_t at = 0; at < units; at += 8)
            add8<T>(to2 + f * units + at, units - at, j.probs[n] * load8<T>(one_cross + at, 8));
      }
    }
    if (both) {
      spread_straight(a.one, token, a.heads, keys, row_sums.data(), g.straight1 + at_token, units, to1);
      spread_straight(a.two, token, a.heads, keys, column_sums.data(), g.straight2 + at_token, units, to2);
    }
  }
}

}  // namespace monet
