// Sections of the schema that later versions act on: types are checked, then they are refused.

#include "daemon/config_draft.h"
#include "daemon/config_urls.h"

namespace gatehouse::daemon {

void read_tracing(ConfigDraft& draft, const Field& field) {
  Reader& reader = draft.reader;
  std::string endpoint;
  int share = 0;
  Fields fields = reader.mapping(field, {"\"tracing\""});
  read_web_url(reader, fields.need("endpoint"), endpoint);
  reader.percentage(fields.find("sample"), share);
  fields.finish();
  reader.not_yet(field);
}

}  // namespace gatehouse::daemon
