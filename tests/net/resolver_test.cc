#include "daemon/net/resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "daemon/net/poller.h"
#include "tests/support/fake_dns.h"
#include "tests/support/test_loop.h"

namespace gatehouse::net {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

class ResolverTest : public testing::Test {
 protected:
  using Answer = std::optional<Result<Resolver::Addresses>>;

  ResolverTest() { EXPECT_TRUE(is_polling_ && resolver_.start()); }
  /// Asks, and runs the loop until the answer is there. Time of the test loop stands still.
  std::vector<std::string> resolve(const std::string& name, std::uint16_t port = 80) {
    Answer answer;
    resolver_.resolve(name, port, [&](Result<Resolver::Addresses> got) { answer = got; });
    EXPECT_FALSE(answer) << "answered inside the call";
    run_until([&] { return answer.has_value(); });
    if (!answer) return {"(no answer)"};
    if (!*answer) return {answer->error().message};
    std::vector<std::string> texts;
    for (const auto& address : **answer) texts.push_back(address.to_string());
    return texts;
  }
  template <class Done>
  void run_until(Done done) {
    const SteadyTime give_up = std::chrono::steady_clock::now() + 10s;
    while (!done() && std::chrono::steady_clock::now() < give_up) loop_.run_ready();
  }

  TestLoop loop_;
  Poller poller_{loop_};
  bool is_polling_ = poller_.start().has_value();
  FakeDns dns_{poller_};
  Resolver resolver_{loop_, poller_, {dns_.address(), 2s, 2}};
};

TEST_F(ResolverTest, AnswersLiteralsItself) {
  EXPECT_THAT(resolve("10.1.2.3", 80), ElementsAre("10.1.2.3:80"));
  EXPECT_THAT(resolve("2001:db8::1", 443), ElementsAre("[2001:db8::1]:443"));
  EXPECT_TRUE(dns_.questions.empty());
}

TEST_F(ResolverTest, LocalhostIsLoopbackWithoutAsking) {
  for (const char* name : {"localhost", "LocalHost", "localhost.", "app.localhost"})
    EXPECT_THAT(resolve(name), ElementsAre("[::1]:80", "127.0.0.1:80")) << name;
  EXPECT_TRUE(dns_.questions.empty());
}

TEST_F(ResolverTest, FindsAddressesOfANameWithThePortAskedFor) {
  dns_.zones["one.example"] = {{"192.0.2.1"}};
  EXPECT_THAT(resolve("one.example", 8080), ElementsAre("192.0.2.1:8080"));
}

TEST_F(ResolverTest, LetsTheFamiliesTakeTurns) {
  dns_.zones["two.example"] = {
      {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}};
  const auto found = resolve("two.example");
  EXPECT_THAT(found, UnorderedElementsAre("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80",
                                          "[2001:db8::1]:80", "[2001:db8::2]:80"));
  for (std::size_t i = 0; i + 1 < 4 && i + 1 < found.size(); ++i)
    EXPECT_NE(found[i][0] == '[', found[i + 1][0] == '[') << i;
}

TEST_F(ResolverTest, KeepsAnAnswerForItsTtl) {
  dns_.zones["kept.example"] = {{"192.0.2.1"}, 30};
  resolve("kept.example");
  dns_.zones["kept.example"] = {{"192.0.2.2"}, 30};
  loop_.advance(29s);
  EXPECT_THAT(resolve("KEPT.example", 81), ElementsAre("192.0.2.1:81"));
  EXPECT_EQ(dns_.questions["kept.example"], 1);
  loop_.advance(2s);
  EXPECT_THAT(resolve("kept.example"), ElementsAre("192.0.2.2:80"));
}

TEST_F(ResolverTest, KeepsAnAnswerForASecondAtLeast) {
  dns_.zones["hasty.example"] = {{"192.0.2.1"}, 0};
  resolve("hasty.example");
  loop_.advance(900ms);
  resolve("hasty.example");
  EXPECT_EQ(dns_.questions["hasty.example"], 1);
  loop_.advance(200ms);
  resolve("hasty.example");
  EXPECT_EQ(dns_.questions["hasty.example"], 2);
}

TEST_F(ResolverTest, KeepsAnAnswerForFiveMinutesAtMost) {
  dns_.zones["eternal.example"] = {{"192.0.2.1"}, 86400 * 7};
  resolve("eternal.example");
  loop_.advance(299s);
  resolve("eternal.example");
  EXPECT_EQ(dns_.questions["eternal.example"], 1);
  loop_.advance(2s);
  resolve("eternal.example");
  EXPECT_EQ(dns_.questions["eternal.example"], 2);
}

TEST_F(ResolverTest, SaysThatANameDoesNotExistAndRemembersForFiveSeconds) {
  EXPECT_THAT(resolve("no.example."), ElementsAre("resolving no.example.: no such name"));
  const int asked = dns_.questions["no.example"];
  EXPECT_GE(asked, 1);
  loop_.advance(4s);
  resolve("no.example.");
  EXPECT_EQ(dns_.questions["no.example"], asked);
  dns_.zones["no.example"] = {{"192.0.2.1"}};
  loop_.advance(2s);
  EXPECT_THAT(resolve("no.example."), ElementsAre("192.0.2.1:80"));
}

TEST_F(ResolverTest, SaysThatANameHasNoAddress) {
  dns_.zones["empty.example"] = {};
  EXPECT_THAT(resolve("empty.example."),
              ElementsAre("resolving empty.example.: the name has no address"));
}

TEST_F(ResolverTest, RefusesWhatIsNoName) {
  for (const std::string& name : {std::string(), std::string(254, 'a'), std::string("a\0b", 3)}) {
    const auto said = resolve(name);
    ASSERT_EQ(said.size(), 1u);
    EXPECT_TRUE(said[0].ends_with(": not a name")) << said[0];
  }
  EXPECT_TRUE(dns_.questions.empty());
}

TEST_F(ResolverTest, AsksOnceForManyWhoWait) {
  dns_.zones["busy.example"] = {{"192.0.2.1"}};
  int answers = 0;
  for (std::uint16_t port = 1; port <= 50; ++port)
    resolver_.resolve("busy.example", port, [&, port](Result<Resolver::Addresses> got) {
      ASSERT_TRUE(got);
      EXPECT_EQ(got->front().port(), port);
      ++answers;
    });
  run_until([&] { return answers == 50; });
  EXPECT_EQ(answers, 50);
  EXPECT_EQ(dns_.questions["busy.example"], 1);
}

TEST_F(ResolverTest, AnAnswerMayAskAgain) {
  dns_.zones["first.example"] = {{"192.0.2.1"}};
  dns_.zones["second.example"] = {{"192.0.2.2"}};
  std::string found;
  resolver_.resolve("first.example", 80, [&](Result<Resolver::Addresses>) {
    resolver_.resolve("second.example", 80, [&](Result<Resolver::Addresses> got) {
      ASSERT_TRUE(got);
      found = got->front().to_string();
    });
  });
  run_until([&] { return !found.empty(); });
  EXPECT_EQ(found, "192.0.2.2:80");
}

TEST_F(ResolverTest, AStoppedResolverForgetsItsQuestions) {
  dns_.zones["silent.example"].is_silent = true;
  bool is_answered = false;
  const auto done = [&](Result<Resolver::Addresses>) { is_answered = true; };
  resolver_.resolve("silent.example", 80, done);
  resolver_.resolve("10.0.0.1", 80, done);
  resolver_.stop();
  loop_.advance(1min);
  EXPECT_FALSE(is_answered);
  EXPECT_EQ(loop_.timers().next_wake(), std::nullopt);
}

TEST_F(ResolverTest, StartsAgainAfterAStop) {
  dns_.zones["one.example"] = {{"192.0.2.1"}};
  resolver_.stop();
  ASSERT_TRUE(resolver_.start());
  EXPECT_THAT(resolve("one.example"), ElementsAre("192.0.2.1:80"));
}

TEST_F(ResolverTest, HonoursTheHostsFile) {
  std::ifstream hosts("/etc/hosts");
  std::string ip, name;
  for (std::string line; name.empty() && std::getline(hosts, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    if (!(words >> ip >> name) || name.find("localhost") != std::string::npos) name.clear();
  }
  if (name.empty()) GTEST_SKIP() << "/etc/hosts has no name but localhost";
  const auto found = resolve(name);
  const std::string expected = SocketAddress(*IpAddress::parse(ip), 80).to_string();
  EXPECT_NE(std::find(found.begin(), found.end(), expected), found.end()) << name;
  EXPECT_EQ(dns_.questions[name], 0);
}

// On the system's clock, because c-ares has its own.
TEST(Resolver, GivesUpOnAServerThatDoesNotAnswer) {
  const SystemClock clock;
  Loop loop(clock);
  Poller poller(loop);
  ASSERT_TRUE(poller.start());
  FakeDns dns(poller);
  dns.zones["silent.example"].is_silent = true;
  Resolver resolver(loop, poller, {dns.address(), 100ms, 2});
  ASSERT_TRUE(resolver.start());
  std::optional<Error> error;
  resolver.resolve("silent.example.", 80, [&](Result<Resolver::Addresses> got) {
    if (!got) error = got.error();
    loop.stop();
  });
  loop.run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message, "resolving silent.example.: no DNS server answers");
  EXPECT_EQ(error->fault, Fault::kTimeout);
  EXPECT_EQ(dns.questions["silent.example"], 2);
}

TEST_F(ResolverTest, SaysHowLongAnAnswerHolds) {
  dns_.zones["held.example"] = {{"192.0.2.1"}, 30};
  std::optional<Result<Resolver::Found>> found;
  resolver_.find("held.example", 80, [&](Result<Resolver::Found> got) { found = got; });
  run_until([&] { return found.has_value(); });
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->until, loop_.timers().now() + 30s);
  loop_.advance(10s);  // From the cache it holds as long as it would have.
  const SteadyTime until = (*found)->until;
  found.reset();
  resolver_.find("held.example", 80, [&](Result<Resolver::Found> got) { found = got; });
  run_until([&] { return found.has_value(); });
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->until, until);
}

