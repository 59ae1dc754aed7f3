#pragma once
// `gatehouse import` as a command: reads the manifests, prints the report, and keeps what
// import_manifests() made of them: files that the configuration names, keys of accounts in the
// database, the configuration last. All that is new or nothing; no file is written over.

#include <string>
#include <vector>

#include "daemon/import.h"

namespace gatehouse::daemon {

struct ImportCommand {
  std::vector<std::string> manifests;  // "-" is stdin
  std::string output;                  // empty: stdout
  bool as_json = false;                // the report
  ImportOptions options;               // has_directory follows from output
};

/// The exit status: 0 done, 1 failed or refused a part, 2 wrong usage or unreadable files.
int run_import(const ImportCommand& command);

}  // namespace gatehouse::daemon
