#pragma once
// Two sessions and the bytes between them: cut into random pieces, held back, lost with the
// connection. What the connections of the proxy do around their sessions, without sockets.

#include <algorithm>
#include <string_view>

#include "daemon/base/flat_buffer.h"
#include "daemon/base/random.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy::sim {

struct Side {
  Session* session = nullptr;
  bool is_ending = false;  // it refused its input: its output is the last
  bool is_dead = false;

  void die() {
    if (is_dead) return;
    is_dead = true;
    session->on_connection_lost();
  }
};

class Link {
 public:
  Link(Session& a, Session& b) : a_{&a}, b_{&b} {}

  /// Moves something in one direction, or nothing.
  void step(Random& random) {
    const std::size_t most = random.below(4) == 0 ? 1 + random.below(40) : 1 + random.below(70'000);
    switch (random.below(4)) {
      case 0: return push(a_, ab_, most);
      case 1: return push(b_, ba_, most);
      case 2: return pull(ab_, b_, ba_, most);
      case 3: return pull(ba_, a_, ab_, most);
    }
  }
  /// As a reset of TCP: what is on its way is lost.
  void cut() {
    for (Wire* wire : {&ab_, &ba_}) {
      wire->bytes.clear();
      wire->is_ended = true;
    }
    a_.die();
    b_.die();
  }
  /// `a` says nothing any more.
  void half_close() { ab_.is_ended = true; }
  /// Bytes that wait on a wire before its sender is held back.
  void hold(std::size_t bytes) { capacity_ = bytes; }

  bool is_over() const { return a_.is_dead && b_.is_dead; }
  const Side& a() const { return a_; }
  const Side& b() const { return b_; }

 private:
  struct Wire {
    FlatBuffer bytes;
    bool is_ended = false;
  };

  void push(Side& from, Wire& to, std::size_t most) {
    if (from.is_dead || to.bytes.size() > capacity_) return;
    FlatBuffer out;
    const bool has_more = from.session->produce(out, most);
    if (!to.is_ended) to.bytes.append(out.view());
    if (has_more || !(from.is_ending || from.session->is_finished())) return;
    to.is_ended = true;
    from.die();
  }

  void pull(Wire& from, Side& to, Wire& back, std::size_t most) {
    if (to.is_dead || to.is_ending) return from.bytes.clear();
    if (from.bytes.empty()) {
      if (!from.is_ended) return;
      to.session->on_end_of_input();
      back.is_ended = true;
      return to.die();
    }
    if (!to.session->wants_input()) return;
    const std::string_view piece = from.bytes.view().substr(0, most);
    if (!to.session->feed(piece)) to.is_ending = true;
    from.bytes.consume(piece.size());
  }

  Side a_, b_;
  Wire ab_, ba_;
  std::size_t capacity_ = 64 * 1024;
};

}  // namespace gatehouse::proxy::sim
