// Arguments of the kernels on all devices: one struct per kernel, plain pointers and sizes.
#pragma once

#include <cstdint>

namespace monet {

// One side of a sparse routing.
template <class T>
struct Side {
  const int16_t* indices;  // (tokens, heads, width)
  const T* probs;          // (tokens, heads, width)
  const int32_t* counts;   // (tokens, heads)
  int64_t width;
};

// Count that marks a row with NaN or +inf, or with nothing but -inf.
constexpr int32_t kNotFinite = -1;

// Arguments of `route`. Row r belongs to head r % heads; outputs have `width` slots per row.
struct Rows {
  const float* logits;  // (rows, keys)
  const float* mean;    // (heads)
  const float* scale;   // (heads), 1 / sqrt(variance + eps)
  float sigma;
  int64_t heads, keys, width;
  int16_t* indices;  // (rows, width)
  float* probs;      // (rows, width)
  int32_t* counts;   // (rows)
};

// Arguments of `mix`. For horizontal experts, which need sums by key set 2 only, a2, straight1, cross1, rows and
// straight2 are null.
template <class T>
struct Mix {
  const T* a1;       // (tokens, keys, units)
  const T* a2;       // (tokens, keys, units)
  Side<T> one, two;  // routing by both key sets
  const T* factors;  // S, (keys, keys), or null
  int64_t heads, keys, units;
  T *straight1, *cross1, *rows;     // rows[i] * a1[i], sum_j W a2[j], sum_j W
  T *cross2, *straight2, *columns;  // sum_i W a1[i], columns[j] * a2[j], sum_i W
};

// Gradients of the outputs of `Mix`, which come in, and of its inputs, which go out.
template <class T>
struct MixBackward {
  Mix<T> forward;  // inputs only
  const T *straight1, *cross1, *rows, *cross2, *straight2, *columns;
  T *a1, *a2, *probs1, *probs2;
};

constexpr double kMassUnit = 68719476736.0;  // 2^36: integer masses make sums independent of their order

// Arguments of `accumulate`: the statistics of all experts, and the tokens to add.
struct Accumulate {
  Side<float> two;
  const int64_t* labels;  // (tokens)
  const int64_t* rows;    // (tokens) ascending
  const int64_t* starts;  // (tokens) first row of the token's document; -1 keeps it out of the best lists
  const int64_t* priorities;  // (tokens) -1 keeps it out of the samples
  int64_t keys, labels_count, bins, best, per_document, sampled;
  int32_t top;         // scores are at most 2^top
  int64_t* tokens;     // (keys * keys, labels)
  int64_t* mass;       // (keys * keys, labels)
  int64_t* histogram;  // (keys * keys, bins)
  float* best_scores;  // (keys * keys, best) falling; 0 in empty slots
  int64_t* best_rows;  // (keys * keys, best)
  int64_t* sample_priorities;  // (keys * keys, bins, sampled) ascending; -1 in empty slots
  float* sample_scores;        // (keys * keys, bins, sampled)
};

// Arguments of `contributions`. Projections have one row per token, or one for all tokens, and then step 0. Horizontal
// experts have no a2, and only d21 and c2.
template <class T>
struct Contributions {
  const T *a1, *a2;                  // (tokens, keys, units)
  Side<T> one, two;                  // routing by both key sets
  const T* factors;                  // S, (keys, keys), or null
  const T *d11, *d12, *d21, *d22;    // (rows, keys, units): direction . V of each hidden unit
  const T *c1, *c2;                  // (rows, keys): direction . b
  int64_t row_step;                  // rows to advance per token: 0 or 1
  int64_t heads, keys, units, top;
  int64_t* experts;  // (tokens, top) strongest first, -1 in empty slots
  T* values;         // (tokens, top)
  double* totals;    // (tokens)
};

}  // namespace monet
