// Ingresses and HTTPRoutes: what a request of theirs meets in the result.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/import_text.h"

namespace gatehouse::daemon {
namespace {

using testing::HasSubstr;
using testing::Not;

// ---- the table: paths of Ingresses ------------------------------------------------------------

std::string v1(const std::string& path, const std::string& more = {}) {
  return "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i" + more +
         "}\nspec: {tls: [{}], rules: [{host: a.example, http: {paths: [{" + path +
         ", backend: {service: {name: s, port: {number: 80}}}}]}}]}\n";
}

/// The routes of the first vhost, or what was said of the path.
std::string routes_of(const Imported& imported) {
  const auto at = imported.config.find("    routes:\n");
  return at == std::string::npos ? "" : imported.config.substr(at + 12);
}

TEST(ImportIngress, TakesPathsAsTheirTypeSays) {
  const std::string nginx = ", annotations: {kubernetes.io/ingress.class: nginx}";
  for (const auto& [path, more, expected] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"path: /, pathType: Prefix", "", "- backend: s"},
           {"path: /api, pathType: Prefix", "", "match: {path: /api}"},
           {"path: /api/, pathType: Prefix", "", "match: {path: /api}"},
           {"path: /api, pathType: Exact", "", "match: {exact: /api}"},
           {"path: /, pathType: Exact", "", "match: {exact: /}"},
           {"path: /.*", "", "- backend: s"},
           {"path: /*, pathType: ImplementationSpecific", "", "- backend: s"},
           {"path: ''", "", "- backend: s"},
           {"path: '*'", "", "- backend: s"},
           {"path: /foo.*", "", "match: {regex: \"/foo.*\"}"},
           {"path: /foo/*", "", "match: {regex: \"/foo.*\"}"},
           {"path: /a.b.*", "", "match: {regex: \"/a\\\\.b.*\"}"},
           {"path: /foo", "", "match: {exact: /foo}"},
           {"path: /", "", "match: {exact: /}"},
           {"path: /foo", nginx, "match: {path: /foo}"},
           {"path: /", nginx, "- backend: s"}}) {
    const Imported imported = import_text(v1(path, more));
    EXPECT_THAT(routes_of(imported), HasSubstr(expected)) << path << more;
    EXPECT_FALSE(imported.has_refused()) << path;
    EXPECT_EQ(check(imported), "") << path;
  }
}

TEST(ImportIngress, RefusesPathsThatNoRequestHas) {
  for (const char* path : {"path: foo, pathType: Prefix", "path: '/a?b', pathType: Exact",
                           "path: /a/../b, pathType: Exact", "path: '/a b', pathType: Prefix",
                           "path: foo", "path: /x, pathType: Odd", "path: '/a\\b.*'"})
    EXPECT_TRUE(import_text(v1(path)).has_refused()) << path;
}

TEST(ImportIngress, SortsAsIngressControllersDo) {
  const std::string backend = "backend: {service: {name: s, port: {number: 80}}}}";
  const Imported imported = import_text(
      "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {rules: [{host: "
      "a.example, http: {paths: [{path: /, pathType: Prefix, " +
      backend + ", {path: /a, pathType: Prefix, " + backend +
      ", {path: /a/long, pathType: Prefix, " + backend + ", {path: /a, pathType: Exact, " +
      backend + "]}}]}\n");
  const std::string routes = routes_of(imported);
  EXPECT_LT(routes.find("exact: /a"), routes.find("path: /a/long"));
  EXPECT_LT(routes.find("path: /a/long"), routes.find("path: /a}"));
  EXPECT_LT(routes.find("path: /a}"), routes.find("- backend"));
  EXPECT_EQ(check(imported), "");
}

// ---- the table: backends ----------------------------------------------------------------------

std::string with_service(const std::string& spec, const std::string& port) {
  return "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: " + spec +
         "\n---\napiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: i}\nspec: {rules: "
         "[{host: a.example, http: {paths: [{backend: {serviceName: s, servicePort: " +
         port + "}}]}}]}\n";
}

