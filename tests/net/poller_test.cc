#include "daemon/net/poller.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/support/test_loop.h"

namespace gatehouse::net {

using testing::ElementsAre;

/// Two ends of a connection, closed at the end.
struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0); }
  ~Pair() {
    close_end(0);
    close_end(1);
  }
  void close_end(int which) {
    if (ends[which] >= 0) ::close(ends[which]);
    ends[which] = -1;
  }
  void say() const { EXPECT_EQ(::write(ends[1], "x", 1), 1); }
  void hear() const {
    char byte;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
  }
  int ends[2];
};

class Recorder final : public ReadySink {
 public:
  void on_ready(std::uint64_t token, Ready ready) override {
    seen.push_back(std::to_string(token) + (ready.readable ? "r" : "") +
                   (ready.writable ? "w" : "") + (ready.peer_closed ? "c" : ""));
    if (then) then(token);
  }
  std::vector<std::string> seen;
  std::function<void(std::uint64_t)> then;
};

class PollerTest : public testing::Test {
 protected:
  using Interest = Poller::Interest;
  PollerTest() { EXPECT_TRUE(poller_.start()); }

  TestLoop loop_;
  Poller poller_{loop_};
  Recorder sink_;
  std::uint8_t id_ = poller_.add_sink(sink_);
};

TEST_F(PollerTest, TellsTheSinkWhoseSocketBecameReadable) {
  Pair quiet, loud;
  Recorder other;
  const std::uint8_t other_id = poller_.add_sink(other);
  ASSERT_TRUE(poller_.add(quiet.ends[0], id_, 1, Interest::kRead));
  ASSERT_TRUE(poller_.add(loud.ends[0], other_id, 2, Interest::kRead));
  other.then = [&](std::uint64_t) { loud.hear(); };
  loud.say();
  loop_.run_ready();
  EXPECT_THAT(sink_.seen, ElementsAre());
  EXPECT_THAT(other.seen, ElementsAre("2r"));
}

TEST_F(PollerTest, KeepsAllBitsOfSinkAndToken) {
  std::vector<std::unique_ptr<Recorder>> sinks;
  std::uint8_t last = 0;
  for (int i = 1; i < 255; ++i) {
    sinks.push_back(std::make_unique<Recorder>());
    last = poller_.add_sink(*sinks.back());
  }
  EXPECT_EQ(last, 254);
  const std::uint64_t token = (std::uint64_t{1} << 56) - 1;
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], last, token, Interest::kRead));
  sinks.back()->then = [&](std::uint64_t) { pair.hear(); };
  pair.say();
  loop_.run_ready();
  EXPECT_THAT(sinks.back()->seen, ElementsAre(std::to_string(token) + "r"));
}

TEST_F(PollerTest, ATokenBeyond56BitsIsABug) {
  Pair pair;
  EXPECT_DEATH((void)poller_.add(pair.ends[0], id_, std::uint64_t{1} << 56, Interest::kRead),
               "56 bits");
}

TEST_F(PollerTest, IsLevelTriggered) {
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], id_, 7, Interest::kRead));
  pair.say();
  int left = 3;
  sink_.then = [&](std::uint64_t) {
    if (--left == 0) pair.hear();
  };
  loop_.run_ready();
  EXPECT_THAT(sink_.seen, ElementsAre("7r", "7r", "7r"));
}

TEST_F(PollerTest, HandlesOneRoundPerTurn) {
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], id_, 7, Interest::kRead));
  pair.say();
  std::string order;
  loop_.loop().at_turn_end([&] { order += '|'; });
  int left = 4;
  sink_.then = [&](std::uint64_t) {
    order += 'r';
    if (--left == 0) pair.hear();
  };
  loop_.run_ready();
  EXPECT_EQ(order.substr(0, 8), "r|r|r|r|");
}

TEST_F(PollerTest, HandlesAllThatIsReadyInOneRound) {
  std::vector<std::unique_ptr<Pair>> pairs;
  for (std::uint64_t i = 0; i < 100; ++i) {
    pairs.push_back(std::make_unique<Pair>());
    ASSERT_TRUE(poller_.add(pairs.back()->ends[0], id_, i, Interest::kRead));
    pairs.back()->say();
  }
  sink_.then = [&](std::uint64_t token) { pairs[token]->hear(); };
  std::size_t in_first_turn = 0;
  loop_.loop().at_turn_end([&] {
    if (in_first_turn == 0) in_first_turn = sink_.seen.size();
  });
  loop_.run_ready();
  EXPECT_EQ(in_first_turn, 100u);
}

