#pragma once
// What went wrong with an exchange, in Envoy's names, as the access log prints them. Several may be
// set. Pure values.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace gatehouse::proxy {

/// In the order in which Envoy prints them.
enum class ResponseFlag : std::uint8_t {
  kNone,   // Adds nothing: for own answers that Envoy has no flag for.
  kUh,     // No healthy endpoint.
  kUt,     // The backend's timeout.
  kLr,     // We reset the stream.
  kUr,     // The backend reset the stream.
  kUf,     // No connection to the backend.
  kUc,     // The backend closed the connection.
  kUo,     // A limit of the backend is reached.
  kNr,     // No route, or no such host.
  kRl,     // Rate limited.
  kDc,     // The client went away.
  kUrx,    // All retries are used up.
  kSi,     // A stream was idle for too long.
  kIh,     // A header field with a value that is not allowed.
  kDpe,    // The client broke the protocol.
  kUmsdr,  // A stream to the backend reached its longest duration.
  kDt,     // The exchange reached its longest duration.
  kUpe,    // The backend broke the protocol.
  kNc,     // The backend does not exist.
  kOm,     // Refused to stay alive: memory or descriptors.
  kDf,     // The endpoint's name does not resolve.
  kDr,     // The client reset the stream.
};

inline constexpr std::array<std::string_view, 22> kResponseFlagTexts = {
    "",    "UH", "UT", "LR",  "UR",    "UF", "UC",  "UO", "NR", "RL", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "DT", "UPE", "NC", "OM", "DF", "DR"};
static_assert(kResponseFlagTexts[static_cast<std::size_t>(ResponseFlag::kDr)] == "DR");

/// Envoy's short name; empty for kNone.
constexpr std::string_view text_of(ResponseFlag flag) {
  return kResponseFlagTexts[static_cast<std::size_t>(flag)];
}

/// A set of flags.
class ResponseFlags {
 public:
  constexpr void add(ResponseFlag flag) { bits_ |= bit(flag); }
  constexpr bool has(ResponseFlag flag) const { return (bits_ & bit(flag)) != 0; }
  constexpr bool any() const { return bits_ != 0; }
  /// Appends "UF,URX", or "-" when there is none, to anything with append(string_view).
  template <class Text>
  void append_to(Text& out) const {
    if (!any()) {
      out.append(std::string_view("-"));
      return;
    }
    bool is_first = true;
    for (std::size_t i = 1; i < kResponseFlagTexts.size(); ++i) {
      if (!has(static_cast<ResponseFlag>(i))) continue;
      if (!is_first) out.append(std::string_view(","));
      is_first = false;
      out.append(kResponseFlagTexts[i]);
    }
  }
  friend constexpr bool operator==(ResponseFlags, ResponseFlags) = default;

 private:
  static constexpr std::uint32_t bit(ResponseFlag flag) {
    return flag == ResponseFlag::kNone ? 0u : 1u << static_cast<unsigned>(flag);
  }
  std::uint32_t bits_ = 0;
};

}  // namespace gatehouse::proxy