TEST(ImportBackend, IsTheServiceByItsName) {
  for (const auto& [spec, port, expected] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"{ports: [{port: 80}]}", "80",
            "s: {endpoints: [\"http://s.default.svc.cluster.local:80\"]}"},
           {"{ports: [{name: web, port: 81}]}", "web", ":81\"]}"},
           {"{ports: [{name: grpc-x, port: 82}]}", "82", ":82\"], protocol: h2}"},
           {"{ports: [{name: http2, port: 82}]}", "http2", ":82\"], protocol: h2}"},
           {"{ports: [{name: x, port: 82, appProtocol: kubernetes.io/h2c}]}", "x", "protocol: h2"},
           {"{ports: [{name: https, port: 443}]}", "https", "\"https://s.default.svc"},
           {"{type: ExternalName, externalName: o.example, ports: [{port: 80}]}", "80",
            "\"http://o.example:80\""},
           {"{clusterIP: None, ports: [{name: web, port: 80, targetPort: 8080}]}", "web",
            ":8080\"]"}}) {
    const Imported imported = import_text(with_service(spec, port));
    EXPECT_THAT(imported.config, HasSubstr(expected)) << spec;
    EXPECT_FALSE(imported.has_refused()) << spec;
    EXPECT_EQ(check(imported), "") << spec;
  }
}

TEST(ImportBackend, AnswersInPlaceOfAPortThatItCannotFind) {
  for (const auto& [spec, port] : std::vector<std::pair<std::string, std::string>>{
           {"{ports: [{name: web, port: 80}]}", "admin"}, {"{ports: []}", "0"}}) {
    const Imported imported = import_text(with_service(spec, port));
    EXPECT_TRUE(imported.has_refused());
    EXPECT_THAT(imported.config, HasSubstr("- respond: {status: 503"));
    EXPECT_EQ(check(imported), "");
  }
}

TEST(ImportBackend, GivesEachEndpointOneKey) {
  std::string text;
  for (const char* name_space : {"a", "b"})
    for (const char* host : {"x", "y"})
      text +=
          "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, "
          "namespace: " +
          std::string(name_space) + "}\nspec: {rules: [{host: " + host + name_space +
          ".example, http: {paths: [{path: /, pathType: Prefix, backend: {service: "
          "{name: web, port: {number: 80}}}}]}}]}\n";
  const Imported imported = import_text(text);
  EXPECT_THAT(imported.config, HasSubstr("  web: {endpoints: [\"http://web.a.svc"));
  EXPECT_THAT(imported.config, HasSubstr("  web-b: {endpoints: [\"http://web.b.svc"));
  EXPECT_THAT(imported.config, Not(HasSubstr("web-b-2")));
  EXPECT_EQ(check(imported), "");
}

TEST(ImportService, OfSolversIsNoLongerNeeded) {
  const Imported imported = import_text(
      "apiVersion: v1\nkind: Service\nmetadata: {name: s, annotations: {auth.istio.io/8089: "
      "NONE}}\n"
      "spec: {ports: [{port: 8089}], selector: {certmanager.k8s.io/domain: a.example}}\n");
  EXPECT_THAT(fate_of(imported, "spec.ports[0].port"), HasSubstr("dropped: no longer needed"));
  EXPECT_THAT(fate_of(imported, "metadata.annotations[\"auth.istio.io/8089\"]"),
              HasSubstr("dropped: no longer needed"));
}

// ---- the table: TLS and the plain port ---------------------------------------------------------

std::string ingress(const std::string& name, const std::string& annotations, const std::string& tls,
                    const std::string& host = "a.example") {
  return "---\napiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: " + name +
         ", annotations: {" + annotations + "}}\nspec: {" +
         (tls.empty() ? "" : "tls: [" + tls + "], ") + "rules: [{" +
         (host.empty() ? "" : "host: '" + host + "', ") +
         "http: {paths: [{path: /.*, backend: {serviceName: s, servicePort: 80}}]}}]}\n";
}

