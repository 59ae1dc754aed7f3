#pragma once
// `gatehouse import`: manifests of cert-manager, Ingress, Gateway API and Services to one
// configuration, with a word on each field of the input. A pure function: texts in, text and report
// out; no cluster is asked, no file is read or written here.

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
};

struct Imported {
  std::string config;                 // empty: there are errors, or nothing to serve
  std::vector<ImportedField> fields;  // in the order of the input
  std::vector<Diagnostic> errors;     // files that cannot be read as manifests
  bool has_refused() const;
};

Imported import_manifests(std::span<const ManifestFile> files, const ImportOptions& options = {});

/// A line for each field, and how many of each fate.
std::string format_report(const Imported& imported);
/// The same as a JSON list.
std::string report_json(const Imported& imported);

}  // namespace gatehouse::daemon
