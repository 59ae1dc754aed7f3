#include "daemon/net/tls_context.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include "daemon/net/tls_bio.h"
#include "tests/support/certificates.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::net {
namespace {

using namespace testing;
using ::testing::HasSubstr;

/// Names to credentials, and what was asked.
class Names final : public CredentialSource {
 public:
  std::map<std::string, CredentialPtr> by_name;
  CredentialPtr acme;  // the answer to acme-tls/1
  std::map<std::string, HandshakeRules> rules;
  std::string asked;
  const SSL* asked_by = nullptr;

  CredentialPtr choose(const ClientHello& hello) override {
    asked = hello.server_name;
    asked_by = hello.ssl;
    if (hello.offers_acme_tls_alpn) return acme;
    const auto found = by_name.find(asked);
    return found == by_name.end() ? nullptr : found->second;
  }
  HandshakeRules rules_for(const ClientHello& hello) override {
    const auto found = rules.find(std::string(hello.server_name));
    return found == rules.end() ? HandshakeRules() : found->second;
  }
};

struct SessionFree {
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using SessionPtr = std::unique_ptr<SSL_SESSION, SessionFree>;

/// Both ends of one connection in one process.
struct Pair {
  int server_socket = -1, client_socket = -1;
  SslPtr server, client;
  bool is_connected = false;
  std::string client_error;

  Pair(SslPtr server_ssl, SslPtr client_ssl)
      : server(std::move(server_ssl)), client(std::move(client_ssl)) {
    int both[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, both) == 0, "socketpair");
    server_socket = both[0];
    client_socket = both[1];
    check(attach_socket(server.get(), server_socket) && attach_socket(client.get(), client_socket),
          "attach");
  }
  ~Pair() {
    server.reset();
    client.reset();
    ::close(server_socket);
    ::close(client_socket);
  }

  void handshake() {
    bool server_done = false, client_done = false;
    for (int i = 0; i < 20 && !(server_done && client_done); ++i) {
      client_done = client_done || SSL_do_handshake(client.get()) == 1;
      if (!client_done && SSL_get_error(client.get(), -1) == SSL_ERROR_SSL) {
        client_error = openssl_error("client").message;
        return;
      }
      ERR_clear_error();
      server_done = server_done || SSL_do_handshake(server.get()) == 1;
      ERR_clear_error();
    }
    char byte;
    SSL_read(client.get(), &byte, 1);  // The ticket, or the server's last word in TLS 1.3.
    if (SSL_get_error(client.get(), -1) == SSL_ERROR_SSL)
      client_error = openssl_error("client").message;
    ERR_clear_error();
    is_connected = server_done && client_done && client_error.empty();
  }
  std::string alpn() const {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(client.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }
};

class Tls : public ::testing::Test {
 protected:
  Tls() {
    names_.by_name["a.test"] = issue(authority_, {"a.test"});
    names_.by_name["b.test"] = issue(authority_, {"b.test"});
    names_.by_name["both.test"] = names_.by_name["a.test"];
    auto tickets = TicketKeys::create(clock_);
    check(tickets.has_value(), "ticket keys");
    tickets_ = *tickets;
    client_options_.ca_pem = authority_.root.to_pem();
  }
  ServerTlsContext& server(TlsProfile profile = TlsProfile::kIntermediate) {
    if (!server_) server_ = *ServerTlsContext::create(profile, names_, tickets_);
    return *server_;
  }
  Pair connect(const std::string& name) {
    if (!client_) client_ = *ClientTlsContext::create(client_options_);
    return Pair(*server().new_ssl(), *client_->new_ssl(name));
  }
  /// A client that offers these protocols, in wire form.
  static void offer(Pair& pair, std::string_view wire) {
    SSL_set_alpn_protos(pair.client.get(), reinterpret_cast<const unsigned char*>(wire.data()),
                        static_cast<unsigned>(wire.size()));
  }
  SessionPtr session_for(const std::string& name, int version = 0) {
    Pair pair = connect(name);
    if (version) SSL_set_max_proto_version(pair.client.get(), version);
    pair.handshake();
    EXPECT_TRUE(pair.is_connected) << pair.client_error;
    SSL_shutdown(pair.client.get());  // Else OpenSSL calls the session bad when it frees the SSL.
    return SessionPtr(SSL_get1_session(pair.client.get()));
  }
  bool resumes(const std::string& name, SSL_SESSION* session, int version = 0) {
    Pair pair = connect(name);
    if (version) SSL_set_max_proto_version(pair.client.get(), version);
    SSL_set_session(pair.client.get(), session);
    pair.handshake();
    EXPECT_TRUE(pair.is_connected) << pair.client_error;
    SSL_shutdown(pair.client.get());
    return SSL_session_reused(pair.server.get()) == 1;
  }