TEST(ImportIngress, DecidesWhatThePlainPortDoes) {
  const std::string refused = "kubernetes.io/ingress.allow-http: 'false'";
  const std::string redirect = "nginx.ingress.kubernetes.io/ssl-redirect: 'true'";
  const std::string both = "ingress.kubernetes.io/ssl-redirect: 'false'";
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {ingress("i", "", "{secretName: x}"), "http: redirect"},
           {ingress("i", refused, "{secretName: x}"), "http: redirect    # allow-http was"},
           {ingress("i", refused, "{secretName: x}") + ingress("j", "", ""), "http: serve"},
           {ingress("i", "", ""), "http: serve"},
           {ingress("i", redirect, ""), "http: redirect"},
           {ingress("i", both, "{secretName: x}"), "http: serve"}})
    EXPECT_THAT(import_text(text).config, HasSubstr("    " + expected)) << text;
  ImportOptions strict;
  strict.refuses_plain_2018 = true;
  EXPECT_THAT(import_text(ingress("i", refused, "{secretName: x}"), strict).config,
              HasSubstr("    http: refuse"));
}

TEST(ImportIngress, ReadsASecretThatNobodyIssues) {
  const Imported imported = import_text(ingress("i", "", "{secretName: bought}"));
  EXPECT_THAT(imported.config, HasSubstr("  bought:\n    secret: default/bought\n"));
  EXPECT_THAT(imported.config, HasSubstr("certificate: bought\n"));
  EXPECT_FALSE(imported.has_refused());
}

constexpr const char* kIssuers =
    "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: le}\n"
    "spec: {acme: {server: 'https://ca.example/dir'}}\n";

TEST(ImportIngress, IssuesWhatIngressShimWouldHave) {
  for (const char* prefix : {"cert-manager.io", "certmanager.k8s.io"}) {
    const std::string annotation = std::string(prefix) + "/cluster-issuer: le";
    const Imported imported = import_text(
        kIssuers + ingress("i", annotation, "{hosts: [a.example, b.example], secretName: x}"));
    EXPECT_THAT(imported.config,
                HasSubstr("  x:\n    names: [a.example, b.example]\n    issuer: le\n"
                          "    secrets: [default/x]"));
    EXPECT_FALSE(imported.has_refused());
    EXPECT_TRUE(import_text(kIssuers + ingress("i", annotation, "{secretName: x}", "*.a.example"))
                    .has_refused());
  }
  EXPECT_TRUE(
      import_text(ingress("i", "cert-manager.io/issuer: le", "{secretName: x}")).has_refused());
  EXPECT_THAT(
      import_text(kIssuers + ingress("i", "cert-manager.io/cluster-issuer: le", "{}")).config,
      HasSubstr("  - host: a.example\n    issuer: le\n"));
}

TEST(ImportIngress, GivesARuleWithoutHostTheCertificateToo) {
  const Imported imported = import_text(ingress("i", "", "{secretName: x}", ""));
  EXPECT_THAT(imported.config,
              HasSubstr("  - host: \"*\"\n    certificate: x\n    http: redirect"));
}

TEST(ImportIngress, HasTlsByAWildcardOfItsTlsHosts) {
  EXPECT_THAT(
      import_text(ingress("i", "", "{hosts: ['*.example'], secretName: x}", "a.example")).config,
      HasSubstr("  - host: a.example\n    certificate: x\n    http: redirect"));
}

TEST(ImportIngress, SignsAWildcardItselfWhenNobodyElseCan) {
  const Imported imported = import_text(ingress("i", "", "", "*.a.example"));
  EXPECT_THAT(imported.config, HasSubstr("  - host: \"*.a.example\"\n    issuer: internal\n"));
  EXPECT_THAT(fate_of(imported, "spec.rules[0].host"),
              HasSubstr("refused: a wildcard needs dns-01"));
  EXPECT_EQ(check(imported), "");
}