TEST_F(PollerTest, MoreThan512EventsTakeAnotherRound) {
  std::vector<std::unique_ptr<Pair>> pairs;
  for (std::uint64_t i = 0; i < 400; ++i) {  // Both ends of each: 800 descriptors.
    pairs.push_back(std::make_unique<Pair>());
    ASSERT_TRUE(poller_.add(pairs.back()->ends[0], id_, 2 * i, Interest::kWrite));
    ASSERT_TRUE(poller_.add(pairs.back()->ends[1], id_, 2 * i + 1, Interest::kWrite));
  }
  sink_.then = [&](std::uint64_t token) {
    poller_.change(pairs[token / 2]->ends[token % 2], id_, token, Interest::kNone);
  };
  loop_.run_ready();
  EXPECT_EQ(sink_.seen.size(), 800u);
}

TEST_F(PollerTest, ReportsWhatIsAskedFor) {
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], id_, 1, Interest::kNone));
  pair.say();
  loop_.run_ready();
  EXPECT_THAT(sink_.seen, ElementsAre());
  const auto once = [&](Interest interest) {
    sink_.seen.clear();
    sink_.then = [&](std::uint64_t) { poller_.change(pair.ends[0], id_, 1, Interest::kNone); };
    poller_.change(pair.ends[0], id_, 1, interest);
    loop_.run_ready();
    return sink_.seen;
  };
  EXPECT_THAT(once(Interest::kRead), ElementsAre("1r"));
  EXPECT_THAT(once(Interest::kWrite), ElementsAre("1w"));
  EXPECT_THAT(once(Interest::kReadWrite), ElementsAre("1rw"));
}

TEST_F(PollerTest, AHalfCloseIsReadableAndSaid) {
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], id_, 1, Interest::kRead));
  shutdown(pair.ends[1], SHUT_WR);
  sink_.then = [&](std::uint64_t) { poller_.remove(pair.ends[0]); };
  loop_.run_ready();
  EXPECT_THAT(sink_.seen, ElementsAre("1rc"));
}

TEST_F(PollerTest, AHangUpIsSaidEvenWithoutInterest) {
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], id_, 1, Interest::kNone));
  pair.close_end(1);
  sink_.then = [&](std::uint64_t) { poller_.remove(pair.ends[0]); };
  loop_.run_ready();
  EXPECT_THAT(sink_.seen, ElementsAre("1rc"));
}

TEST_F(PollerTest, AClosedDescriptorIsForgotten) {
  Pair pair;
  ASSERT_TRUE(poller_.add(pair.ends[0], id_, 1, Interest::kRead));
  pair.say();
  pair.close_end(0);
  loop_.run_ready();
  EXPECT_THAT(sink_.seen, ElementsAre());
}

TEST_F(PollerTest, RemovingWhatIsNotThereIsNoMatter) { poller_.remove(9999); }

TEST_F(PollerTest, ChangingWhatIsNotThereIsABug) {
  Pair pair;
  EXPECT_DEATH(poller_.change(pair.ends[0], id_, 1, Interest::kRead), "is not watched");
}

TEST_F(PollerTest, AddingWhatCannotBeWatchedIsAnError) {
  const auto added = poller_.add(9999, id_, 1, Interest::kRead);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message, "watching a descriptor: Bad file descriptor");
}

TEST_F(PollerTest, StoppedInsideARoundItSaysNoMore) {
  Pair first, second;
  ASSERT_TRUE(poller_.add(first.ends[0], id_, 1, Interest::kRead));
  ASSERT_TRUE(poller_.add(second.ends[0], id_, 2, Interest::kRead));
  first.say();
  second.say();
  sink_.then = [&](std::uint64_t) { poller_.stop(); };
  loop_.run_ready();
  EXPECT_EQ(sink_.seen.size(), 1u);
}

TEST(Poller, GoesWhileAWakeUpIsOnItsWay) {
  TestLoop loop;
  Recorder sink;
  Pair pair;
  auto poller = std::make_unique<Poller>(loop);
  ASSERT_TRUE(poller->start());
  ASSERT_TRUE(poller->add(pair.ends[0], poller->add_sink(sink), 1, Poller::Interest::kRead));
  loop.run_ready();
  pair.say();
  loop.loop().post([&] { poller.reset(); });
  loop.run_ready();
  EXPECT_THAT(sink.seen, ElementsAre());
}

TEST(Poller, WakesABlockedLoop) {
  const SystemClock clock;
  Loop loop(clock);
  Poller poller(loop);
  ASSERT_TRUE(poller.start());
  Pair pair;
  Recorder sink;
  int turns = 0;
  loop.at_turn_end([&] { ++turns; });
  ASSERT_TRUE(poller.add(pair.ends[0], poller.add_sink(sink), 1, Poller::Interest::kRead));
  int left = 100;
  sink.then = [&](std::uint64_t) {
    pair.hear();
    if (--left == 0) loop.stop();
  };
  // Each reading is answered in a later turn: the loop blocks in between.
  Timer timer(loop.timers(), [&] { pair.say(); });
  sink.then = [&, next = sink.then](std::uint64_t token) {
    next(token);
    if (left > 0) pair.say();
  };
  timer.arm(20ms);
  loop.run();
  EXPECT_EQ(sink.seen.size(), 100u);
  EXPECT_LE(turns, 110);
}

}  // namespace gatehouse::net