  void ask_for_certificates(const std::string& name, ClientCertificates clients,
                            const Authority& signers) {
    ServerTlsPolicy::Options options;
    options.clients = clients;
    const std::string pem = signers.root.to_pem();
    options.ca_pem = pem;
    auto policy = ServerTlsPolicy::create(options);
    ASSERT_TRUE(policy) << policy.error().message;
    names_.rules[name].policy = *policy;
  }

  FakeClock clock_;
  Authority authority_ = make_authority();
  Names names_;
  std::shared_ptr<TicketKeys> tickets_;
  std::shared_ptr<ServerTlsContext> server_;
  std::shared_ptr<ClientTlsContext> client_;
  ClientTlsOptions client_options_;
};

TEST_F(Tls, ServesTheCertificateOfTheName) {
  for (const char* name : {"a.test", "b.test"}) {
    Pair pair = connect(name);
    EXPECT_EQ(ServerTlsContext::credential_of(pair.server.get()), nullptr);
    pair.handshake();
    ASSERT_TRUE(pair.is_connected) << pair.client_error;
    EXPECT_EQ(names_.asked, name);
    EXPECT_EQ(names_.asked_by, pair.server.get());
    EXPECT_EQ(ServerTlsContext::credential_of(pair.server.get()), names_.by_name[name].get());
    EXPECT_EQ(
        X509_cmp(SSL_get0_peer_certificate(pair.client.get()), names_.by_name[name]->chain.leaf()),
        0);
  }
}

TEST_F(Tls, ServesEveryKindOfKey) {
  for (const KeyKind kind : {KeyKind::kEcdsaP256, KeyKind::kEcdsaP384, KeyKind::kRsa2048}) {
    names_.by_name["a.test"] = issue(authority_, {"a.test"}, kind);
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      Pair pair = connect("a.test");
      SSL_set_max_proto_version(pair.client.get(), version);
      pair.handshake();
      EXPECT_TRUE(pair.is_connected) << pair.client_error;
      EXPECT_EQ(SSL_version(pair.server.get()), version);
    }
  }
}

TEST_F(Tls, KeepsACredentialThatWasReplacedDuringTheConnection) {
  Pair pair = connect("a.test");
  pair.handshake();
  const std::weak_ptr<const Credential> old = names_.by_name["a.test"];
  names_.by_name.clear();
  EXPECT_FALSE(old.expired());
  pair.server.reset();
  EXPECT_TRUE(old.expired());
}

TEST_F(Tls, FinishesAHandshakeAfterItsContextIsGone) {
  Pair pair = connect("a.test");
  server_.reset();
  tickets_.reset();
  pair.handshake();
  EXPECT_TRUE(pair.is_connected) << pair.client_error;
}

TEST_F(Tls, AnswersAnUnknownNameWithItsAlert) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Pair pair = connect("unknown.test");
    SSL_set_max_proto_version(pair.client.get(), version);
    pair.handshake();
    EXPECT_FALSE(pair.is_connected);
    EXPECT_THAT(pair.client_error, HasSubstr("unrecognized name"));
  }
}

TEST_F(Tls, AsksForTheEmptyNameWithoutSni) {
  names_.by_name[""] = issue(authority_, {"127.0.0.1"});
  Pair pair = connect("127.0.0.1");
  pair.handshake();
  EXPECT_TRUE(pair.is_connected) << pair.client_error;
  EXPECT_EQ(names_.asked, "");
}

TEST_F(Tls, SelectsTheProtocolThatBothSpeak) {
  const struct {
    std::string_view offer, selected;
  } cases[] = {
      {"\x02h2\x08http/1.1", "h2"},
      {"\x08http/1.1\x02h2", "h2"},
      {"\x08http/1.1", "http/1.1"},
      {"\x03xyz\x08http/1.1", "http/1.1"},
      {"\x0a"
       "acme-tls/1\x08http/1.1",
       "http/1.1"},
  };
  for (const auto& c : cases) {
    Pair pair = connect("a.test");
    offer(pair, c.offer);
    pair.handshake();
    EXPECT_TRUE(pair.is_connected) << pair.client_error;
    EXPECT_EQ(pair.alpn(), c.selected);
  }
}

