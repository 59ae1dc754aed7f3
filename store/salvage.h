#pragma once
// Rescue from a damaged database: puts its files aside, and copies what can still be read of its
// tables into a fresh one. Used by Database::open only.

#include <cstddef>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/error.h"

struct sqlite3;

namespace gatehouse::store {

/// Renames PATH, PATH-wal and PATH-shm to PATH.damaged-TIME, ...-wal and ...-shm. Gives the names
/// that exist now, the database's first.
Result<std::vector<std::string>> set_aside(const std::string& path, WallTime now);

/// Copies every readable row of the tables of `fresh` out of the damaged file; rows that break a
/// constraint or a type stay behind. Gives their count; never fails. The caller has a transaction
/// open.
std::size_t salvage_rows(const std::string& damaged_path, sqlite3* fresh);

}  // namespace gatehouse::store
