// The result of an import as a file that a person goes on with: every part says where it is from.

#include <algorithm>

#include "daemon/base/text.h"
#include "daemon/import_draft.h"

namespace gatehouse::daemon {

namespace {

void comment(std::string& out, std::string_view indent, std::string_view text) {
  out.append(indent).append("# ").append(one_line(text)).append("\n");
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts)
    out.append(out.size() > 1 ? ", " : "").append(yaml_text(text));
  return out + "]";
}

void write_issuers(const ImportDraft& draft, std::string& out) {
  const ImportedIssuer* usual = nullptr;
  std::string body;
  for (const ImportedIssuer& issuer : draft.issuers) {
    comment(body, "  ", issuer.from->title() + " (" + issuer.from->origin() + ")");
    for (const std::string& note : issuer.notes) comment(body, "  ", note);
    if (!issuer.can_issue) {
      comment(body, "  ", "could not be translated: see the report");
      continue;
    }
    body.append("  ").append(yaml_text(issuer.key)).append(":\n");
    if (issuer.is_internal) {
      body.append("    internal: true\n");
    } else {
      body.append("    directory: ").append(yaml_text(issuer.directory)).append("\n");
      if (!issuer.email.empty())
        body.append("    email: ").append(yaml_text(issuer.email)).append("\n");
      if (!issuer.ca_file.empty())
        body.append("    ca_file: ").append(yaml_text(issuer.ca_file)).append("\n");
      if (!issuer.profile.empty())
        body.append("    profile: ").append(yaml_text(issuer.profile)).append("\n");
      if (!issuer.key_id.empty())
        body.append("    external_account: {key_id: ")
            .append(yaml_text(issuer.key_id))
            .append(", hmac_key_file: ")
            .append(yaml_text(issuer.hmac_key_file))
            .append("}\n");
      body.append("    challenges: [http-01]\n");
    }
    const auto is_for_tests = [](const ImportedIssuer& one) {
      return one.is_internal || one.directory.find("staging") != std::string::npos;
    };
    if (usual == nullptr || (is_for_tests(*usual) && !is_for_tests(issuer))) usual = &issuer;
  }
  if (usual == nullptr) {
    out.append("# No issuer was imported: Let's Encrypt is the default.\n");
    for (const ImportedIssuer& issuer : draft.issuers)
      comment(out, "", issuer.from->title() + " could not be translated: see the report");
    out.append("\n");
    return;
  }
  out.append("issuers:\n").append(body);
  out.append("default_issuer: ").append(yaml_text(usual->key));
  out.append("    # for sites without a certificate of their own\n\n");
}

void write_certificates(const ImportDraft& draft, std::string& out) {
  if (draft.certificates.empty()) return;
  out.append("certificates:\n");
  for (const ImportedCertificate& certificate : draft.certificates) {
    comment(out, "  ", certificate.origin);
    for (const std::string& note : certificate.notes) comment(out, "  ", note);
    out.append("  ").append(yaml_text(certificate.key)).append(":\n");
    if (certificate.is_read) {
      out.append("    secret: ").append(yaml_text(certificate.secret)).append("\n");
      continue;
    }
    out.append("    names: ").append(list_of(certificate.names)).append("\n");
    out.append("    issuer: ").append(yaml_text(certificate.issuer)).append("\n");
    if (!certificate.key_type.empty())
      out.append("    key: ").append(certificate.key_type).append("\n");
    if (certificate.secret.empty()) continue;
    out.append("    secrets: ").append(list_of({certificate.secret}));
    out.append("    # the same certificate for the path inside the cluster\n");
    if (!certificate.labels.empty())
      out.append("    labels: ").append(yaml_mapping(certificate.labels)).append("\n");
    if (!certificate.annotations.empty())
      out.append("    annotations: ").append(yaml_mapping(certificate.annotations)).append("\n");
    out.append(
        "    # adopt: true    # takes over the Secret that cert-manager made: delete its "
        "Certificate first\n");
  }
  out.append("\n");
}

void write_backends(const ImportDraft& draft, std::string& out) {
  if (draft.backends.empty()) return;
  out.append("backends:\n");
  for (const ImportedBackend& backend : draft.backends) {
    comment(out, "  ", backend.origin);
    for (const std::string& note : backend.notes) comment(out, "  ", note);
    out.append("  ").append(yaml_text(backend.key)).append(": {endpoints: ");
    out.append(list_of({backend.endpoint}));
    if (backend.is_http2) out.append(", protocol: h2");
    out.append("}\n");
  }
  out.append("\n");
}

/// What the plain port does, and why.
void write_plain_policy(const ImportDraft& draft, const ImportedHost& host, std::string& out) {
  std::string_view word = "redirect", why = "the plain port leads to https";
  if (host.wants_redirect) {
    why = "as it was asked for";
  } else if (host.is_plain && host.has_tls) {
    word = "serve";
    why = "it is there without TLS, too";
  } else if (host.is_plain) {
    word = "serve";
    why = "it was there without TLS only; now it has both";
  } else if (host.refuses_plain && draft.options.refuses_plain_2018) {
    word = "refuse";
    why = "allow-http was \"false\"";
  } else if (host.refuses_plain) {
    why = "allow-http was \"false\"; http: refuse answers 404 there";
  }
  out.append("    http: ").append(word).append("    # ").append(why).append("\n");
}

void write_vhost(const ImportDraft& draft, const ImportedHost& host, std::string& out) {
  for (const std::string& origin : host.origins) comment(out, "  ", origin);
  for (const std::string& note : host.notes) comment(out, "  ", note);
  out.append("  - host: ").append(yaml_text(host.host)).append("\n");
  if (!host.certificate.empty())
    out.append("    certificate: ").append(yaml_text(host.certificate)).append("\n");
  else if (!host.issuer.empty() && host.host != "*")
    out.append("    issuer: ").append(yaml_text(host.issuer)).append("\n");
  write_plain_policy(draft, host, out);
  out.append("    routes:\n");
  for (const ImportedRoute& route : host.routes) write_route(route, out);
  if (host.routes.empty())
    out.append("      - respond: {status: 404, body: \"no route was imported\\n\"}\n");
}

/// Certificates without a site: what was behind them is not among the files.
void write_bare_certificates(const ImportDraft& draft, std::string& out) {
  for (const ImportedCertificate& certificate : draft.certificates) {
    if (certificate.names.empty()) continue;
    comment(out, "  ", certificate.origin + ": no Ingress or HTTPRoute was imported for it");
    out.append("  - hosts: ").append(list_of(certificate.names)).append("\n");
    out.append("    certificate: ").append(yaml_text(certificate.key)).append("\n");
    out.append(
        "    routes:    # such as backend: \"http://istio-ingressgateway.istio-system:80\"\n");
    out.append("      - respond: {status: 503, body: \"no backend yet\\n\"}\n");
  }
}

}  // namespace

