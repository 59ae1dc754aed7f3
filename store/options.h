#pragma once
// What the store room is told. Filled by the roof.

#include <string>

namespace gatehouse::store {

struct Options {
  std::string state_directory = "/var/lib/gatehouse";  // 0700; gatehouse.db lives here, 0600
};

}  // namespace gatehouse::store
