#pragma once
// The proof that a mirrored certificate is served: when it is in its Secret, the gateway that reads
// the Secret is asked by a TLS handshake, again and again, until it shows that very certificate.
//
//   waiting --in its Secret--> pending --it is shown--> served
//                              pending --not within the bound--> late (the alarm; then it is asked
//                              at a slower pace) --it is shown--> served
//   a newer certificate in the Secret, from any state--> pending
//
// Owned by the roof, on the control loop. A few handshakes at once, however many certificates.

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/metrics.h"
#include "daemon/base/random.h"
#include "daemon/base/timer_queue.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"
#include "daemon/net/tls_probe.h"
#include "store/options.h"

namespace gatehouse::store {

struct GatewayStatus {
  enum class State : std::uint8_t {
    kWaiting,  // nothing is in a Secret yet
    kPending,  // it is not shown yet, and has time
    kServed,   // the gateway has it
    kLate,     // it did not come in time: worth an alert
  };
  std::string certificate, address, server_name;
  State state = State::kWaiting;
  std::string serial;            // that is expected
  std::string shown;             // serial that the gateway has shown last; empty: none
  std::string reason;            // why it was not asked successfully the last time
  std::optional<Duration> lag;   // from the Secret to the gateway, the last time
  std::optional<WallTime> next;  // handshake
};
std::string_view to_string(GatewayStatus::State state);

/// The name to ask for: the first that is no wildcard, else an example of the first; empty: the
/// certificate is for addresses alone.
std::string name_to_ask(const net::CertificateFacts& facts);

class GatewayCheck {
 public:
  static constexpr int kHandshakesMax = 4;  // at once

  struct Parts {
    net::Loop& loop;
    Random& random;
    Metrics& metrics;
  };
  GatewayCheck(Parts parts, net::CertificateProbe probe);
  ~GatewayCheck();

  /// The wanted state, at start and at each reload.
  void use(std::vector<GatewayTarget> targets);
  /// The Secret has that certificate. `is_written`: since now; the lag begins here.
  void expect(const net::CredentialPtr& credential, bool is_written);
  /// Nothing runs any more when it returns.
  boost::asio::awaitable<void> stop();

  std::vector<GatewayStatus> status() const;

 private:
  struct Entry;

  void begin(Entry& entry);
  void plan(Entry& entry);
  void on_due(const std::string& certificate);
  void start_handshake(Entry& entry);
  boost::asio::awaitable<void> ask(std::string certificate, std::uint64_t round);
  void note(Entry& entry, const Result<net::CertificateFacts>& shown);
  void note_served(Entry& entry);
  void sound_alarm(Entry& entry);
  void show(const Entry& entry);
  Entry* find(const std::string& certificate);

  const Parts parts_;
  const net::CertificateProbe probe_;
  std::map<std::string, std::unique_ptr<Entry>> entries_;  // by certificate name
  std::deque<std::string> queue_;                          // that wait for a handshake to end
  int running_ = 0;
  std::uint64_t rounds_ = 0;
  net::TaskGroup tasks_;
};

}  // namespace gatehouse::store
