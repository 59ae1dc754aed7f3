// A configuration from a stranger: reading it must end in a Config or in errors, within bounds, and
// every node and finding must have a place inside of the text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "daemon/config_reader.h"
#include "daemon/yaml.h"

namespace gatehouse::daemon {
namespace {

/// Visits what is reachable, aliases as often as they are used; gives the number of nodes.
std::size_t visit(YamlNode node, std::uint32_t lines, std::size_t depth, const YamlLimits& limits) {
  check(depth <= limits.depth + 1, "a node deeper than the limit");
  check(node.mark().line >= 1 && node.mark().line <= lines + 1, "a node outside of the text");
  std::size_t count = 1;
  for (std::size_t i = 0; i < node.size(); ++i) {
    if (node.is_sequence()) {
      count += visit(node.item(i), lines, depth + 1, limits);
    } else {
      check(node.key(i).is_scalar(), "a key that is not text");
      count += 1 + visit(node.value(i), lines, depth + 1, limits);
    }
  }
  return count;
}

void read(std::string_view text) {
  // YAML also ends lines with CR, NEL, LS and PS.
  const auto lines = static_cast<std::uint32_t>(text.size());
  YamlLimits limits;
  limits.nodes = 20'000;  // So that a bomb stays quick.
  std::vector<YamlProblem> problems;
  const auto document = YamlDocument::parse(text, problems, limits);
  check(document || !problems.empty(), "no document and no reason");
  if (document && document->root())
    check(visit(document->root(), lines, 1, limits) <= limits.nodes, "more nodes than the limit");
  for (const YamlProblem& problem : problems) {
    check(!problem.message.empty(), "a problem without a message");
    check(problem.mark.line <= lines + 1, "a problem outside of the text");
  }
  if (!document) return;

  const ConfigReading reading = read_config_text(text, "/nonexistent/gatehouse.yaml", WallTime{});
  check(reading.config.has_value() == reading.report.errors.empty(), "a config with errors");
  const std::string said = format(reading.report);
  const auto is_shown = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7f : c == '\n' || c == '\t';
  };
  check(std::all_of(said.begin(), said.end(), is_shown), "a control character for the terminal");
}

}  // namespace
}  // namespace gatehouse::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gatehouse::daemon::read({reinterpret_cast<const char*>(data), size});
  return 0;
}
