#pragma once
// The HTTP side of ACME at one CA (RFC 8555 sections 6 and 7.1 to 7.2): the cached directory, a
// pool of nonces, signed POSTs that repeat themselves on badNonce, and answers sorted into success
// and AttemptFailure. Knows no order; follows no redirect; never waits on its own.
// Owned by the Issuer of that CA; its calls may run at the same time.

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <optional>
#include <string>

#include "acme/attempt.h"
#include "acme/fleet.h"
#include "acme/jws.h"
#include "acme/messages.h"
#include "acme/transport.h"
#include "daemon/base/clock.h"
#include "daemon/base/error.h"
#include "daemon/net/job_thread.h"
#include "daemon/net/loop.h"

namespace gatehouse::acme {

template <class T>
using Call = boost::system::result<T, AttemptFailure>;

/// A failure that is not the CA's word: the network, the disk, an answer that makes no sense.
AttemptFailure failure_of(Error error, Reaction reaction = Reaction::kTransient);

/// Who signs. Without account URL the key itself is sent (newAccount).
struct Signer {
  AccountKey key;
  std::string account_url;
};

/// A success (2xx).
struct Answer {
  int status = 0;
  std::string content_type;  // lower case, without parameters
  std::string body;
  std::string location;
  std::optional<WallTime> retry_after;
};

class Client {
 public:
  /// All of them outlive the client.
  Client(net::Loop& loop, net::JobThread& compute, Transport& transport, std::string directory_url,
         const Fleet* fleet = nullptr)
      : loop_(loop),
        compute_(compute),
        transport_(transport),
        fleet_(fleet),
        directory_url_(std::move(directory_url)) {}

  /// Cached for a day, or until something went wrong that a moved directory would explain.
  boost::asio::awaitable<Call<Directory>> directory();

  /// An empty payload is a POST-as-GET. `doing` begins the message of a failure.
  struct Post {
    std::string doing;
    Signer signer;
    std::string url, payload;
    std::string accept = "application/json";  // what the answer must be, unless it has no body
  };
  boost::asio::awaitable<Call<Answer>> post(Post request);
  /// Unsigned.
  boost::asio::awaitable<Call<Answer>> get(std::string doing, std::string url);

  std::size_t nonces_kept() const { return nonces_.size(); }

 private:
  boost::asio::awaitable<Call<std::string>> take_nonce();
  boost::asio::awaitable<Result<net::HttpResponse>> send(net::HttpRequest request);
  boost::asio::awaitable<Result<std::string>> signed_body(Post request, std::string nonce);
  boost::asio::awaitable<Call<net::HttpResponse>> post_once(Post request);
  void keep_nonce(const net::HttpResponse& response);
  /// Sorts a complete answer.
  Call<Answer> sort(const net::HttpResponse& response, const std::string& doing,
                    const std::string& accept);

  net::Loop& loop_;
  net::JobThread& compute_;
  Transport& transport_;
  const Fleet* const fleet_;  // null: this node is alone
  std::string directory_url_;
  std::optional<Directory> directory_;
  SteadyTime directory_read_at_{};
  std::deque<std::string> nonces_;  // the freshest at the back
};

}  // namespace gatehouse::acme
