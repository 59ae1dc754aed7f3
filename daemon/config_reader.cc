#include "daemon/config_reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "daemon/certificate_files.h"
#include "daemon/config_draft.h"
#include "daemon/config_fields.h"
#include "daemon/file_watch.h"
#include "daemon/yaml.h"

namespace gatehouse::daemon {

namespace {

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "" : path.substr(0, slash);
}

net::ListenAddress must_parse(std::string_view text) {
  auto address = net::ListenAddress::parse(text);
  check(address.has_value(), "a default address");
  return *address;
}

/// Defaults that need more than a constant.
Config default_config(const std::string& path) {
  Config config;
  config.file = path;
  config.proxy.https = {must_parse("[::]:443")};
  config.proxy.http = {must_parse("[::]:80")};
  config.admin.listen = must_parse("127.0.0.1:9180");
  return config;
}

/// Declared, and nobody refers to it: most often a slip in the name elsewhere.
void warn_of_unused(ConfigDraft& draft) {
  Findings& findings = draft.reader.findings();
  for (const auto& [name, backend] : draft.backends) {
    if (!backend.is_used) findings.warn(backend.mark, "no route uses backend " + in_quotes(name));
  }
  for (const auto& [name, certificate] : draft.certificates) {
    if (!certificate.is_used)
      findings.warn(certificate.mark, "no vhost uses certificate " + in_quotes(name));
  }
}

void read_root(ConfigDraft& draft, YamlNode root) {
  Fields fields(draft.reader, root, {"the configuration"});
  read_server(draft, fields);
  read_issuers(draft, fields);
  read_certificates(draft, fields.find("certificates"));
  read_backends(draft, fields.find("backends"));
  read_vhosts(draft, fields);
  read_kubernetes(draft, fields.find("kubernetes"));
  read_tracing(draft, fields.find("tracing"));
  fields.finish();
  if (!draft.reader.findings().has_errors()) warn_of_unused(draft);
}

/// No document: the findings say why.
std::optional<YamlDocument> parse_yaml(std::string_view text, Findings& findings) {
  std::vector<YamlProblem> problems;
  auto document = YamlDocument::parse(text, problems);
  for (YamlProblem& problem : problems)
    findings.error(problem.mark, std::move(problem.message), std::move(problem.hint));
  if (!document) return document;
  const YamlNode root = document->root();
  if (!root || root.is_null()) {
    findings.error(Mark{}, "the file is empty",
                   "vhosts: [{host: www.mydomain.com, backend: \"http://127.0.0.1:8080\"}]");
    return std::nullopt;
  }
  if (!root.is_mapping()) {
    findings.error(root.mark(), "the configuration is a mapping of keys",
                   "vhosts: [{host: www.mydomain.com, backend: \"http://127.0.0.1:8080\"}]");
    return std::nullopt;
  }
  return document;
}

constexpr std::size_t kBytesMax = YamlLimits{}.bytes;

}  // namespace

ConfigReading read_config_text(std::string_view text, const std::string& path, WallTime now,
                               const Config* before) {
  Findings findings(path, text);
  Reader reader(findings, directory_of(path));
  Config config = default_config(path);
  if (const auto document = parse_yaml(text, findings)) {
    ConfigDraft draft(reader, config, now, before);
    read_root(draft, document->root());
  }
  ConfigReading reading;
  if (!findings.has_errors()) reading.config = std::move(config);
  reading.report = findings.finish();
  return reading;
}

ConfigReading read_config(const std::string& path, WallTime now, const Config* before) {
  auto version = volume_version(path);  // Before the file: a swap after it is seen later.
  auto text = read_file(path, kBytesMax);
  if (text) {
    ConfigReading reading = read_config_text(*text, path, now, before);
    if (reading.config) reading.config->volume_version = std::move(version);
    return reading;
  }
  std::string message = std::move(text).error().message;
  if (message.starts_with(path + ": ")) message.erase(0, path.size() + 2);
  ConfigReading reading;
  reading.report.errors.push_back({false, path, Mark{}, std::move(message), {}, {}});
  return reading;
}

Result<std::string> read_control_socket(const std::string& path) {
  auto text = read_file(path, kBytesMax);
  if (!text) return std::move(text).error();
  Findings findings(path, *text);
  Reader reader(findings, directory_of(path));
  AdminOptions admin;
  if (const auto document = parse_yaml(*text, findings)) {
    Fields root(reader, document->root(), {"the configuration"});
    if (const Field section = root.find("admin")) {
      Fields fields = reader.mapping(section, {"\"admin\""});
      reader.socket_path(fields.find("socket"), admin.socket);
    }
  }
  if (!findings.has_errors()) return admin.socket;
  return Error{Fault::kInvalid, path + " does not check: see gatehouse check"};
}

}  // namespace gatehouse::daemon
