#pragma once
// Decides what is shed when memory or descriptors run out (HARDENING.md sections 4 and 6): new work
// first, and never a stream that runs. Pure: the data plane says what is used and does what it is
// told. Each action begins at its share of the bound, and ends a twentieth of the bound below it,
// so that it does not flutter.
//
//               closes idle ones   refuses requests   stops accepting
//   memory            80 %               90 %               95 %
//   descriptors       80 %               97 %               90 %   some are kept for backends
//   connections      100 %                -                  -     the limit itself stops accepting

#include <array>
#include <cstddef>

namespace gatehouse::proxy {

/// How much of something is in use. No bound (0): never too much.
struct Usage {
  std::size_t used = 0, most = 0;
};

class Overload {
 public:
  struct Actions {
    bool closes_idle = false;       // connections without an open request, least recent first
    bool refuses_requests = false;  // 503; what was begun goes on
    bool stops_accepting = false;

    bool any() const { return closes_idle || refuses_requests || stops_accepting; }
    friend bool operator==(const Actions&, const Actions&) = default;
  };

  // True: the actions are others than before.
  bool update_memory(Usage memory);
  bool update_sockets(Usage descriptors, Usage connections);

  bool is_short_of_memory() const { return wanted_[0].any(); }
  const Actions& actions() const { return actions_; }
  /// How many idle connections to close now, of so many that are open.
  std::size_t connections_to_close(std::size_t open) const;

 private:
  bool settle();

  Usage memory_, descriptors_, connections_;
  std::array<Actions, 3> wanted_{};  // by memory, descriptors, connections
  Actions actions_;
};

}  // namespace gatehouse::proxy
