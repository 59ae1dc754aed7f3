#pragma once
// Error codes of RST_STREAM and GOAWAY (RFC 9113 section 7), and how they map to ours.

#include <cstdint>

#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

enum class Http2Error : std::uint32_t {
  kNoError = 0,
  kProtocol = 1,
  kInternal = 2,
  kFlowControl = 3,
  kSettingsTimeout = 4,
  kStreamClosed = 5,
  kFrameSize = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompression = 9,
  kConnect = 10,
  kEnhanceYourCalm = 11,
};

/// What we send for it.
constexpr Http2Error error_of(Reset reason) {
  switch (reason) {
    case Reset::kNone:
    case Reset::kNoError: return Http2Error::kNoError;
    case Reset::kCancel:
    case Reset::kTimeout:
    case Reset::kConnectionLost: return Http2Error::kCancel;
    case Reset::kRefused: return Http2Error::kRefusedStream;
    case Reset::kProtocol: return Http2Error::kProtocol;
    case Reset::kCalm: return Http2Error::kEnhanceYourCalm;
    case Reset::kInternal:
    case Reset::kOverflow: return Http2Error::kInternal;
  }
  return Http2Error::kInternal;
}

/// What it means when the peer sends it. kProtocol stays for what the peer itself did wrong.
constexpr Reset reset_of(Http2Error error) {
  switch (error) {
    case Http2Error::kNoError: return Reset::kNoError;
    case Http2Error::kRefusedStream: return Reset::kRefused;
    case Http2Error::kCancel: return Reset::kCancel;
    case Http2Error::kEnhanceYourCalm: return Reset::kCalm;
    default: return Reset::kInternal;
  }
}

static_assert(error_of(Reset::kTimeout) == Http2Error::kCancel);
static_assert(error_of(Reset::kOverflow) == Http2Error::kInternal);
static_assert(reset_of(Http2Error::kProtocol) == Reset::kInternal);

}  // namespace gatehouse::proxy
