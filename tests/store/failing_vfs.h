#pragma once
// SQLite's disk, made to fail: while a FailingVfs lives it is the default VFS, and its n-th write,
// sync, truncate or open for writing fails with the given code; so do those behind it, until
// space_returns().

#include <sqlite3.h>

#include <new>

namespace gatehouse {

class FailingVfs {
 public:
  FailingVfs();
  ~FailingVfs();
  FailingVfs(const FailingVfs&) = delete;
  FailingVfs& operator=(const FailingVfs&) = delete;

  /// The n-th operation from now (1: the next) fails with `code`: SQLITE_FULL, SQLITE_IOERR_WRITE.
  void fail_at(int n, int code);
  void space_returns() { countdown_ = -1; }
  /// True when an operation failed since fail_at().
  bool has_failed() const { return has_failed_; }

  /// For the operations themselves: SQLITE_OK, or the code to fail with.
  int verdict();

 private:
  sqlite3_vfs vfs_{};
  int countdown_ = -1;  // operations until failure; 0: all fail; -1: none
  int code_ = 0;
  bool has_failed_ = false;
};

namespace failing_vfs {

/// SQLite's file object: ours, and behind it the real one.
struct File {
  sqlite3_file base;
  FailingVfs* owner;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

inline File& of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }
inline sqlite3_file* real(sqlite3_file* file) { return of(file).real(); }
inline sqlite3_vfs* system_vfs(sqlite3_vfs* vfs) {
  return static_cast<sqlite3_vfs*>(vfs->pAppData);
}

template <class Operation>
inline int guarded(sqlite3_file* file, Operation operation) {
  const int verdict = of(file).owner->verdict();
  return verdict == SQLITE_OK ? operation(real(file)) : verdict;
}

inline FailingVfs* current = nullptr;

inline int close_file(sqlite3_file* file) { return real(file)->pMethods->xClose(real(file)); }
inline int read(sqlite3_file* file, void* into, int size, sqlite3_int64 at) {
  return real(file)->pMethods->xRead(real(file), into, size, at);
}
inline int write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  return guarded(file, [&](auto* f) { return f->pMethods->xWrite(f, from, size, at); });
}
inline int truncate(sqlite3_file* file, sqlite3_int64 size) {
  return guarded(file, [&](auto* f) { return f->pMethods->xTruncate(f, size); });
}
inline int sync(sqlite3_file* file, int flags) {
  return guarded(file, [&](auto* f) { return f->pMethods->xSync(f, flags); });
}
inline int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}
inline int lock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}
inline int unlock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}
inline int check_reserved(sqlite3_file* file, int* out) {
  return real(file)->pMethods->xCheckReservedLock(real(file), out);
}
inline int control(sqlite3_file* file, int operation, void* argument) {
  return real(file)->pMethods->xFileControl(real(file), operation, argument);
}
inline int sector_size(sqlite3_file* file) { return real(file)->pMethods->xSectorSize(real(file)); }
inline int traits(sqlite3_file* file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
inline int shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
}
inline int shm_lock(sqlite3_file* file, int offset, int n, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}
inline void shm_barrier(sqlite3_file* file) { real(file)->pMethods->xShmBarrier(real(file)); }
inline int shm_unmap(sqlite3_file* file, int remove) {
  return real(file)->pMethods->xShmUnmap(real(file), remove);
}

inline constexpr sqlite3_io_methods kMethods = {
    2,        close_file,  read,           write,   truncate,    sync,   file_size,
    lock,     unlock,      check_reserved, control, sector_size, traits, shm_map,
    shm_lock, shm_barrier, shm_unmap,      nullptr, nullptr};

inline int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
  auto* ours = new (file) File{{nullptr}, current};
  const int verdict = (flags & SQLITE_OPEN_CREATE) ? current->verdict() : SQLITE_OK;
  if (verdict != SQLITE_OK) return SQLITE_CANTOPEN;
  const int code = system_vfs(vfs)->xOpen(system_vfs(vfs), name, ours->real(), flags, out);
  if (ours->real()->pMethods) ours->base.pMethods = &kMethods;
  return code;
}

}  // namespace failing_vfs

inline FailingVfs::FailingVfs() {
  auto* system = sqlite3_vfs_find(nullptr);
  vfs_ = *system;
  vfs_.pNext = nullptr;
  vfs_.zName = "failing";
  vfs_.pAppData = system;
  vfs_.szOsFile = static_cast<int>(sizeof(failing_vfs::File)) + system->szOsFile;
  vfs_.xOpen = failing_vfs::open_file;
  failing_vfs::current = this;
  sqlite3_vfs_register(&vfs_, 1);
}

inline FailingVfs::~FailingVfs() {
  sqlite3_vfs_unregister(&vfs_);
  sqlite3_vfs_register(failing_vfs::system_vfs(&vfs_), 1);
  failing_vfs::current = nullptr;
}

inline void FailingVfs::fail_at(int n, int code) {
  countdown_ = n - 1;
  code_ = code;
  has_failed_ = false;
}

inline int FailingVfs::verdict() {
  if (countdown_ < 0) return SQLITE_OK;
  if (countdown_ > 0) {
    --countdown_;
    return SQLITE_OK;
  }
  has_failed_ = true;
  return code_;
}

}  // namespace gatehouse
