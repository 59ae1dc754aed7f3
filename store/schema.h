#pragma once
// The tables, as a list of migrations: entry N takes a database from schema N to N + 1. Entries are
// never edited once released; a change is a new entry. Times are Unix milliseconds, lists of names
// are one text with a name per line.

#include <span>
#include <string_view>

#include "daemon/base/error.h"

namespace gatehouse::store {

class Database;

/// The migrations of this version.
std::span<const std::string_view> migrations();

/// Brings the database to the newest schema, each step in one transaction. kUnsupported: it was
/// written by a newer version. kCorrupt: its version and its tables contradict each other.
Result<void> migrate(Database& database, std::span<const std::string_view> steps);

}  // namespace gatehouse::store