TEST(ImportIngress, MakesADefaultVhost) {
  EXPECT_THAT(import_text(ingress("i", "", "", "")).config, HasSubstr("  - host: \"*\"\n"));
  for (const char* spec : {"backend: {serviceName: s, servicePort: 80}",
                           "defaultBackend: {service: {name: s, port: {number: 80}}}"})
    EXPECT_THAT(import_text("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: "
                            "i}\nspec: {" +
                            std::string(spec) + "}\n")
                    .config,
                HasSubstr("  - host: \"*\"\n    http: serve"));
}

TEST(ImportIngress, IsFilteredByItsClass) {
  ImportOptions options;
  options.ingress_class = "istio";
  const std::string text = ingress("i", "kubernetes.io/ingress.class: nginx", "", "a.example") +
                           ingress("j", "kubernetes.io/ingress.class: istio", "", "b.example") +
                           ingress("k", "", "", "c.example");
  const Imported imported = import_text(text, options);
  EXPECT_THAT(imported.config, Not(HasSubstr("host: a.example")));
  EXPECT_THAT(imported.config, HasSubstr("host: b.example"));
  EXPECT_THAT(imported.config, HasSubstr("host: c.example"));
  EXPECT_THAT(format_report(imported),
              HasSubstr("dropped: Ingress default/i: spec.rules[0].host: of "
                        "class nginx"));
}

TEST(ImportIngress, RefusesAnnotationsThatChangeRequests) {
  const Imported imported =
      import_text(ingress("i", "nginx.ingress.kubernetes.io/rewrite-target: /$1", ""));
  EXPECT_THAT(
      fate_of(imported, "metadata.annotations[\"nginx.ingress.kubernetes.io/rewrite-target\"]"),
      HasSubstr("refused: changes what happens"));
}

TEST(ImportIngress, RefusesTwoBackendsOfOneHostForItsTwoPorts) {
  std::string plain = ingress("j", "", "");
  plain.replace(plain.find("serviceName: s"), 14, "serviceName: t");
  EXPECT_TRUE(import_text(ingress("i", "", "{secretName: x}") + plain).has_refused());
  const Imported twice = import_text(ingress("i", "", "") + plain);
  EXPECT_FALSE(twice.has_refused());
  EXPECT_THAT(format_report(twice),
              HasSubstr("dropped: Ingress default/j: spec.rules[0].http.paths[0]"
                        ".path: an earlier rule"));
  EXPECT_EQ(check(twice), "");
}

// ---- the table: Gateway API -------------------------------------------------------------------

constexpr const char* kGateway =
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\n"
    "spec: {gatewayClassName: istio, listeners: [{name: web, port: 80, protocol: HTTP}, {name: "
    "tls, "
    "port: 443, protocol: HTTPS, hostname: '*.example', tls: {mode: Terminate, certificateRefs: "
    "[{name: cert}]}}]}\n---\n";

std::string route(const std::string& rules, const std::string& parent = "{name: g}") {
  return std::string(kGateway) +
         "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
         "spec: {parentRefs: [" +
         parent + "], hostnames: [a.example], rules: [" + rules + "]}\n---\n";
}

const std::string kBackends = "backendRefs: [{name: s, port: 80}]";

