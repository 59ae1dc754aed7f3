// What concerns the process as a whole: email, state, workers, listen, admin, log, tls, limits.

#include <sys/stat.h>

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/config_draft.h"
#include "daemon/config_hosts.h"

namespace gatehouse::daemon {

namespace {

constexpr std::uint64_t kWorkersMax = 64;

void read_workers(ConfigDraft& draft, const Field& field) {
  const auto given = draft.reader.scalar(field, "a number or auto");
  if (!given) return;
  const auto count = parse_decimal(*given);
  if (*given == "auto") {
    draft.config.proxy.workers = 0;
  } else if (count && *count >= 1 && *count <= kWorkersMax) {
    draft.config.proxy.workers = *count;
  } else if (count && *count > kWorkersMax) {
    draft.reader.error(field.mark(), "\"workers\" is at most " + std::to_string(kWorkersMax));
  } else {
    draft.reader.error(field.mark(),
                       "\"workers\" takes a number or auto, not " + in_quotes(*given));
  }
}

void read_admin(ConfigDraft& draft, const Field& field) {
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"\"admin\""});
  const Field listen = fields.find("listen");
  if (const auto given = reader.scalar(listen, "an address with a port")) {
    auto address = net::ListenAddress::parse(*given);
    if (!address || address->address.is_unix()) {
      std::string why = address ? in_quotes(*given) + " is no address with a port"
                                : std::move(address).error().message;
      why.resize(std::min(why.find("; "), why.size()));  // Advice for listening to all.
      reader.error(listen.mark(), "\"listen\": " + why, "such as 127.0.0.1:9180");
    } else {
      if (!address->address.ip().is_loopback()) {
        draft.reader.findings().warn(
            listen.mark(),
            "the admin page is open to " + in_quotes(*given) + ", not only to this host",
            "it has no password: keep it on 127.0.0.1 or behind a firewall");
      }
      draft.config.admin.listen = std::move(*address);
    }
  }
  reader.socket_path(fields.find("socket"), draft.config.admin.socket);
  fields.finish();
}

/// The file itself is made when missing, its directory is not.
void read_access_path(ConfigDraft& draft, const Field& field) {
  const auto given = draft.reader.scalar(field, "stdout, stderr or a file");
  if (!given) return;
  if (*given == "stdout" || *given == "stderr") {
    draft.config.proxy.access_log_path = *given;
    return;
  }
  std::string path;
  if (!draft.reader.path(field, path)) return;
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  struct stat facts {};
  if (stat(directory.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) {
    draft.reader.error(field.mark(), "\"path\": there is no directory " + directory,
                       "stdout, stderr, or a file in a directory that exists");
  } else if (stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode)) {
    draft.reader.error(field.mark(), "\"path\": " + path + " is a directory");
  } else {
    draft.config.proxy.access_log_path = std::move(path);
  }
}

void read_log(ConfigDraft& draft, const Field& field) {
  static constexpr Choice<Level> kLevels[] = {{"error", Level::kError},
                                              {"warn", Level::kWarn},
                                              {"info", Level::kInfo},
                                              {"debug", Level::kDebug}};
  static constexpr Choice<proxy::AccessLogFormat> kFormats[] = {
      {"envoy", proxy::AccessLogFormat::kEnvoy},
      {"json", proxy::AccessLogFormat::kJson},
      {"off", proxy::AccessLogFormat::kOff}};
  Fields fields = draft.reader.mapping(field, {"\"log\""});
  draft.reader.choice<Level>(fields.find("level"), draft.config.log_level, kLevels);
  Fields access = draft.reader.mapping(fields.find("access"), {"\"access\""});
  draft.reader.choice<proxy::AccessLogFormat>(access.find("format"),
                                              draft.config.proxy.access_log_format, kFormats);
  read_access_path(draft, access.find("path"));
  access.finish();
  fields.finish();
}

void read_tls(ConfigDraft& draft, const Field& field) {
  static constexpr Choice<proxy::TlsProfile> kProfiles[] = {
      {"modern", proxy::TlsProfile::kModern}, {"intermediate", proxy::TlsProfile::kIntermediate}};
  Fields fields = draft.reader.mapping(field, {"\"tls\""});
  draft.reader.choice<proxy::TlsProfile>(fields.find("profile"), draft.config.proxy.tls_profile,
                                         kProfiles);
  fields.finish();
}

}  // namespace

void read_email(Reader& reader, const Field& field, std::string& into) {
  std::string given;
  if (!reader.text(field, given)) return;
  const auto at = given.find('@');
  const bool is_address = at != given.npos && at > 0 && at + 1 < given.size() &&
                          given.rfind('@') == at && given.find_first_of(" \t,<>") == given.npos;
  if (is_address && !given.starts_with("mailto:")) {
    into = std::move(given);
  } else {
    reader.error(field.mark(), "\"email\": " + in_quotes(given) + " is not an email address",
                 "such as me@mydomain.com");
  }
}

void read_server(ConfigDraft& draft, Fields& root) {
  read_email(draft.reader, root.find("email"), draft.email);
  draft.reader.path(root.find("state"), draft.config.store.state_directory);
  read_workers(draft, root.find("workers"));
  read_listeners(draft, root.find("listen"));
  read_admin(draft, root.find("admin"));
  read_log(draft, root.find("log"));
  read_tls(draft, root.find("tls"));
  read_limits(draft, root.find("limits"));
}

void read_limits(ConfigDraft& draft, const Field& field) {
  proxy::Limits& limits = draft.config.proxy.limits;
  Reader& reader = draft.reader;
  Fields fields = reader.mapping(field, {"\"limits\""});
  reader.duration(fields.find("handshake_timeout"), limits.handshake_timeout);
  reader.duration(fields.find("header_timeout"), limits.header_timeout);
  reader.duration(fields.find("idle_timeout"), limits.idle_timeout);
  reader.duration(fields.find("stall_timeout"), limits.stall_timeout);
  reader.duration(fields.find("drain_timeout"), limits.drain_timeout, Duration::zero());
  reader.size(fields.find("body_rate"), limits.body_rate);
  // Below these no browser gets through; above them one visitor could hold the memory of many.
  reader.size(fields.find("header_bytes"), limits.header_bytes, {1024, 16 * 1024 * 1024});
  reader.number(fields.find("header_fields"), limits.header_fields, {10, 10'000});
  reader.size(fields.find("uri_bytes"), limits.uri_bytes, {256, 1024 * 1024});
  reader.size(fields.find("body_bytes"), limits.body_bytes);
  reader.number(fields.find("streams"), limits.streams, {1, 10'000});
  reader.number(fields.find("connections"), limits.connections, {1, 10'000'000});
  reader.number(fields.find("connections_per_source"), limits.connections_per_source);
  fields.finish();
}

}  // namespace gatehouse::daemon
