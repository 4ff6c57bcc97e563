// The instruction-set level that a CPU op was asked for, checked against this machine.
#pragma once

#include "../tensors.h"
#include "levels.h"

namespace monet {

// A negative level means the best one that this machine has.
inline int64_t checked_level(int64_t level) {
  STD_TORCH_CHECK(level <= best_level(), "this machine does not have the requested instruction set");
  return level < 0 ? best_level() : level;
}

}  // namespace monet