TEST(ImportHttpRoute, TranslatesWhatIsCore) {
  for (
      const auto& [rule, expected] : std::vector<std::pair<std::string, std::string>>{
          {kBackends, "- backend: s"},
          {"matches: [{path: {value: /a}}], " + kBackends, "match: {path: /a}"},
          {"matches: [{path: {type: Exact, value: /a}}], " + kBackends, "match: {exact: /a}"},
          {"matches: [{path: {type: PathPrefix, value: /a/}}], " + kBackends, "match: {path: /a}"},
          {"matches: [{method: POST}], " + kBackends, "match: {methods: [POST]}"},
          {"matches: [{headers: [{name: X-A, value: '1'}]}], " + kBackends,
           "match: {headers: {x-a: \"1\"}}"},
          {"matches: [{queryParams: [{name: V, value: x}]}], " + kBackends,
           "match: {query: {V: x}}"},
          {"backendRefs: [{name: s, port: 80, weight: 9}, {name: t, port: 81, weight: 1}]",
           "split: [{backend: s, weight: 9}, {backend: t, weight: 1}]"},
          {"backendRefs: []", "respond: {status: 500"},
          {"timeouts: {request: 15s}, " + kBackends, "timeout: \"15s\""},
          {"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: "
           "'5%'}], add: [{name: b, value: x}], remove: [c]}}], " +
               kBackends,
           "request_headers: {set: {a: \"5%%\"}, add: {b: x}, remove: [c]}"},
          {"filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: "
           "[server]}}], " +
               kBackends,
           "response_headers: {remove: [server]}"},
          {"filters: [{type: RequestRedirect, requestRedirect: {hostname: b.example}}]",
           "redirect: {to: \"https://b.example%PATH%%QUERY%\", status: 302}"},
          {"matches: [{path: {value: /a}}], filters: [{type: RequestRedirect, requestRedirect: "
           "{scheme: "
           "http, port: 8080, statusCode: 301, path: {type: ReplacePrefixMatch, "
           "replacePrefixMatch: "
           "/b}}}]",
           "redirect: {to: \"http://%HOST%:8080/b%REST%%QUERY%\", status: 301}"},
          {"matches: [{path: {value: /a}}], filters: [{type: URLRewrite, urlRewrite: {hostname: "
           "in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}], " +
               kBackends,
           "rewrite: {path: /b, host: in.example}"},
          {"matches: [{path: {value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: "
           "ReplaceFullPath, replaceFullPath: /b}}}], " +
               kBackends,
           "match: {regex: \"/a(?:/.*)?\"}"}}) {
    const Imported imported = import_text(route("{" + rule + "}"));
    EXPECT_THAT(routes_of(imported), HasSubstr(expected)) << rule;
    EXPECT_FALSE(imported.has_refused()) << rule << format_report(imported);
    EXPECT_EQ(check(imported), "") << rule << imported.config;
  }
}

TEST(ImportHttpRoute, RefusesTheRestByName) {
  for (const auto& [rule, field] : std::vector<std::pair<std::string, std::string>>{
           {"matches: [{path: {type: RegularExpression, value: /a}}], " + kBackends,
            "matches[0].path.type"},
           {"matches: [{headers: [{type: RegularExpression, name: a, value: b}]}], " + kBackends,
            "matches[0].headers[0].type"},
           {"matches: [{queryParams: [{type: RegularExpression, name: a, value: b}]}], " +
                kBackends,
            "matches[0].queryParams[0].type"},
           {"filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m}}}], " +
                kBackends,
            "filters[0].type"},
           {"filters: [{type: CORS, cors: {allowOrigins: [x]}}], " + kBackends, "filters[0].type"},
           {"filters: [{type: ExtensionRef, extensionRef: {name: auth}}], " + kBackends,
            "filters[0].type"},
           {"matches: [{method: get}], " + kBackends, "matches[0].method"},
           {"matches: [{headers: [{name: Host, value: x}]}], " + kBackends,
            "matches[0].headers[0].name"},
           {"matches: [{headers: [{name: Connection, value: x}]}], " + kBackends,
            "matches[0].headers[0].name"},
           {"retry: {attempts: 3}, " + kBackends, "retry.attempts"},
           {"sessionPersistence: {type: Cookie}, " + kBackends, "sessionPersistence.type"},
           {"backendRefs: [{kind: Bucket, name: s, port: 80}]", "backendRefs[0].kind"},
           {"backendRefs: [{name: s}]", "backendRefs[0].name"},
           {"backendRefs: [{name: s, port: 80, filters: [{type: CORS}]}]",
            "backendRefs[0].filters[0].type"},
           {"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, "
            "value: "
            "x}]}}], " +
                kBackends,
            "filters[0].requestHeaderModifier.set[0].name"}}) {
    const Imported imported = import_text(route("{" + rule + "}"));
    EXPECT_THAT(fate_of(imported, "spec.rules[0]." + field), HasSubstr("refused: ")) << rule;
    EXPECT_EQ(check(imported), "") << rule << imported.config;
  }
}

