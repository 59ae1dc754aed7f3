#pragma once
// Shared ownership inside one loop: a count without atomics, for what thousands of requests hold at
// once (a request keeps the snapshot that it began with). Never crosses threads.

#include <cstdint>
#include <utility>

namespace gatehouse {

/// Base of what LoopRef holds.
class LoopShared {
 public:
  LoopShared() = default;
  LoopShared(const LoopShared&) = delete;
  LoopShared& operator=(const LoopShared&) = delete;
  virtual ~LoopShared() = default;

 private:
  template <class T>
  friend class LoopRef;
  std::uint32_t holders_ = 0;
};

template <class T>
class LoopRef {
 public:
  LoopRef() = default;
  /// Takes an object made with new; the last holder deletes it.
  explicit LoopRef(T* object) : object_(object) { hold(); }
  LoopRef(const LoopRef& other) : object_(other.object_) { hold(); }
  template <class U>
  LoopRef(const LoopRef<U>& other)  // NOLINT: converts as shared_ptr does
      : object_(other.get()) {
    hold();
  }
  LoopRef(LoopRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  LoopRef& operator=(LoopRef other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~LoopRef() {
    if (object_ && --static_cast<LoopShared*>(object_)->holders_ == 0) delete object_;
  }

  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  void hold() {
    if (object_) ++static_cast<LoopShared*>(object_)->holders_;
  }
  T* object_ = nullptr;
};

}  // namespace gatehouse
