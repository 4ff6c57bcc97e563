// One side of a sparse routing, as all kernels read it.
#pragma once

#include <cstdint>

namespace monet {

template <class T>
struct Side {
  const int16_t* indices;  // (tokens, heads, width)
  const T* probs;          // (tokens, heads, width)
  const int32_t* counts;   // (tokens, heads)
  int64_t width;
};

}  // namespace monet