std::string yaml_text(std::string_view text) {
  const auto is_plain = [](char c) {
    return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '/' || c == '@';
  };
  const bool begins_well = !text.empty() && (is_alpha(text.front()) || text.front() == '/');
  if (begins_well && std::all_of(text.begin(), text.end(), is_plain) && text != "null")
    return std::string(text);
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const std::string_view rest = text.substr(i);
    // YAML 1.1 ends a line at these, too.
    if (rest.starts_with("\xc2\x85") || rest.starts_with("\xe2\x80\xa8") ||
        rest.starts_with("\xe2\x80\xa9")) {
      out.append(c == '\xc2' ? "\\N" : rest[2] == '\xa8' ? "\\L" : "\\P");
      i += c == '\xc2' ? 1 : 2;
    } else if (c == '"' || c == '\\') {
      out.append("\\").push_back(c);
    } else if (c == '\n') {
      out.append("\\n");
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out.append("\\x").append(to_hex({&c, 1}));
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string yaml_mapping(const ImportedRoute::Pairs& pairs) {
  std::string out = "{";
  for (const auto& [key, value] : pairs) {
    if (out.size() > 1) out.append(", ");
    out.append(yaml_text(key)).append(": ").append(yaml_text(value));
  }
  return out + "}";
}

std::string write_config(const ImportDraft& draft) {
  if (draft.hosts.empty() && draft.certificates.empty()) return {};
  std::string out =
      "# Made by gatehouse import. Its report says what became of each field of the manifests.\n"
      "# Look at it, then: gatehouse check --config FILE\n\n";
  if (const std::string& state = draft.options.state; !state.empty())
    out.append("state: ").append(yaml_text(state)).append("\n\n");
  write_issuers(draft, out);
  write_certificates(draft, out);
  const auto has_secret = [](const ImportedCertificate& one) { return !one.secret.empty(); };
  if (std::any_of(draft.certificates.begin(), draft.certificates.end(), has_secret))
    out.append(
        "# Secrets are reached as the pod's service account; elsewhere by a kubeconfig:\n"
        "# kubernetes: {kubeconfig: /etc/gatehouse/kubeconfig}\n\n");
  write_backends(draft, out);
  out.append("vhosts:\n");
  for (const ImportedHost& host : draft.hosts) write_vhost(draft, host, out);
  if (draft.hosts.empty()) write_bare_certificates(draft, out);
  return out;
}

}  // namespace gatehouse::daemon
