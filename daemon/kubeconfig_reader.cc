#include "daemon/kubeconfig_reader.h"

#include <optional>
#include <utility>
#include <vector>

#include "daemon/base/text.h"
#include "daemon/diagnostic.h"
#include "daemon/net/url.h"
#include "daemon/yaml.h"

namespace gatehouse::daemon {

namespace {

/// One key that we refuse, and what to do instead.
struct Refusal {
  std::string_view key, why;
};
constexpr Refusal kOfUser[] = {
    {"exec", "programs are not started from here; let one write a file for tokenFile"},
    {"auth-provider", "Kubernetes itself has given it up; use tokenFile or a client certificate"},
    {"username", "passwords are not supported; use tokenFile or a client certificate"},
    {"password", "passwords are not supported; use tokenFile or a client certificate"},
    {"as", "impersonation is not supported; give the user its own role"},
    {"as-uid", "impersonation is not supported; give the user its own role"},
    {"as-groups", "impersonation is not supported; give the user its own role"},
    {"as-user-extra", "impersonation is not supported; give the user its own role"}};
constexpr Refusal kOfCluster[] = {
    {"proxy-url",
     "proxies towards the apiserver are not supported; name a server that is reached "
     "directly"}};

/// Reads with the first thing that is wrong remembered, so that reading is a plain list of fields.
class KubeconfigReader {
 public:
  explicit KubeconfigReader(std::string path)
      : path_(std::move(path)), directory_(path_.substr(0, path_.rfind('/') + 1)) {}

  void fail(Mark mark, std::string_view why) {
    if (error_) return;
    std::string where = path_;
    if (mark.line != 0)
      where += ":" + std::to_string(mark.line) + ":" + std::to_string(mark.column);
    error_ = Error{Fault::kInvalid, where + ": " + std::string(why)};
  }

  YamlNode find(YamlNode mapping, std::string_view key) const {
    if (!mapping || !mapping.is_mapping()) return {};
    for (std::size_t i = 0; i < mapping.size(); ++i)
      if (mapping.key(i).text() == key && !mapping.value(i).is_null()) return mapping.value(i);
    return {};
  }

  std::string text(YamlNode mapping, std::string_view key) {
    const YamlNode value = find(mapping, key);
    if (!value) return "";
    if (value.is_scalar()) return std::string(value.text());
    fail(value.mark(), in_quotes(key) + " takes text");
    return "";
  }

  std::string file(YamlNode mapping, std::string_view key) {
    std::string name = text(mapping, key);
    return name.empty() || name.front() == '/' ? name : directory_ + name;
  }

  std::string pem(YamlNode mapping, std::string_view key) {
    const YamlNode value = find(mapping, key);
    auto bytes = from_base64(text(mapping, key));
    if (bytes) return std::move(*bytes);
    fail(value ? value.mark() : Mark{}, in_quotes(key) + " is not base64");
    return "";
  }

  /// The mapping `inside` of the entry with that name in a list of {name, inside}.
  YamlNode named(YamlNode root, std::string_view list, std::string_view name,
                 std::string_view inside) {
    const YamlNode entries = find(root, list);
    for (std::size_t i = 0; entries && entries.is_sequence() && i < entries.size(); ++i) {
      if (text(entries.item(i), "name") != name) continue;
      const YamlNode found = find(entries.item(i), inside);
      if (found && found.is_mapping()) return found;
    }
    fail(entries ? entries.mark() : Mark{},
         "no " + std::string(inside) + " is named " + in_quotes(name));
    return {};
  }

  template <std::size_t N>
  void refuse(YamlNode mapping, const Refusal (&refusals)[N]) {
    for (const Refusal& refusal : refusals)
      if (const YamlNode value = find(mapping, refusal.key))
        fail(value.mark(), in_quotes(refusal.key) + ": " + std::string(refusal.why));
  }

  void read_cluster(YamlNode cluster, net::KubeAccess& into) {
    refuse(cluster, kOfCluster);
    into.server = text(cluster, "server");
    while (into.server.ends_with('/')) into.server.pop_back();
    const auto url = net::Url::parse(into.server);
    const YamlNode server = find(cluster, "server");
    if (!server || !url || !url->is_https)
      fail(server    ? server.mark()
           : cluster ? cluster.mark()
                     : Mark{},
           "\"server\" takes an https URL, such as https://10.0.0.1:6443");
    into.ca_pem = pem(cluster, "certificate-authority-data");
    if (into.ca_pem.empty()) into.ca_file = file(cluster, "certificate-authority");
    into.tls_server_name = text(cluster, "tls-server-name");
    const std::string skips = text(cluster, "insecure-skip-tls-verify");
    into.skips_verification = skips == "true";
    const YamlNode skip = find(cluster, "insecure-skip-tls-verify");
    const Mark mark = skip ? skip.mark() : Mark{};
    if (!skips.empty() && skips != "true" && skips != "false")
      fail(mark, "\"insecure-skip-tls-verify\" takes true or false");
    if (into.skips_verification && !(into.ca_pem.empty() && into.ca_file.empty()))
      fail(mark, "\"insecure-skip-tls-verify\" beside a certificate authority");
  }

  void read_user(YamlNode user, net::KubeAccess& into) {
    refuse(user, kOfUser);
    into.token_file = file(user, "tokenFile");
    if (into.token_file.empty()) into.token = text(user, "token");
    into.certificate_pem = pem(user, "client-certificate-data");
    if (into.certificate_pem.empty()) into.certificate_file = file(user, "client-certificate");
    into.key_pem = pem(user, "client-key-data");
    if (into.key_pem.empty()) into.key_file = file(user, "client-key");
    const bool has_certificate = !(into.certificate_pem.empty() && into.certificate_file.empty());
    const bool has_key = !(into.key_pem.empty() && into.key_file.empty());
    if (has_certificate != has_key)
      fail(user ? user.mark() : Mark{},
           "a client certificate needs its key, and a key its certificate");
  }

  std::optional<Error> take_error() { return std::exchange(error_, std::nullopt); }

 private:
  std::string path_, directory_;
  std::optional<Error> error_;
};

}  // namespace

Result<net::KubeAccess> read_kubeconfig(const std::string& path) {
  auto text = net::read_small_file(path);
  if (!text) return std::move(text).error();
  return read_kubeconfig_text(*text, path);
}

Result<net::KubeAccess> read_kubeconfig_text(std::string_view text, const std::string& path) {
  KubeconfigReader reader(path);
  std::vector<YamlProblem> problems;
  const auto document = YamlDocument::parse(text, problems);
  for (const YamlProblem& problem : problems) reader.fail(problem.mark, problem.message);
  const YamlNode root = document ? document->root() : YamlNode();
  net::KubeAccess access;
  const std::string current = reader.text(root, "current-context");
  if (current.empty()) {
    reader.fail({}, "no \"current-context\"");
  } else {
    const YamlNode context = reader.named(root, "contexts", current, "context");
    access.name_space = reader.text(context, "namespace");
    const std::string cluster = reader.text(context, "cluster"),
                      user = reader.text(context, "user");
    reader.read_cluster(reader.named(root, "clusters", cluster, "cluster"), access);
    reader.read_user(reader.named(root, "users", user, "user"), access);
  }
  if (auto error = reader.take_error()) return std::move(*error);
  return access;
}

}  // namespace gatehouse::daemon
