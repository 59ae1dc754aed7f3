#pragma once
// What the tests of the import share: texts in, what became of a field out.

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "daemon/config_reader.h"
#include "daemon/import.h"

namespace gatehouse::daemon {

inline Imported import_text(const std::string& text, const ImportOptions& options = {}) {
  const std::vector<ManifestFile> files{{"m.yaml", text}};
  return import_manifests(files, options);
}

/// "dropped: why" for the last field with that path; "used" for one without a reason.
inline std::string fate_of(const Imported& imported, const std::string& path) {
  std::string out = "no field " + path;
  for (const ImportedField& field : imported.fields)
    if (field.field == path)
      out = std::string(to_string(field.fate)) + (field.reason.empty() ? "" : ": ") + field.reason;
  return out;
}

/// The errors that the configuration's reader has.
inline std::string check(const Imported& imported) {
  const ConfigReading reading = read_config_text(imported.config, "result.yaml");
  std::string out;
  for (const Diagnostic& error : reading.report.errors) out += format(error);
  return out;
}

/// The manifests of "Istio (Envoy) + Cert-Manager + Let's Encrypt for TLS", as they stood there.
inline std::vector<ManifestFile> article() {
  std::vector<ManifestFile> files;
  for (const char* name :
       {"certificate-issuer.yml", "certificate-istio.yml", "certificate-services.yml",
        "certificate-ingress.yml", "helloworld.yml"}) {
    std::ifstream file(GATEHOUSE_SOURCE_DIR "/tests/daemon/import/" + std::string(name));
    std::ostringstream text;
    text << file.rdbuf();
    files.push_back({name, text.str()});
  }
  return files;
}

inline void add_scalars(YamlNode node, std::vector<Mark>& into) {
  if (node.is_scalar() || node.size() == 0) return into.push_back(node.mark());
  for (std::size_t i = 0; i < node.size(); ++i)
    add_scalars(node.is_mapping() ? node.value(i) : node.item(i), into);
}

/// Where each scalar of a file stands, and each empty list or mapping.
inline std::vector<Mark> scalars_of(const std::string& text) {
  std::vector<YamlProblem> problems;
  std::vector<Mark> marks;
  const auto documents = YamlDocument::parse_all(text, problems);
  if (documents)
    for (const YamlDocument& document : *documents) add_scalars(document.root(), marks);
  return marks;
}

}  // namespace gatehouse::daemon