TEST_F(ResolverTest, FindsServicesWithPortsPrioritiesAndWeights) {
  dns_.zones["_http._tcp.web.example"] = {
      {}, 20, false, {{10, 60, 8080, "A.web.example"}, {20, 0, 8081, "b.web.example"}}};
  std::optional<Result<Resolver::Services>> found;
  resolver_.find_services("_http._tcp.web.example",
                          [&](Result<Resolver::Services> got) { found = got; });
  EXPECT_FALSE(found) << "answered inside the call";
  run_until([&] { return found.has_value(); });
  ASSERT_TRUE(found && *found) << (*found).error().message;
  EXPECT_THAT((*found)->services,
              UnorderedElementsAre(Resolver::Service{"a.web.example", 8080, 10, 60},
                                   Resolver::Service{"b.web.example", 8081, 20, 0}));
  EXPECT_EQ((*found)->until, loop_.timers().now() + 20s);
}

TEST_F(ResolverTest, SaysThatThereAreNoServices) {
  dns_.zones["_none._tcp.web.example"] = {{}, 20, false, {{0, 0, 0, ""}}};  // "."
  for (const char* name : {"_absent._tcp.web.example", "_none._tcp.web.example"}) {
    std::optional<Result<Resolver::Services>> found;
    resolver_.find_services(name, [&](Result<Resolver::Services> got) { found = got; });
    run_until([&] { return found.has_value(); });
    ASSERT_TRUE(found);
    EXPECT_FALSE(*found);
    EXPECT_EQ((*found).error().fault, Fault::kResolve);
  }
}

}  // namespace gatehouse::net
