#include "daemon/import.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

bool is_group_of(const std::string& group, std::string_view a, std::string_view b = {}) {
  return group == a || (!b.empty() && group == b);
}

/// What an object is to us.
enum class Sort {
  kSecret,
  kIssuer,
  kCertificate,
  kService,
  kIngress,
  kGateway,
  kHttpRoute,
  kRouting,
  kOther
};

Sort sort_of(const Manifest& manifest) {
  const std::string& kind = manifest.kind();
  const std::string& group = manifest.group();
  if (is_group_of(group, "cert-manager.io", "certmanager.k8s.io")) {
    if (kind == "Issuer" || kind == "ClusterIssuer") return Sort::kIssuer;
    if (kind == "Certificate") return Sort::kCertificate;
  }
  if (kind == "Secret" && group.empty()) return Sort::kSecret;
  if (kind == "Service" && group.empty()) return Sort::kService;
  if (kind == "Ingress" && is_group_of(group, "extensions", "networking.k8s.io"))
    return Sort::kIngress;
  if (group == "gateway.networking.k8s.io") {
    if (kind == "Gateway") return Sort::kGateway;
    if (kind == "HTTPRoute") return Sort::kHttpRoute;
    if (kind.ends_with("Route")) return Sort::kRouting;
  }
  // What leads requests somewhere in a language of its own.
  for (const std::string_view name : {"VirtualService", "Gateway", "IngressRoute", "HTTPProxy",
                                      "VirtualServer", "Mapping", "RouteConfiguration"})
    if (kind == name) return Sort::kRouting;
  return Sort::kOther;
}

void import_one(ImportDraft& draft, Manifest& manifest, Sort sort) {
  switch (sort) {
    case Sort::kSecret: return import_secret(manifest);
    case Sort::kIssuer: return import_issuer(draft, manifest);
    case Sort::kCertificate: return import_certificate(draft, manifest);
    case Sort::kService: return import_service(manifest);
    case Sort::kIngress: return import_ingress(draft, manifest);
    case Sort::kGateway: return import_gateway(draft, manifest);
    case Sort::kHttpRoute: return import_http_route(draft, manifest);
    case Sort::kRouting:
      return manifest.root().all_refused("leads requests in a way that is not translated");
    case Sort::kOther:
      return manifest.root().all_dropped("of no consequence for what is served at the edge");
  }
}

/// In the order of what refers to what.
void import_all(ImportDraft& draft) {
  for (const auto& manifest : draft.manifests) {
    const Sort sort = sort_of(*manifest);
    if (sort == Sort::kService)
      draft.services.emplace(manifest->name_space() + "/" + manifest->name(), manifest.get());
    if (sort == Sort::kSecret) draft.secrets.emplace(manifest->name(), manifest.get());
  }
  const auto run = [&](std::initializer_list<Sort> sorts) {
    for (const auto& manifest : draft.manifests) {
      const Sort sort = sort_of(*manifest);
      if (!manifest->is_list() && std::find(sorts.begin(), sorts.end(), sort) != sorts.end())
        import_one(draft, *manifest, sort);
    }
  };
  run({Sort::kService, Sort::kSecret});
  run({Sort::kIssuer});
  run({Sort::kCertificate});
  run({Sort::kGateway});
  run({Sort::kIngress, Sort::kHttpRoute, Sort::kRouting, Sort::kOther});
  settle_hosts(draft);
}

