#pragma once
// How yaml.cc and yaml_builder.cc keep a document: one flat array of nodes, one of children, and an
// arena of text. Private to these two.

#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <vector>

#include "daemon/yaml.h"

namespace gatehouse::daemon {

struct YamlEntry {
  std::string_view text;          // of a scalar; in the arena
  std::uint32_t first_child = 0;  // in YamlContent::children; a mapping has key, value, key, value
  std::uint32_t child_count = 0;
  std::uint32_t expanded = 1;  // this node and all below it, aliases counted in full
  Mark mark;
  YamlKind kind = YamlKind::kScalar;
  bool is_plain = false;
  bool is_open = false;     // its end has not been seen: an alias to it would be endless
  std::uint8_t height = 0;  // levels of containers from here down
};

struct YamlContent {
  std::vector<YamlEntry> nodes;
  std::vector<std::uint32_t> children;
  std::pmr::monotonic_buffer_resource text;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  std::uint32_t root = kNone;
};

}  // namespace gatehouse::daemon
