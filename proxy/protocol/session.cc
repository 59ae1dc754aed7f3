#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

std::string_view to_string(Reset reason) {
  switch (reason) {
    case Reset::kNone: return "none";
    case Reset::kCancel: return "cancel";
    case Reset::kRefused: return "refused";
    case Reset::kInternal: return "internal";
    case Reset::kProtocol: return "protocol";
    case Reset::kCalm: return "calm";
    case Reset::kNoError: return "no_error";
    case Reset::kTimeout: return "timeout";
    case Reset::kConnectionLost: return "connection_lost";
    case Reset::kOverflow: return "overflow";
  }
  return "unknown";
}

}  // namespace gatehouse::proxy