/// Objects of a document, those of a List too; complains about what is none.
void take(const std::string& file, YamlNode node, Findings& findings, ImportDraft& draft,
          std::size_t depth = 0) {
  if (!node || node.is_null()) return;
  if (!node.is_mapping())
    return findings.error(node.mark(), "not an object of Kubernetes",
                          "each document is a mapping with apiVersion and kind");
  auto manifest = std::make_unique<Manifest>(file, node);
  for (const std::string_view key : {"apiVersion", "kind"})
    if (manifest->root().at(key).text().empty())
      return findings.error(node.mark(), "an object without " + std::string(key),
                            "each document is a mapping with apiVersion and kind");
  const bool is_list = manifest->is_list();
  if (!is_list && manifest->name().empty())
    return findings.error(node.mark(), "an object without metadata.name");
  draft.manifests.push_back(std::move(manifest));
  constexpr std::size_t kDeepest = 4;
  if (!is_list || depth == kDeepest) return;
  for (std::size_t i = 0; i < node.size(); ++i) {
    if (node.key(i).text() != "items") continue;
    for (std::size_t j = 0; j < node.value(i).size(); ++j)
      take(file, node.value(i).item(j), findings, draft, depth + 1);
  }
}

/// Whether there may be an object of that kind, or a list of them.
bool speaks_of_secrets(std::string_view text) {
  constexpr std::string_view kWord = "Secret";
  for (std::size_t at = text.find(kWord); at != text.npos; at = text.find(kWord, at + 1))
    if (at == 0 || !is_alpha(text[at - 1])) return true;
  return false;
}

constexpr std::array kFates = {Fate::kUsed, Fate::kTranslated, Fate::kDropped, Fate::kRefused};

}  // namespace

bool Imported::has_refused() const {
  return std::any_of(fields.begin(), fields.end(),
                     [](const ImportedField& field) { return field.fate == Fate::kRefused; });
}

Imported import_manifests(std::span<const ManifestFile> files, const ImportOptions& options) {
  Imported imported;
  ImportDraft draft(options);
  std::vector<std::vector<YamlDocument>> all;  // outlive the manifests' use
  for (const ManifestFile& file : files) {
    // The line of a complaint is shown with it, and may be what a Secret holds.
    const bool is_shown = !speaks_of_secrets(file.text);
    Findings findings(file.name, is_shown ? std::string_view(file.text) : std::string_view());
    std::vector<YamlProblem> problems;
    auto documents = YamlDocument::parse_all(file.text, problems);
    for (YamlProblem& problem : problems)
      findings.error(problem.mark, std::move(problem.message), std::move(problem.hint));
    if (documents && problems.empty())
      for (const YamlDocument& document : all.emplace_back(std::move(*documents)))
        take(file.name, document.root(), findings, draft);
    ConfigReport report = findings.finish();
    std::move(report.errors.begin(), report.errors.end(), std::back_inserter(imported.errors));
  }
  if (!imported.errors.empty()) return imported;
  import_all(draft);
  for (const auto& manifest : draft.manifests) manifest->report(imported.fields);
  imported.config = write_config(draft);
  imported.files = std::move(draft.files);
  imported.accounts = std::move(draft.accounts);
  return imported;
}

std::string format_report(const Imported& imported) {
  std::string out;
  std::array<std::size_t, kFates.size()> counts{};
  for (const ImportedField& field : imported.fields) {
    ++counts[static_cast<std::size_t>(field.fate)];
    out.append(field.file).append(":").append(std::to_string(field.mark.line));
    out.append(":").append(std::to_string(field.mark.column)).append(": ");
    out.append(to_string(field.fate)).append(": ").append(field.object).append(": ");
    out.append(field.field);
    if (!field.reason.empty()) out.append(": ").append(field.reason);
    out.append("\n");
  }
  out.append(std::to_string(imported.fields.size())).append(" fields:");
  for (const Fate fate : kFates)
    out.append(fate == Fate::kUsed ? " " : ", ")
        .append(std::to_string(counts[static_cast<std::size_t>(fate)]))
        .append(" ")
        .append(to_string(fate));
  return out.append("\n");
}

std::string report_json(const Imported& imported) {
  boost::json::array all;
  for (const ImportedField& field : imported.fields)
    all.push_back(boost::json::object{{"file", field.file},
                                      {"line", field.mark.line},
                                      {"column", field.mark.column},
                                      {"fate", to_string(field.fate)},
                                      {"object", field.object},
                                      {"field", field.field},
                                      {"reason", field.reason}});
  return boost::json::serialize(all) + "\n";
}

}  // namespace gatehouse::daemon
