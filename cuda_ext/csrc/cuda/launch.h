// Kernel launches: the interface between the library's C++ and CUDA sides. All return nullptr, or an error message.
#pragma once

#include <cstdint>

#include "../arguments.h"

namespace monet {

// Logits (count, keys) of bfloat16 or float32; `rows.logits` is not read.
const char* launch_route(const void* logits, bool bf16, const Rows& rows, int64_t count, void* stream);

const char* launch_mix(const Mix<float>& mix, int64_t tokens, void* stream);

// `table` is scratch space for (keys, tokens * heads) floats.
const char* launch_accumulate(const Accumulate& work, const Side<float>& one, int64_t tokens, int64_t heads,
                              float* table, void* stream);

// Every active expert: experts, values (tokens, capacity) and counts (tokens), besides `work.totals`.
const char* launch_contributions(const Contributions<float>& work, int64_t tokens, int64_t capacity, int32_t* experts,
                                 float* values, int32_t* counts, void* stream);

}  // namespace monet
