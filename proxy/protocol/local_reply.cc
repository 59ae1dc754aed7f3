#include "proxy/protocol/local_reply.h"

namespace gatehouse::proxy {

namespace {

/// What a person reads. A 503 most often means that nobody can take the request.
std::string text_for(int status) {
  if (status == 503) return std::string(kNoHealthyUpstream);
  const std::string_view reason = reason_of(status);
  return reason.empty() ? std::to_string(status) + "\n" : std::string(reason) + "\n";
}

}  // namespace

LocalReply make_grpc_reply(int grpc_status, std::string_view message) {
  LocalReply reply;
  reply.head.status = 200;
  reply.head.fields.add(Name::kContentType, "application/grpc");
  reply.head.fields.add(Name::kGrpcStatus, std::to_string(grpc_status));
  reply.head.fields.add(Name::kGrpcMessage, encode_grpc_message(message));
  return reply;
}

LocalReply make_local_reply(int status, std::string_view body, bool is_grpc) {
  LocalReply reply;
  std::string text = body.empty() ? text_for(status) : std::string(body);
  if (is_grpc) {
    while (text.ends_with('\n')) text.pop_back();
    return make_grpc_reply(grpc_status_of(status), text);
  }
  reply.head.status = status;
  if (never_has_body({}, status)) return reply;
  reply.head.fields.add(Name::kContentType, "text/plain; charset=utf-8");
  reply.head.fields.add(Name::kContentLength, std::to_string(text.size()));
  reply.head.content_length = text.size();
  reply.body = std::move(text);
  return reply;
}

LocalReply make_redirect(int status, std::string_view location) {
  LocalReply reply;
  reply.head.status = status;
  reply.head.fields.add(Name::kLocation, location);
  reply.head.fields.add(Name::kContentLength, "0");
  reply.head.content_length = 0;
  return reply;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 102: return "Processing";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 207: return "Multi-Status";
    case 208: return "Already Reported";
    case 226: return "IM Used";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 305: return "Use Proxy";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 506: return "Variant Also Negotiates";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 511: return "Network Authentication Required";
    default: return {};
  }
}

int grpc_status_of(int http_status) {
  switch (http_status) {
    case 400: return 13;  // INTERNAL
    case 401: return 16;  // UNAUTHENTICATED
    case 403: return 7;   // PERMISSION_DENIED
    case 404: return 12;  // UNIMPLEMENTED
    case 429:
    case 502:
    case 503:
    case 504: return 14;  // UNAVAILABLE
    default: return 2;    // UNKNOWN
  }
}

std::string encode_grpc_message(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if (c >= 0x20 && c <= 0x7e && c != '%') {
      encoded.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded.push_back('%');
    encoded.push_back(kDigits[byte >> 4]);
    encoded.push_back(kDigits[byte & 15]);
  }
  return encoded;
}

}  // namespace gatehouse::proxy
