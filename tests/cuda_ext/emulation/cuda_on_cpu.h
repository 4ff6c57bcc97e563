// Enough of CUDA for g++ to compile the kernels' own headers and run them on a CPU. Test code.
//
// A thread is a fiber. Blocks run one after another, the threads of a block in turns, each until it meets a collective
// or a barrier; there it waits until all that must meet it there have come. Who must come and never does, or comes to
// another collective, is an error, as is a write past the shared memory asked for. Turns go by ascending or by
// descending thread number, and shared memory begins as garbage: what only works in one order, or on zeros, fails in one
// of the two. It is no race detector: threads never run at once.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__  // only `extern __shared__ float4 shared4[]`, which is below

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

constexpr size_t kSharedBytes = 232448;
namespace monet {
float4 shared4[kSharedBytes / sizeof(float4)];
}

namespace emulation {

enum Kind { kNone, kBarrier, kSyncWarp, kShuffle, kShuffleXor, kBallot, kAny };
inline const char* const kNames[] = {"", "__syncthreads", "__syncwarp", "__shfl_sync", "__shfl_xor_sync", "__ballot_sync",
                                     "__any_sync"};

struct Fiber {
  void* stack_pointer = nullptr;
  std::vector<uint64_t> stack;
  unsigned number = 0;
  bool done = false;
  Kind waits = kNone;
  unsigned mask = 0;
  uint64_t given = 0, argument = 0, taken = 0;
};

constexpr size_t kStackWords = 8192;
constexpr unsigned char kGarbage = 0xff;  // NaN as float or double, negative as integer

struct Machine {
  Fiber* current = nullptr;
  void* scheduler = nullptr;
  const std::function<void()>* body = nullptr;
  Dim3 grid, block, block_index;
  std::string error;
  bool descending = false;
  uint64_t collectives = 0;
};
inline Machine machine;

extern "C" void emulation_switch(void** from, void* to);
__asm__(
    ".text\n.globl emulation_switch\n.type emulation_switch,@function\nemulation_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    ".size emulation_switch,.-emulation_switch\n");

inline void leave() {
  Fiber* self = machine.current;
  emulation_switch(&self->stack_pointer, machine.scheduler);
}

inline void enter_fiber() {
  (*machine.body)();
  machine.current->done = true;
  leave();
}

inline uint64_t meet(Kind kind, unsigned mask, uint64_t given, uint64_t argument) {
  Fiber* self = machine.current;
  self->waits = kind, self->mask = mask, self->given = given, self->argument = argument;
  leave();
  return self->taken;
}

inline void start(Fiber& f, unsigned number) {
  f.stack.assign(kStackWords, 0);
  f.number = number, f.done = false, f.waits = kNone;
  uint64_t* top = f.stack.data() + kStackWords - 2;
  top = reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
  *--top = 0;  // keeps the stack as a call would find it
  *--top = reinterpret_cast<uint64_t>(&enter_fiber);
  for (int n = 0; n < 6; ++n) *--top = 0;
  f.stack_pointer = top;
}

// Lets the collectives of one warp happen whose lanes have all come; false if there was an error.
inline bool settle(std::vector<Fiber>& fibers, unsigned first, bool& moved) {
  const unsigned lanes = std::min<unsigned>(32, static_cast<unsigned>(fibers.size()) - first);
  for (unsigned lane = 0; lane < lanes; ++lane) {
    Fiber& f = fibers[first + lane];
    if (f.done || f.waits == kNone || f.waits == kBarrier) continue;
    if (!(f.mask >> lane & 1)) {
      machine.error = std::string(kNames[f.waits]) + ": a lane is not in its own mask";
      return false;
    }
    bool all = true;
    for (unsigned n = 0; n < 32 && all; ++n) {
      if (!(f.mask >> n & 1)) continue;
      if (n >= lanes || fibers[first + n].done) {
        machine.error = std::string(kNames[f.waits]) + ": a lane of the mask has left";
        return false;
      }
      const Fiber& other = fibers[first + n];
      if (other.waits == kNone) {
        all = false;
      } else if (other.waits != f.waits || other.mask != f.mask) {
        machine.error = std::string(kNames[f.waits]) + " meets " + kNames[other.waits] + " or another mask";
        return false;
      }
    }
    if (!all) continue;
    unsigned ballot = 0;
    for (unsigned n = 0; n < lanes; ++n)
      if (f.mask >> n & 1 && fibers[first + n].given) ballot |= 1u << n;
    const Kind kind = f.waits;
    const unsigned mask = f.mask;
    for (unsigned n = 0; n < lanes; ++n) {
      if (!(mask >> n & 1)) continue;
      Fiber& g = fibers[first + n];
      const auto source = static_cast<unsigned>(kind == kShuffleXor ? n ^ g.argument : g.argument % 32);
      if (kind == kShuffle || kind == kShuffleXor) {
        if (!(mask >> source & 1)) {
          machine.error = "a shuffle reads a lane that is not in its mask";
          return false;
        }
        g.taken = fibers[first + source].given;
      } else {
        g.taken = kind == kBallot ? ballot : ballot != 0;
      }
    }
    for (unsigned n = 0; n < lanes; ++n)
      if (mask >> n & 1) fibers[first + n].waits = kNone;
    ++machine.collectives;
    moved = true;
  }
  return true;
}

inline bool run_block(std::vector<Fiber>& fibers, size_t shared_bytes) {
  auto* shared_memory = reinterpret_cast<unsigned char*>(monet::shared4);
  memset(shared_memory, kGarbage, kSharedBytes);
  const auto count = static_cast<unsigned>(fibers.size());
  for (unsigned n = 0; n < count; ++n) start(fibers[n], n);
  for (;;) {
    bool moved = false;
    for (unsigned turn = 0; turn < count; ++turn) {
      Fiber& f = fibers[machine.descending ? count - 1 - turn : turn];
      if (f.done || f.waits != kNone) continue;
      machine.current = &f;
      emulation_switch(&machine.scheduler, f.stack_pointer);
      moved = true;
    }
    unsigned done = 0, at_barrier = 0;
    for (unsigned first = 0; first < count; first += 32)
      if (!settle(fibers, first, moved)) return false;
    for (const Fiber& f : fibers) done += f.done, at_barrier += !f.done && f.waits == kBarrier;
    if (done == count) break;
    if (at_barrier && done + at_barrier == count) {
      if (done) {
        machine.error = "__syncthreads: a thread has left";
        return false;
      }
      for (Fiber& f : fibers) f.waits = kNone;
      ++machine.collectives;
      moved = true;
    }
    if (!moved) {
      machine.error = "deadlock: threads wait for others that wait elsewhere";
      return false;
    }
  }
  for (size_t n = shared_bytes; n < kSharedBytes; ++n) {
    if (shared_memory[n] != kGarbage) {
      machine.error = "a write past the shared memory asked for";
      return false;
    }
  }
  return true;
}

// Runs a kernel over its grid; false, and `machine.error`, if something is wrong.
inline bool launch(unsigned grid, unsigned block, size_t shared_bytes, const std::function<void()>& body) {
  machine.body = &body, machine.error.clear(), machine.collectives = 0;
  machine.grid.x = grid, machine.block.x = block;
  static std::vector<Fiber> fibers;
  fibers.resize(block);
  for (unsigned n = 0; n < grid; ++n) {
    machine.block_index.x = machine.descending ? grid - 1 - n : n;
    if (!run_block(fibers, shared_bytes)) return false;
  }
  return true;
}

struct ThreadIndex {
  struct X {
    operator unsigned() const { return machine.current->number; }
  } x;
};
inline ThreadIndex thread_index;

template <class T>
inline uint64_t pack(T v) {
  static_assert(sizeof(T) <= 8, "no wider shuffles");
  uint64_t word = 0;
  memcpy(&word, &v, sizeof v);
  return word;
}
template <class T>
inline T unpack(uint64_t word) {
  T v;
  memcpy(&v, &word, sizeof v);
  return v;
}

}  // namespace emulation

#define threadIdx (emulation::thread_index)
#define blockIdx (emulation::machine.block_index)
#define blockDim (emulation::machine.block)
#define gridDim (emulation::machine.grid)

inline void __syncthreads() { emulation::meet(emulation::kBarrier, 0, 0, 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::meet(emulation::kSyncWarp, mask, 0, 0); }
template <class T>
inline T __shfl_sync(unsigned mask, T v, int source) {
  return emulation::unpack<T>(
      emulation::meet(emulation::kShuffle, mask, emulation::pack(v), static_cast<unsigned>(source)));
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T v, int lanes) {
  return emulation::unpack<T>(
      emulation::meet(emulation::kShuffleXor, mask, emulation::pack(v), static_cast<unsigned>(lanes)));
}
inline unsigned __ballot_sync(unsigned mask, bool v) {
  return static_cast<unsigned>(emulation::meet(emulation::kBallot, mask, v, 0));
}
inline bool __any_sync(unsigned mask, bool v) { return emulation::meet(emulation::kAny, mask, v, 0) != 0; }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(unsigned v) { return __builtin_ffs(static_cast<int>(v)); }
inline float __uint_as_float(unsigned v) { return emulation::unpack<float>(v); }
template <class T>
inline T __ldg(const T* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T)) {
    emulation::machine.error = "a misaligned load";
    abort();
  }
  return *p;
}
template <class T>
inline T atomicAdd(T* p, T v) {
  const T old = *p;
  *p += v;
  return old;
}
