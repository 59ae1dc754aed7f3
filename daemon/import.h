#pragma once
// `gatehouse import`: manifests of cert-manager, Ingress, Gateway API and Services to one
// configuration, with a word on each field of the input. A pure function: texts in, text and report
// out, and what is to be kept beside the text; no cluster is asked, no file is read or written here
// (import_command.h does that). What a Secret holds is in files and accounts alone, never in the
// text, the report or an error.

#include <span>
#include <string>
#include <vector>

#include "daemon/diagnostic.h"
#include "daemon/import_manifest.h"

namespace gatehouse::daemon {

struct ManifestFile {
  std::string name;
  std::string text;
};

struct ImportOptions {
  std::string ingress_class;        // only Ingresses of this class, and those without; empty: all
  bool refuses_plain_2018 = false;  // allow-http "false": 404 on the plain port, not a redirect
  bool has_directory = false;       // the result is a file, and others can be made beside it
  bool takes_keys = false;          // account keys and HMAC keys in Secrets of the input go along
  std::string state;                // the daemon's directory, for `state:`; empty: the default
};

/// A file that the configuration names, to be made beside it.
struct ImportedFile {
  std::string name;  // without a directory
  std::string text;
  bool is_secret = false;  // for the daemon's user alone
};

/// The key of an account that the CA has already. The store knows it by directory and email.
struct ImportedAccount {
  std::string directory, email;  // the email may be empty
  std::string key_pem;           // PKCS#8
};

struct Imported {
  std::string config;                     // empty: there are errors, or nothing to serve
  std::vector<ImportedFile> files;        // without ImportOptions::has_directory none
  std::vector<ImportedAccount> accounts;  // without ImportOptions::takes_keys none
  std::vector<ImportedField> fields;      // in the order of the input
  std::vector<Diagnostic> errors;         // files that cannot be read as manifests
  bool has_refused() const;
};

Imported import_manifests(std::span<const ManifestFile> files, const ImportOptions& options = {});

/// A line for each field, and how many of each fate.
std::string format_report(const Imported& imported);
/// The same as a JSON list.
std::string report_json(const Imported& imported);

}  // namespace gatehouse::daemon
