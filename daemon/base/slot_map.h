#pragma once
// An owner table with generation ids: what crosses a turn of the loop is an id, never a pointer.
// Objects keep their address until erased. Not thread-safe; one table per loop.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "daemon/base/error.h"

namespace gatehouse {

/// Names an object in one SlotMap<T>. The generation exposes a reused slot; 0 never lives.
template <class T>
struct SlotId {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;

  friend bool operator==(SlotId, SlotId) = default;
  explicit operator bool() const { return generation != 0; }
  std::uint64_t packed() const { return std::uint64_t{generation} << 32 | slot; }
  static SlotId unpack(std::uint64_t bits) {
    return {static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32)};
  }
};

template <class T>
class SlotMap {
 public:
  using Id = SlotId<T>;

  /// Takes the object; its id is valid until erase(). Amortised O(1).
  Id insert(std::unique_ptr<T> object) {
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(slots_.size()));
      slots_.push_back({});
    }
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    slots_[slot].object = std::move(object);
    ++size_;
    return {slot, slots_[slot].generation};
  }

  /// The living object, or null when it is gone (or never was).
  T* find(Id id) const {
    if (id.slot >= slots_.size() || slots_[id.slot].generation != id.generation) return nullptr;
    return slots_[id.slot].object.get();
  }

  /// Gives the object back, and ends its id. Null when it was gone already.
  std::unique_ptr<T> erase(Id id) {
    if (!find(id)) return nullptr;
    auto& slot = slots_[id.slot];
    if (++slot.generation == 0) slot.generation = 1;  // 0 is no id.
    free_.push_back(id.slot);
    --size_;
    return std::move(slot.object);
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  /// Calls visit(id, object) for each; visit may erase the one that it is given and insert others.
  template <class Visit>
  void for_each(Visit visit) {
    for (std::uint32_t i = 0; i < slots_.size(); ++i)
      if (slots_[i].object) visit(Id{i, slots_[i].generation}, *slots_[i].object);
  }

 private:
  struct Slot {
    std::unique_ptr<T> object;
    std::uint32_t generation = 1;
  };
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::size_t size_ = 0;
};

}  // namespace gatehouse

template <class T>
struct std::hash<gatehouse::SlotId<T>> {
  std::size_t operator()(gatehouse::SlotId<T> id) const noexcept {
    return std::hash<std::uint64_t>{}(id.packed());
  }
};