TEST_F(Tls, SelectsNothingWhenNothingIsOffered) {
  client_options_.offer_http1 = false;
  Pair pair = connect("a.test");
  pair.handshake();
  EXPECT_TRUE(pair.is_connected) << pair.client_error;
  EXPECT_EQ(pair.alpn(), "");
}

TEST_F(Tls, RefusesAClientWithoutACommonProtocol) {
  for (const std::string_view wire : {"\x03xyz",
                                      "\x0a"
                                      "acme-tls/1\x03xyz"}) {
    Pair pair = connect("a.test");
    offer(pair, wire);
    pair.handshake();
    EXPECT_FALSE(pair.is_connected);
    EXPECT_THAT(pair.client_error, HasSubstr("no application protocol"));
  }
}

TEST_F(Tls, SpeaksAcmeTlsOnlyWhenTheSourceAnswersForIt) {
  const std::string_view wire =
      "\x0a"
      "acme-tls/1";
  Pair refused = connect("a.test");
  offer(refused, wire);
  refused.handshake();
  EXPECT_THAT(refused.client_error, HasSubstr("unrecognized name"));
  names_.acme = issue(authority_, {"a.test"});
  Pair answered = connect("a.test");
  offer(answered, wire);
  answered.handshake();
  EXPECT_TRUE(answered.is_connected) << answered.client_error;
  EXPECT_EQ(answered.alpn(), "acme-tls/1");
}

TEST_F(Tls, ModernRefusesTls12) {
  server(TlsProfile::kModern);
  Pair pair = connect("a.test");
  SSL_set_max_proto_version(pair.client.get(), TLS1_2_VERSION);
  pair.handshake();
  EXPECT_FALSE(pair.is_connected);
  EXPECT_THAT(pair.client_error, HasSubstr("protocol version"));
}

TEST_F(Tls, ModernSpeaksTls13) {
  server(TlsProfile::kModern);
  Pair pair = connect("a.test");
  pair.handshake();
  EXPECT_TRUE(pair.is_connected) << pair.client_error;
  EXPECT_EQ(SSL_version(pair.client.get()), TLS1_3_VERSION);
}

TEST_F(Tls, PrefersAes128InItsOwnOrder) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Pair pair = connect("a.test");
    SSL_set_ciphersuites(pair.client.get(), "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256");
    SSL_set_cipher_list(pair.client.get(),
                        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256");
    SSL_set_max_proto_version(pair.client.get(), version);
    pair.handshake();
    EXPECT_TRUE(pair.is_connected) << pair.client_error;
    EXPECT_THAT(SSL_get_cipher_name(pair.client.get()), HasSubstr("AES"));
    EXPECT_EQ(SSL_get_cipher_bits(pair.client.get(), nullptr), 128);
  }
}

TEST_F(Tls, LeavesChaChaToClientsThatPreferIt) {
  Pair pair = connect("a.test");
  SSL_set_ciphersuites(pair.client.get(), "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256");
  pair.handshake();
  EXPECT_STREQ(SSL_get_cipher_name(pair.client.get()), "TLS_CHACHA20_POLY1305_SHA256");
}

TEST_F(Tls, RefusesCiphersWithoutForwardSecrecyOrAead) {
  names_.by_name["a.test"] = issue(authority_, {"a.test"}, KeyKind::kRsa2048);
  for (const char* cipher :
       {"AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"}) {
    Pair pair = connect("a.test");
    SSL_set_max_proto_version(pair.client.get(), TLS1_2_VERSION);
    ASSERT_EQ(SSL_set_cipher_list(pair.client.get(), cipher), 1);
    pair.handshake();
    EXPECT_FALSE(pair.is_connected) << cipher;
  }
}

TEST_F(Tls, ResumesWithATicket) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const SessionPtr session = session_for("a.test", version);
    EXPECT_TRUE(resumes("a.test", session.get(), version)) << version;
  }
}