TEST(ImportHttpRoute, LetsNothingPassWithoutAFilterThatItDoesNotHave) {
  const Imported imported = import_text(
      route("{filters: [{type: ExtensionRef, extensionRef: {name: a}}], " + kBackends + "}"));
  EXPECT_THAT(imported.config, HasSubstr("respond: {status: 500"));
  EXPECT_THAT(imported.config, Not(HasSubstr("backend: s")));
}

TEST(ImportHttpRoute, HasThePrecedenceOfTheGatewayApi) {
  const auto match = [](const std::string& matches) {
    return "{matches: [" + matches + "], " + kBackends + "}, ";
  };
  const Imported imported = import_text(
      route(match("{path: {value: /}}") + match("{path: {value: /a}}") +
            match("{path: {value: /a}, queryParams: [{name: q, value: x}]}") +
            match("{path: {value: /a}, headers: [{name: h, value: x}]}") +
            match("{path: {value: /a}, method: GET}") + match("{path: {value: /a/long}}") +
            match("{path: {type: Exact, value: /b}}")));
  const std::string routes = routes_of(imported);
  std::size_t last = 0;
  for (const char* part : {"exact: /b", "path: /a/long", "methods: [GET]", "headers: {h",
                           "query: {q", "match: {path: /a}", "- backend: s"}) {
    const auto at = routes.find(part);
    ASSERT_NE(at, std::string::npos) << part << routes;
    EXPECT_GE(at, last) << part;
    last = at;
  }
  EXPECT_EQ(check(imported), "");
}

TEST(ImportHttpRoute, ServesWhatItsListenersServe) {
  const std::string redirect =
      "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}";
  const std::string rule = "{" + kBackends + "}";
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {route(rule), "http: serve"},
           {route(rule, "{name: g, sectionName: tls}"), "http: redirect"},
           {route(rule, "{name: g, sectionName: web}"), "http: serve"},
           {route(rule, "{name: elsewhere}"), "http: redirect"},
           {route(rule, "{name: g, sectionName: tls}") +
                route(redirect, "{name: g, sectionName: web}"),
            "http: redirect    # as it was asked for"}}) {
    const Imported imported = import_text(text);
    EXPECT_THAT(imported.config, HasSubstr("    " + expected)) << text;
    EXPECT_FALSE(imported.has_refused()) << text;
    EXPECT_EQ(check(imported), "") << text;
  }
  const std::string tls = import_text(route(rule)).config;
  EXPECT_THAT(tls, HasSubstr("  cert:\n    secret: default/cert\n"));
  EXPECT_THAT(tls, HasSubstr("  - host: a.example\n    certificate: cert\n"));
}

TEST(ImportHttpRoute, RefusesWhatThePortsOfAHostDoDifferently) {
  const std::string web = "{name: g, sectionName: web}", tls = "{name: g, sectionName: tls}";
  const std::string other = "{backendRefs: [{name: t, port: 80}]}";
  const Imported two = import_text(route("{" + kBackends + "}", tls) + route(other, web));
  EXPECT_THAT(fate_of(two, "spec.rules[0].backendRefs[0].name"),
              HasSubstr("refused: the plain port and the TLS port"));
  const Imported part =
      import_text(route("{" + kBackends + "}", tls) +
                  route("{matches: [{path: {value: /login}}], filters: [{type: RequestRedirect, "
                        "requestRedirect: {scheme: https}}]}",
                        web));
  EXPECT_THAT(fate_of(part, "spec.rules[0].matches[0].path.value"),
              HasSubstr("refused: the plain port redirects a whole host"));
}

TEST(ImportHttpRoute, LeavesTheInsideOfTheMeshAlone) {
  const Imported imported =
      import_text(route("{" + kBackends + "}", "{kind: Service, group: '', name: s}"));
  EXPECT_THAT(fate_of(imported, "spec.hostnames[0]"), HasSubstr("dropped: about the inside"));
}

}  // namespace
}  // namespace gatehouse::daemon
