// Memory for large arrays that is kept for the next call, independent of torch.
//
// The system hands out memory zeroed and page by page, which for an array that is written once costs several times the
// writing. malloc returns arrays of this size to the system when they are freed, so every call would pay again.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace monet {

// A piece of memory; `data` is null if there is none.
struct Block {
  void* data;
  size_t size;
};

// Blocks of memory, and the freed large ones of this process, thread-safe. Idle blocks are marked as disposable, so that
// the system takes their pages before it runs out of memory, and there are never more than kMost bytes of them.
class Arena {
 public:
  static constexpr size_t kPage = size_t{2} << 20;  // a huge page of x86-64: one fault in place of 512
  static constexpr size_t kMost = size_t{256} << 20;
  static constexpr size_t kLarge = size_t{1} << 20;  // smaller blocks are malloc's, which keeps them itself

  // Never destroyed, because arrays may outlive all static objects.
  static Arena& shared() {
    static Arena* arena = new Arena;
    return *arena;
  }

  // Returns at least `bytes`, uninitialised; no memory if the system has none.
  Block take(size_t bytes) {
    if (bytes < kLarge) {
      void* data = std::malloc(bytes);
      return {data, data ? bytes : 0};
    }
    const size_t size = (bytes + kPage - 1) / kPage * kPage;
    {
      const Lock lock(mutex_, std::try_to_lock);
      const auto best = lock ? smallest(size) : idle_.end();
      if (lock && best != idle_.end()) {
        const Block found = *best;
        idle_.erase(best);
        return found;
      }
    }
    return map(size);
  }

  // Takes back a block, for any thread to use.
  void give_back(Block block) {
    if (block.size < kLarge) return std::free(block.data);
    std::vector<Block> surplus;
    {
      const Lock lock(mutex_, std::try_to_lock);
      if (!lock || block.size > kMost) {
        munmap(block.data, block.size);
        return;
      }
#if defined(MADV_FREE)
      madvise(block.data, block.size, MADV_FREE);
#endif
      idle_.push_back(block);
      size_t total = 0;
      auto first = idle_.end();  // the latest ones are kept
      while (first != idle_.begin() && total + (first - 1)->size <= kMost) total += (--first)->size;
      surplus.assign(idle_.begin(), first);
      idle_.erase(idle_.begin(), first);
    }
    for (const Block& old : surplus) munmap(old.data, old.size);
  }

 private:
  // A thread never waits for another: the system's memory is there too. So a child process that was forked while
  // another thread held the lock goes on, without the idle blocks.
  using Lock = std::unique_lock<std::mutex>;

  // The smallest idle block of `size`, at most twice that.
  std::vector<Block>::iterator smallest(size_t size) {
    auto best = idle_.end();
    for (auto block = idle_.begin(); block != idle_.end(); ++block)
      if (block->size >= size && block->size <= 2 * size && (best == idle_.end() || block->size < best->size))
        best = block;
    return best;
  }

  static Block map(size_t size) {
    void* mapped = mmap(nullptr, size + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return {nullptr, 0};
    auto* start = static_cast<unsigned char*>(mapped);
    const size_t before = (kPage - reinterpret_cast<uintptr_t>(start) % kPage) % kPage;
    if (before) munmap(start, before);
    if (before < kPage) munmap(start + before + size, kPage - before);
#if defined(MADV_HUGEPAGE)
    madvise(start + before, size, MADV_HUGEPAGE);
#endif
    return {start + before, size};
  }

  std::mutex mutex_;
  std::vector<Block> idle_;  // longest idle first
};

// A block for as long as this object lives.
class Held {
 public:
  explicit Held(Block block) : block_(block) {}
  Held(Held&& other) noexcept : block_(other.block_) { other.block_ = {nullptr, 0}; }
  Held& operator=(Held&& other) noexcept {
    const Block mine = block_;
    block_ = other.block_, other.block_ = mine;
    return *this;
  }
  ~Held() { Arena::shared().give_back(block_); }
  void* data() const { return block_.data; }

 private:
  Block block_;
};

}  // namespace monet
