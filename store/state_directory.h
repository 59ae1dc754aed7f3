#pragma once
// The directory that holds what must survive: created 0700 when missing, refused when others may
// look into it, and locked, so that two daemons never share one. Owns the lock's descriptor.

#include <string>

#include "daemon/base/error.h"

namespace gatehouse::store {

class StateDirectory {
 public:
  /// Creates the directory when missing (parents too), checks its mode and the modes of the
  /// database files in it, and takes the lock. kPermission names path, mode and the chmod to run;
  /// kConflict says that another daemon holds it.
  static Result<StateDirectory> open(const std::string& path);
  StateDirectory(StateDirectory&& other) noexcept;
  StateDirectory& operator=(StateDirectory&&) = delete;
  ~StateDirectory();

  const std::string& path() const { return path_; }
  std::string database_path() const { return path_ + "/gatehouse.db"; }

 private:
  StateDirectory(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_ = -1;
};

}  // namespace gatehouse::store
