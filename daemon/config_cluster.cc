// Whether this node is one of many.

#include "daemon/config_draft.h"

namespace gatehouse::daemon {

namespace {

constexpr std::size_t kLabelMax = 63;  // of a label's value, which the lease's name is

/// A name that Kubernetes takes; `suffix` is what is put behind it before it is one.
void read_object_name(Reader& reader, const Field& field, std::string_view suffix,
                      std::string& into) {
  std::string name;
  if (!reader.text(field, name)) return;
  if (store::is_dns_subdomain(name + std::string(suffix)))
    into = std::move(name);
  else
    reader.error(field.mark(), in_quotes(name) + " cannot be a name in Kubernetes",
                 "lower-case letters, digits, \"-\" and \".\"");
}

/// Any node may be asked by the CA: http-01 is answered by all of them. Who answers tls-alpn-01
/// would have to know a token that only the node knows that issues.
void choose_challenges(ConfigDraft& draft) {
  Reader& reader = draft.reader;
  for (acme::Ca& ca : draft.config.acme.cas) {
    if (ca.is_internal) continue;
    const auto issuer = draft.issuers.find(ca.name);
    const bool is_chosen = issuer != draft.issuers.end() && issuer->second.challenges;
    for (const acme::ChallengeType type : ca.challenges)
      if (is_chosen && type == acme::ChallengeType::kTlsAlpn01)
        reader.error(*issuer->second.challenges,
                     "tls-alpn-01 is not supported in a cluster: a CA connects to any node, and "
                     "only the one that issues has the answer",
                     "challenges: [http-01], which every node answers");
    ca.challenges = {acme::ChallengeType::kHttp01};
  }
}

}  // namespace

void read_cluster(ConfigDraft& draft, const Field& field) {
  if (!field) return;
  Reader& reader = draft.reader;
  store::ClusterNames names{"", "gatehouse", "gatehouse-state", "gatehouse-"};
  Fields fields = reader.mapping(field, {"\"cluster\""});
  read_object_name(reader, fields.find("namespace"), "", names.name_space);
  const Field lease = fields.find("lease");
  read_object_name(reader, lease, "", names.lease);
  if (names.lease.size() > kLabelMax)
    reader.error(lease.mark(), "the lease's name is a label, too: at most 63 characters");
  read_object_name(reader, fields.find("state_secret"), "", names.state_secret);
  read_object_name(reader, fields.find("secret_prefix"), "x", names.secret_prefix);
  fields.finish();
  draft.config.kubernetes.cluster = std::move(names);
  choose_challenges(draft);
  if (draft.config.proxy.http.empty())
    reader.findings().warn(
        field.mark(), "the nodes of a cluster answer http-01 on the plain port, and there is none",
        "add an address to listen.http");
}

}  // namespace gatehouse::daemon
