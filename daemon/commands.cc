#include "daemon/commands.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "daemon/base/log.h"
#include "daemon/base/process_memory.h"
#include "daemon/config_reader.h"
#include "daemon/control_socket.h"
#include "daemon/gatehouse.h"
#include "daemon/import_command.h"
#include "daemon/status.h"

namespace gatehouse::daemon {

namespace {
constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2;

/// What was given on the command line.
struct Arguments {
  std::string config = kDefaultConfigFile;
  bool as_json = false;
  bool wants_root = false;
  std::string name, issuer;
  ImportCommand import;
};

int fail(const Error& error) {
  std::fprintf(stderr, "gatehouse: %s\n", error.message.c_str());
  return kFailed;
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int run(const Arguments& arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  ConfigReading reading = read_config(arguments.config);
  std::fputs(format(reading.report).c_str(), stderr);
  if (!reading.config) return kWrongUsage;
  keep_memory_together(reading.config->proxy.workers == 1);
  auto gatehouse = Gatehouse::open(std::move(*reading.config));
  if (!gatehouse) return fail(gatehouse.error());
  return (*gatehouse)->run();
}

int check_config(const Arguments& arguments) {
  const ConfigReading reading = read_config(arguments.config);
  std::fputs(format(reading.report).c_str(), stderr);
  if (!reading.config) {
    std::fprintf(stderr, "%zu error%s\n", reading.report.errors.size(),
                 reading.report.errors.size() == 1 ? "" : "s");
    return kWrongUsage;
  }
  std::printf("%s: %zu vhosts, %zu backends, %zu certificates: good\n", arguments.config.c_str(),
              reading.config->proxy.vhosts.size(), reading.config->proxy.backends.size(),
              reading.config->acme.certificates.size() + reading.config->file_certificates.size());
  return kDone;
}

/// Asks the daemon; prints the answer, through `as_text` when it is for people.
int ask(const Arguments& arguments, const std::string& method, const std::string& target,
        const std::function<Result<std::string>(std::string_view)>& as_text = {}) {
  auto socket = read_control_socket(arguments.config);
  if (!socket) {
    std::fprintf(stderr, "gatehouse: %s\n", socket.error().message.c_str());
    return kWrongUsage;
  }
  auto reply = ask_daemon(*socket, method, target);
  if (!reply) return fail(reply.error());
  if (reply->status != 200) {
    std::fputs(reply->body.c_str(), stderr);
    return reply->status == 422 ? kWrongUsage : kFailed;
  }
  if (!as_text || arguments.as_json) {
    print(reply->body);
    return kDone;
  }
  auto text = as_text(reply->body);
  if (!text) return fail(text.error());
  print(*text);
  return kDone;
}

int version(const Arguments& arguments) {
  if (arguments.as_json) {
    std::printf("{\"version\":\"%s\",\"openssl\":\"%s\"}\n", GATEHOUSE_VERSION,
                OpenSSL_version(OPENSSL_VERSION_STRING));
  } else {
    std::printf("gatehouse %s (%s)\n", GATEHOUSE_VERSION, OpenSSL_version(OPENSSL_VERSION));
  }
  return kDone;
}

int export_certificate(const Arguments& arguments) {
  if (arguments.wants_root)
    return ask(arguments, "GET", "/certificates/root?issuer=" + percent_encoded(arguments.issuer));
  if (arguments.name.empty()) {
    std::fputs("gatehouse: certificates export takes a NAME or --root\n", stderr);
    return kWrongUsage;
  }
  return ask(arguments, "GET", "/certificates/export?name=" + percent_encoded(arguments.name));
}

int not_yet(const char* command) {
  std::fprintf(stderr, "gatehouse: %s: not supported yet\n", command);
  return kWrongUsage;
}

/// Declares all commands; the callback of the one that was given sets `act`.
void declare(CLI::App& app, Arguments& arguments, std::function<int()>& act) {
  const auto add = [&](CLI::App& to, const char* name, const char* help,
                       std::function<int()> action) {
    CLI::App* command = to.add_subcommand(name, help);
    command->fallthrough();  // --config may stand anywhere.
    command->callback([&act, action = std::move(action)] { act = action; });
    return command;
  };
  add(app, "run", "Serve, in the foreground", [&] { return run(arguments); });
  add(app, "check", "Check the configuration: all errors at once",
      [&] { return check_config(arguments); });
  add(app, "status", "What the daemon does",
      [&] { return ask(arguments, "GET", "/status.json", status_text); });
  add(app, "reload", "Take the changed configuration without touching connections",
      [&] { return ask(arguments, "POST", "/reload"); });
  CLI::App* import = add(app, "import", "Turn manifests of Kubernetes into a configuration", [&] {
    arguments.import.as_json = arguments.as_json;
    return run_import(arguments.import);
  });
  import
      ->add_option(
          "FILE", arguments.import.manifests,
          "YAML or JSON: cert-manager, Ingress, Gateway API, Services, Secrets; - is stdin")
      ->required();
  import->add_option("--output", arguments.import.output,
                     "a new file for the result, not stdout; roots and keys go beside it");
  CLI::Option* keys = import->add_flag(
      "--with-keys", arguments.import.options.takes_keys,
      "keys that issuers have in Secrets go along: of accounts, into the database");
  import
      ->add_option("--state", arguments.import.options.state,
                   "with --with-keys: the daemon's directory, for 'state'")
      ->needs(keys);
  import->add_option("--class", arguments.import.options.ingress_class,
                     "only Ingresses of this class, and those without");
  import->add_flag("--strict-2018", arguments.import.options.refuses_plain_2018,
                   "allow-http \"false\" as in 2018: 404 on the plain port, not a redirect");
  add(app, "version", "Print the version", [&] { return version(arguments); });

  CLI::App* certificates = app.add_subcommand("certificates", "Look at and renew certificates");
  certificates->require_subcommand(1);
  certificates->fallthrough();
  add(*certificates, "list", "All certificates",
      [&] { return ask(arguments, "GET", "/certificates", certificates_text); });
  add(*certificates, "show", "One certificate",
      [&] {
        return ask(arguments, "GET", "/certificates/show?name=" + percent_encoded(arguments.name),
                   certificate_text);
      })
      ->add_option("NAME", arguments.name, "its name, or a host that it covers")
      ->required();
  add(*certificates, "renew", "Renew now, and wait for it",
      [&] {
        return ask(arguments, "POST",
                   "/certificates/renew?name=" + percent_encoded(arguments.name));
      })
      ->add_option("NAME", arguments.name, "its name, or a host that it covers")
      ->required();
  CLI::App* exporting = add(*certificates, "export", "Print a chain, or the built-in CA's root",
                            [&] { return export_certificate(arguments); });
  exporting->add_option("NAME", arguments.name, "its name, or a host that it covers");
  exporting->add_flag("--root", arguments.wants_root, "the root of the built-in CA");
  exporting->add_option("--issuer", arguments.issuer,
                        "with --root: which one, if there are several");
  for (const char* name : {"revoke", "import"})
    add(*certificates, name, "Not supported yet", [name] { return not_yet(name); })->allow_extras();
}
}  // namespace

int run_command_line(int argc, char** argv) {
  Arguments arguments;
  std::function<int()> act;
  CLI::App app{"Gatehouse: HTTPS in front of a service mesh, by itself", "gatehouse"};
  app.require_subcommand(1);
  app.add_option("--config", arguments.config, "The configuration file")->capture_default_str();
  app.add_flag("--json", arguments.as_json, "Facts for programs");
  app.set_version_flag("--version", std::string("gatehouse ") + GATEHOUSE_VERSION);
  declare(app, arguments, act);
  try {  // CLI11 reports by exceptions; they end here.
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kWrongUsage;
  }
  return act ? act() : kWrongUsage;
}

}  // namespace gatehouse::daemon
