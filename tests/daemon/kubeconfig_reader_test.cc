#include "daemon/kubeconfig_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gatehouse::daemon {
namespace {

using ::testing::HasSubstr;

std::string with(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: edge\npreferences: {}\n"
         "clusters:\n- name: other\n  cluster: {server: 'https://other:1'}\n"
         "- name: c\n  cluster: {" +
         cluster + "}\nusers:\n- name: u\n  user: {" + user +
         "}\ncontexts:\n- name: edge\n  context: {cluster: c, user: u, namespace: edge-ns}\n";
}

net::KubeAccess read(const std::string& cluster, const std::string& user) {
  auto access = read_kubeconfig_text(with(cluster, user), "/etc/gatehouse/kubeconfig");
  EXPECT_TRUE(access) << access.error().message;
  return access ? *access : net::KubeAccess();
}

std::string why(const std::string& cluster, const std::string& user) {
  auto access = read_kubeconfig_text(with(cluster, user), "/etc/gatehouse/kubeconfig");
  EXPECT_FALSE(access);
  return access ? "" : access.error().message;
}

TEST(Kubeconfig, TakesTheCurrentContext) {
  const auto access = read("server: 'https://10.0.0.1:6443/k8s/'", "token: t");
  EXPECT_EQ(access.server, "https://10.0.0.1:6443/k8s") << "a path is a prefix";
  EXPECT_EQ(access.name_space, "edge-ns");
  EXPECT_EQ(access.token, "t");
}

TEST(Kubeconfig, LooksForFilesBesideItself) {
  const auto access = read("server: 'https://a', certificate-authority: ca.crt",
                           "client-certificate: /abs/c.pem, client-key: keys/k.pem, tokenFile: t");
  EXPECT_EQ(access.ca_file, "/etc/gatehouse/ca.crt");
  EXPECT_EQ(access.certificate_file, "/abs/c.pem");
  EXPECT_EQ(access.key_file, "/etc/gatehouse/keys/k.pem");
  EXPECT_EQ(access.token_file, "/etc/gatehouse/t");
}

TEST(Kubeconfig, PrefersDataToFilesAndTokenFilesToTokens) {
  const auto access = read(
      "server: 'https://a', certificate-authority: ca.crt, certificate-authority-data: UEVN, "
      "tls-server-name: kubernetes.default.svc",
      "token: t, tokenFile: f");
  EXPECT_EQ(access.ca_pem, "PEM");
  EXPECT_EQ(access.ca_file, "");
  EXPECT_EQ(access.tls_server_name, "kubernetes.default.svc");
  EXPECT_EQ(access.token, "");
  EXPECT_FALSE(access.skips_verification);
}

TEST(Kubeconfig, RefusesByNameWhatItCannotDo) {
  const std::string server = "server: 'https://a'";
  EXPECT_THAT(why(server, "exec: {command: aws}"), HasSubstr("\"exec\": programs"));
  EXPECT_THAT(why(server, "auth-provider: {name: gcp}"), HasSubstr("\"auth-provider\""));
  EXPECT_THAT(why(server, "username: u, password: p"), HasSubstr("\"username\": passwords"));
  EXPECT_THAT(why(server, "token: t, as: admin"), HasSubstr("\"as\": impersonation"));
  EXPECT_THAT(why(server + ", proxy-url: 'http://p'", "token: t"), HasSubstr("\"proxy-url\""));
}

TEST(Kubeconfig, NamesThePlaceOfAMistake) {
  EXPECT_THAT(why("server: 'http://a'", "token: t"),
              HasSubstr("/etc/gatehouse/kubeconfig:9:21: \"server\" takes an https URL"));
  EXPECT_THAT(why("server: 'https://a', certificate-authority-data: '*'", "token: t"),
              HasSubstr("is not base64"));
  EXPECT_THAT(why("server: 'https://a'", "client-certificate: c"), HasSubstr("needs its key"));
  EXPECT_THAT(why("server: 'https://a', insecure-skip-tls-verify: true, certificate-authority: c",
                  "token: t"),
              HasSubstr("beside a certificate authority"));
  EXPECT_THAT(why("server: 'https://a', insecure-skip-tls-verify: perhaps", "token: t"),
              HasSubstr("takes true or false"));
  EXPECT_THAT(why("{", ""), HasSubstr("/etc/gatehouse/kubeconfig:"));
}

TEST(Kubeconfig, NeedsAContextThatLeadsSomewhere) {
  EXPECT_THAT(read_kubeconfig_text("a: 1", "k").error().message, HasSubstr("current-context"));
  EXPECT_THAT(read_kubeconfig_text("current-context: x", "k").error().message,
              HasSubstr("no context is named \"x\""));
}

TEST(Kubeconfig, MaySkipVerificationWhenAsked) {
  EXPECT_TRUE(
      read("server: 'https://a', insecure-skip-tls-verify: true", "token: t").skips_verification);
}

}  // namespace
}  // namespace gatehouse::daemon