TEST_F(Tls, ResumesUnderTheSecondKeyOnlyWhileItIsKept) {
  const SessionPtr session = session_for("a.test");
  clock_.advance(12h);
  tickets_->rotate_if_due();
  EXPECT_TRUE(resumes("a.test", session.get()));
  clock_.advance(12h);
  tickets_->rotate_if_due();
  EXPECT_TRUE(resumes("a.test", session.get()));
  clock_.advance(12h);
  tickets_->rotate_if_due();
  EXPECT_FALSE(resumes("a.test", session.get()));
}

TEST_F(Tls, DoesNotResumeUnderAnotherName) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const SessionPtr session = session_for("a.test", version);
    for (const char* other : {"b.test", "both.test"}) {
      if (std::string(other) == "both.test")
        names_.by_name["both.test"] = issue(authority_, {"both.test"});
      // OpenSSL's client would send the session's own name: a hostile client does not.
      SSL_SESSION_set1_hostname(session.get(), other);
      EXPECT_FALSE(resumes(other, session.get(), version)) << other << " " << version;
    }
  }
}

TEST_F(Tls, DoesNotResumeWithoutTheNameOfTheSession) {
  names_.by_name[""] = names_.by_name["a.test"];
  const SessionPtr session = session_for("a.test");
  Pair pair = connect("a.test");
  SSL_SESSION_set1_hostname(session.get(), nullptr);
  SSL_set_session(pair.client.get(), session.get());
  SSL_set_tlsext_host_name(pair.client.get(), nullptr);
  pair.handshake();
  EXPECT_EQ(names_.asked, "");
  EXPECT_FALSE(SSL_session_reused(pair.server.get()));
}

TEST_F(Tls, DoesNotResumeWithKeysOfAnotherServer) {
  const SessionPtr session = session_for("a.test");
  auto others = TicketKeys::create(clock_);
  server_ = *ServerTlsContext::create(TlsProfile::kIntermediate, names_, *others);
  EXPECT_FALSE(resumes("a.test", session.get()));
}

TEST_F(Tls, OneNameMayAskForACertificateAndAnotherNot) {
  ask_for_certificates("a.test", ClientCertificates::kRequired, authority_);
  Pair without = connect("a.test");
  without.handshake();
  EXPECT_THAT(without.client_error, HasSubstr("certificate required"));
  Pair other = connect("b.test");
  other.handshake();
  EXPECT_TRUE(other.is_connected) << other.client_error;
  ask_for_certificates("a.test", ClientCertificates::kOptional, authority_);
  Pair optional = connect("a.test");
  optional.handshake();
  EXPECT_TRUE(optional.is_connected) << optional.client_error;
}

TEST_F(Tls, DoesNotResumeUnderAnotherPolicy) {
  const Authority others = make_authority();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    names_.rules.clear();
    const SessionPtr session = session_for("a.test", version);
    ask_for_certificates("a.test", ClientCertificates::kOptional, authority_);
    EXPECT_FALSE(resumes("a.test", session.get(), version)) << version;
    const SessionPtr judged = session_for("a.test", version);
    EXPECT_TRUE(resumes("a.test", judged.get(), version)) << version;
    // The same files with other contents.
    ask_for_certificates("a.test", ClientCertificates::kOptional, others);
    EXPECT_FALSE(resumes("a.test", judged.get(), version)) << version;
  }
}

TEST_F(Tls, ANameMayHaveAProfileOfItsOwn) {
  ServerTlsPolicy::Options options;
  options.profile = TlsProfile::kModern;
  names_.rules["a.test"].policy = *ServerTlsPolicy::create(options);
  for (const auto& [name, is_taken] : {std::pair("a.test", false), std::pair("b.test", true)}) {
    Pair pair = connect(name);
    SSL_set_max_proto_version(pair.client.get(), TLS1_2_VERSION);
    pair.handshake();
    EXPECT_EQ(pair.is_connected, is_taken) << name;
  }
}

TEST_F(Tls, TicketsPermitEarlyDataOnlyUnderNamesThatTakeIt) {
  names_.rules["a.test"].allows_early_data = true;
  const SessionPtr session = session_for("a.test"), other = session_for("b.test");
  EXPECT_EQ(SSL_SESSION_get_max_early_data(session.get()), kEarlyDataBytesMax);
  EXPECT_EQ(SSL_SESSION_get_max_early_data(other.get()), 0u);
  EXPECT_TRUE(resumes("a.test", session.get()));
}

