// Manifests from a stranger: an import must end in errors or in a result that is YAML, with a line
// of the report for each scalar of the input, and nothing for the terminal to act on.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/error.h"
#include "daemon/import.h"
#include "daemon/yaml.h"

namespace gatehouse::daemon {
namespace {

std::size_t count_scalars(YamlNode node) {
  if (node.is_scalar() || node.size() == 0) return 1;
  std::size_t count = 0;
  for (std::size_t i = 0; i < node.size(); ++i)
    count += count_scalars(node.is_mapping() ? node.value(i) : node.item(i));
  return count;
}

/// A line of the input that is shown keeps its tabs.
void check_shown(std::string_view said, bool may_have_tabs) {
  const auto is_shown = [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7f : c == '\n' || (c == '\t' && may_have_tabs);
  };
  check(std::all_of(said.begin(), said.end(), is_shown), "a control character for the terminal");
}

/// Files that an import makes stay in their directory, and are not read by others by mistake.
void check_files(const Imported& imported, const ImportOptions& options) {
  check(options.has_directory || imported.files.empty(), "a file without a place");
  check(options.takes_keys || imported.accounts.empty(), "a key that nobody asked for");
  for (const ImportedFile& file : imported.files) {
    check(!file.name.empty() && file.name.front() != '.' && file.name.find('/') == file.name.npos,
          "a file elsewhere");
    check(file.is_secret == file.name.ends_with(".key") && (options.takes_keys || !file.is_secret),
          "a secret for everybody, or that nobody asked for");
  }
}

void read(std::string_view text, const ImportOptions& options) {
  if (text.find('*') != text.npos) return;  // Bombs of aliases are yaml_fuzz's.
  const std::vector<ManifestFile> files{{"m.yaml", std::string(text)}};
  const Imported imported = import_manifests(files, options);
  check_files(imported, options);
  if (!imported.errors.empty()) {
    check(imported.config.empty(), "a result in spite of errors");
    for (const Diagnostic& error : imported.errors) check_shown(format(error), true);
    return;
  }
  std::vector<YamlProblem> problems;
  const auto documents = YamlDocument::parse_all(text, problems);
  check(documents.has_value(), "no errors for what is no YAML");
  std::size_t scalars = 0;
  for (const YamlDocument& document : *documents)
    if (const YamlNode root = document.root(); root && !root.is_null())
      scalars += count_scalars(root);
  check(scalars <= imported.fields.size(), "a scalar without a word");

  problems.clear();
  if (!imported.config.empty()) YamlDocument::parse(imported.config, problems);
  check(problems.empty(), "a result that is not YAML");
  check_shown(format_report(imported), false);
}

}  // namespace
}  // namespace gatehouse::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gatehouse::daemon::ImportOptions options;
  for (const bool takes_keys : {false, true}) {
    options.has_directory = options.takes_keys = takes_keys;
    gatehouse::daemon::read({reinterpret_cast<const char*>(data), size}, options);
  }
  return 0;
}
