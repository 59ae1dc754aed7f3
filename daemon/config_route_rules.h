#pragma once
// What routes match beside the path, and how they change messages on their way. Paths, headers and
// variables as they may stand in a configuration; routes themselves are config_routes.cc.

#include <optional>
#include <string>

#include "daemon/config_fields.h"
#include "proxy/options.h"
#include "proxy/routing/variables.h"

namespace gatehouse::daemon {

/// A path as requests have it after normalisation; any other would never match.
bool read_path(Reader& reader, const Field& field, std::string& into);

/// `methods`, `headers`, `query` and `sources` of a match. False when there is something wrong.
bool read_request_match(Reader& reader, Fields& fields, proxy::RequestMatch& into);

/// `groups`: of the route's regex, when it has one.
void read_rewrite(Reader& reader, const Field& field, std::optional<int> groups,
                  proxy::Rewrite& into);
void read_header_edits(Reader& reader, const Field& field, proxy::Template::Use use,
                       proxy::HeaderEdits& into);
/// Where a redirect leads to: an absolute URL or a path, perhaps with variables.
void read_location(Reader& reader, const Field& field, std::optional<int> groups,
                   std::string& into);

}  // namespace gatehouse::daemon