TEST_F(Tls, APolicyNeedsCasThatAreSome) {
  ServerTlsPolicy::Options options;
  options.clients = ClientCertificates::kRequired;
  options.ca_pem = "nothing";
  EXPECT_FALSE(ServerTlsPolicy::create(options));
  const std::string pem = authority_.root.to_pem();
  options.ca_pem = pem;
  EXPECT_TRUE(ServerTlsPolicy::create(options));
  options.crl_pem = pem;
  const auto made = ServerTlsPolicy::create(options);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("list of revoked certificates"));
}

TEST_F(Tls, SendsOneTicketAndNoEarlyDataPermission) {
  const SessionPtr session = session_for("a.test");
  EXPECT_EQ(SSL_SESSION_get_max_early_data(session.get()), 0u);
  Pair pair = connect("a.test");
  EXPECT_EQ(SSL_get_num_tickets(pair.server.get()), 1u);
}

TEST_F(Tls, ClientRefusesTheWrongName) {
  names_.by_name["c.test"] = names_.by_name["a.test"];
  Pair pair = connect("c.test");
  pair.handshake();
  EXPECT_FALSE(pair.is_connected);
  EXPECT_EQ(SSL_get_verify_result(pair.client.get()), X509_V_ERR_HOSTNAME_MISMATCH);
}

TEST_F(Tls, ClientTakesAWildcardForOneLabelOnly) {
  for (const char* name : {"x.w.test", "x.y.w.test"})
    names_.by_name[name] = issue(authority_, {"*.w.test"});
  Pair one = connect("x.w.test");
  one.handshake();
  EXPECT_TRUE(one.is_connected) << one.client_error;
  Pair two = connect("x.y.w.test");
  two.handshake();
  EXPECT_EQ(SSL_get_verify_result(two.client.get()), X509_V_ERR_HOSTNAME_MISMATCH);
}

TEST_F(Tls, ClientRefusesTheWrongAddress) {
  names_.by_name[""] = issue(authority_, {"192.0.2.1"});
  Pair pair = connect("192.0.2.2");
  pair.handshake();
  EXPECT_EQ(SSL_get_verify_result(pair.client.get()), X509_V_ERR_IP_ADDRESS_MISMATCH);
}

TEST_F(Tls, ClientRefusesAnUnknownAuthority) {
  client_options_.ca_pem = make_authority("Another").root.to_pem();
  Pair pair = connect("a.test");
  pair.handshake();
  EXPECT_FALSE(pair.is_connected);
  EXPECT_THAT(pair.client_error, HasSubstr("certificate verify failed"));
}

TEST_F(Tls, ClientTrustsALeafThatItWasGiven) {
  client_options_.ca_pem = names_.by_name["a.test"]->chain.to_pem();
  Pair pair = connect("a.test");
  pair.handshake();
  EXPECT_TRUE(pair.is_connected) << pair.client_error;
}

TEST_F(Tls, ClientChecksTheConfiguredSanInsteadOfTheHost) {
  client_options_.verify_san = "b.test";
  Pair pair = connect("b.test");
  pair.handshake();
  EXPECT_TRUE(pair.is_connected) << pair.client_error;
  Pair wrong = connect("a.test");
  wrong.handshake();
  EXPECT_EQ(SSL_get_verify_result(wrong.client.get()), X509_V_ERR_HOSTNAME_MISMATCH);
}

TEST_F(Tls, ClientRefusesACertificateWithoutTheConfiguredUri) {
  client_options_.verify_san = "spiffe://cluster.local/ns/a/sa/b";
  Pair pair = connect("a.test");
  pair.handshake();
  EXPECT_EQ(SSL_get_verify_result(pair.client.get()), X509_V_ERR_HOSTNAME_MISMATCH);
}

TEST(ClientTlsContext, SaysWhichRootsAreMissing) {
  ClientTlsOptions options;
  options.ca_file = "/nonexistent/ca.pem";
  EXPECT_THAT(ClientTlsContext::create(options).error().message, HasSubstr("/nonexistent/ca.pem"));
  options.ca_file.clear();
  options.ca_pem = "nothing";
  EXPECT_THAT(ClientTlsContext::create(options).error().message, HasSubstr("no CERTIFICATE"));
}

TEST(ClientTlsContext, NeedsANameToVerify) {
  auto context = ClientTlsContext::create({});
  ASSERT_TRUE(context);
  EXPECT_FALSE((*context)->new_ssl(""));
  EXPECT_FALSE((*context)->new_ssl("."));
}

}  // namespace
}  // namespace gatehouse::net
