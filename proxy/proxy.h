#pragma once
// The front door of the proxy room: what the roof starts, gives snapshots to and drains. One data
// plane lives on the roof's loop, each further one on a Worker's. They share immutable snapshots
// and the census of connections; all else is posted: to a plane, and its answer back to the first
// loop. Everything here is called on the first loop.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/data_plane.h"
#include "proxy/worker.h"

namespace gatehouse::proxy {

class Proxy final : private Neighbours {
 public:
  /// What the first plane works with; all of it outlives the proxy.
  struct Parts {
    net::Loop& loop;
    net::Poller& poller;
    net::Resolver& resolver;
    Random& random;
    Metrics& metrics;
  };
  Proxy(const Parts& parts, std::size_t loops);
  ~Proxy() override;

  /// Binds or takes over the listeners and begins to serve, on all loops. Before it: use() for
  /// certificates, so that no handshake finds none.
  Result<void> start(std::shared_ptr<const Options> options, const ListenSockets& inherited);

  /// The first half of taking a new configuration: all that can fail, on every loop, all or none.
  /// When that is done well, commit() or abandon() has to follow. One at a time.
  void prepare(std::shared_ptr<const Options> options, std::function<void(Result<void>)> done);
  /// Swaps: nothing in flight is touched.
  void commit();
  void abandon();
  /// Swaps the certificates: effective with the next handshake.
  void use(std::shared_ptr<const CertificateTable> certificates);
  const std::shared_ptr<const CertificateTable>& certificates() const {
    return first_.certificates();
  }
  /// Changes the challenge answers of every loop, in this order; settle() calls `done` when what
  /// was changed before it is in effect everywhere.
  void change_challenges(const std::function<void(ChallengeTable&)>& change);
  void settle(std::function<void()> done);
  /// After start(): the keys for session tickets, of all loops.
  net::TicketKeys& tickets() { return *tickets_; }

  void drain(std::function<void()> done);
  void reopen_log();
  /// Ends the workers. What was asked of them and not answered yet is forgotten.
  void stop();

  std::size_t loops() const { return 1 + workers_.size(); }
  /// Asks every loop for a sign of life. stuck() has those that owe one since then.
  std::uint64_t take_pulse();
  std::vector<std::size_t> stuck(std::uint64_t pulse) const;

  std::size_t connections() const { return census_.connections(); }
  /// Address (with the port really bound) and whether it speaks TLS.
  std::vector<std::pair<std::string, bool>> listening() const { return first_.listening(); }
  /// What each loop has to say, the first one first.
  struct LoopFacts {
    std::size_t connections = 0, requests = 0;
    std::vector<BackendStatus> backends;
  };
  void ask_facts(std::function<void(std::vector<LoopFacts>)> done);
  /// The sums of all loops, with what else is in the first one's metrics.
  void ask_metrics(std::function<void(Metrics)> done);

 private:
  struct Round;
  template <class T>
  struct Asked;

  // Neighbours: from any loop.
  ConnectionCensus& census() override { return census_; }
  void hand_over(std::size_t loop, const Visitor& visitor) override;
  void pass_log_lines(std::string lines) override;
  void tell(std::size_t loop, std::shared_ptr<BackendCommons> commons,
            const ClusterNews& news) override;

  void post(std::size_t loop, std::function<void(DataPlane&)> what);
  void tell_all(const std::function<void(DataPlane&)>& what);
  template <class T>
  void ask(std::function<T(DataPlane&, std::size_t loop)> question,
           std::function<void(std::vector<T>)> done);
  void arrive(std::uint64_t round);
  Result<std::vector<ListenSockets>> open_sockets(const Options& options,
                                                  const ListenSockets& inherited) const;
  void rotate_tickets();

  net::Loop& loop_;
  const std::size_t loops_wanted_;
  ConnectionCensus census_;
  DataPlane first_;
  std::vector<std::unique_ptr<Worker>> workers_;  // the loops 1, 2, ...
  bool is_stopped_ = false;
  std::map<std::uint64_t, std::unique_ptr<Round>> rounds_;
  std::uint64_t last_round_ = 0;
  std::unique_ptr<SnapshotCommons> commons_;  // of the snapshot that was prepared last
  std::uint64_t pulse_ = 0;
  std::vector<std::uint64_t> pulses_;  // by loop: the last one that was answered
  std::vector<bool> is_asked_;         // by loop: a pulse is on its way
  std::size_t draining_ = 0;           // loops that are not done
  std::function<void()> on_drained_;
  std::shared_ptr<net::TicketKeys> tickets_;
  std::unique_ptr<Timer> ticket_timer_;
};

}  // namespace gatehouse::proxy
