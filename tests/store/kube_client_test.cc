#include "store/kube_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/base/random.h"
#include "daemon/net/task_group.h"
#include "store/kube_watch.h"
#include "tests/support/await.h"
#include "tests/support/fake_kube.h"

namespace gatehouse::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string secret(const std::string& name, const std::string& version) {
  return R"({"kind":"Secret","metadata":{"name":")" + name +
         R"(","namespace":"ns","uid":"u1","resourceVersion":")" + version +
         R"(","labels":{"team":"edge"},"managedFields":[
           {"manager":"gatehouse","operation":"Apply","fieldsV1":{"f:data":{"f:tls.crt":{}}}},
           {"manager":"labeller","operation":"Update","fieldsV1":{"f:metadata":{}}}]},
         "type":"kubernetes.io/tls","data":{"tls.crt":"Yw==","tls.key":"aw=="}})";
}

std::string status(int code, const std::string& reason, const std::string& causes = "") {
  return R"({"kind":"Status","code":)" + std::to_string(code) + R"(,"reason":")" + reason +
         R"(","message":"it said no","details":{"causes":[)" + causes + "]}}";
}

struct KubeClientTest : ::testing::Test {
  template <class T>
  KubeResult<T> wait(boost::asio::awaitable<KubeResult<T>> call) {
    Awaited<KubeResult<T>> waited(loop, std::move(call));
    for (int i = 0; i < 400 && !waited.is_done(); ++i) loop.advance(1s);
    EXPECT_TRUE(waited.is_done());
    return std::move(*waited);
  }
  KubeError fail_with(unsigned code, const std::string& body) {
    kube.answer = [=](auto&) { return FakeKube::reply(code, body); };
    auto read = wait(client.get_secret({"ns", "a"}));
    EXPECT_FALSE(read);
    return read ? KubeError() : read.error();
  }

  TestLoop loop;
  SeededRandom random{1};
  FakeKube kube;
  KubeClient client{loop, kube};
};

TEST_F(KubeClientTest, ReadsASecret) {
  kube.answer = [](auto&) { return FakeKube::reply(200, secret("a", "7")); };
  const auto read = wait(client.get_secret({"ns", "a"}));
  ASSERT_TRUE(read) << read.error().error.message;
  EXPECT_EQ(kube.requests.at(0).url, "/api/v1/namespaces/ns/secrets/a");
  EXPECT_EQ(read->at, (SecretName{"ns", "a"}));
  EXPECT_EQ(*read->find("tls.crt"), "c");
  EXPECT_EQ(read->label("team"), "edge");
  EXPECT_EQ(read->resource_version, "7");
  EXPECT_EQ(read->uid, "u1");
  EXPECT_THAT(read->data_managers, ElementsAre("gatehouse"));
}

TEST_F(KubeClientTest, AppliesWithPreconditionsAndWithoutForce) {
  kube.answer = [](auto&) { return FakeKube::reply(201, secret("a", "8")); };
  Secret wanted;
  wanted.at = {"ns", "a"};
  wanted.labels = {{"team", "edge"}};
  wanted.data = {{"tls.crt", "c"}, {"tls.key", "k"}};
  wanted.resource_version = "7";
  wanted.uid = "u1";
  ASSERT_TRUE(wait(client.apply_secret(wanted)));
  const auto& request = kube.requests.at(0);
  EXPECT_EQ(request.method, "PATCH");
  EXPECT_EQ(request.url,
            "/api/v1/namespaces/ns/secrets/a?fieldManager=gatehouse&fieldValidation=Strict");
  EXPECT_EQ(request.fields.back().value, "application/apply-patch+yaml");
  EXPECT_EQ(request.body,
            R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"ns",)"
            R"("labels":{"team":"edge"},"resourceVersion":"7","uid":"u1"},)"
            R"("type":"kubernetes.io/tls","data":{"tls.crt":"Yw==","tls.key":"aw=="}})");
  ASSERT_TRUE(wait(client.apply_secret(wanted, Force::kTakeOwnership)));
  EXPECT_THAT(kube.requests.at(1).url, HasSubstr("&force=true"));
}

TEST_F(KubeClientTest, TellsFailuresApart) {
  EXPECT_EQ(fail_with(404, status(404, "NotFound")).error.fault, Fault::kNotFound);
  EXPECT_EQ(fail_with(403, status(403, "Forbidden")).error.fault, Fault::kPermission);
  EXPECT_EQ(fail_with(422, status(422, "Invalid")).error.fault, Fault::kInvalid);
  EXPECT_EQ(fail_with(500, "oops").error.fault, Fault::kUnavailable);
  EXPECT_TRUE(fail_with(410, status(410, "Expired")).is_expired);
  const auto old = fail_with(409, status(409, "Conflict"));
  EXPECT_EQ(old.error.fault, Fault::kConflict);
  EXPECT_TRUE(old.owners.empty());
  EXPECT_EQ(old.error.message, "GET /api/v1/namespaces/ns/secrets/a: it said no");
}

TEST_F(KubeClientTest, NamesTheOwnersOfAConflict) {
  const std::string cause =
      R"({"reason":"FieldManagerConflict","field":".data.tls.crt",
          "message":"conflict with \"cert-manager\" using v1"})";
  const auto failed = fail_with(409, status(409, "Conflict", cause + "," + cause));
  EXPECT_EQ(failed.error.fault, Fault::kConflict);
  EXPECT_THAT(failed.owners, ElementsAre("cert-manager"));
}

TEST_F(KubeClientTest, ReadsTheTokenAgainOnce) {
  EXPECT_EQ(fail_with(401, status(401, "Unauthorized")).error.fault, Fault::kUnauthorized);
  EXPECT_EQ(kube.tokens_forgotten, 1);
  EXPECT_EQ(kube.requests.size(), 2u);
}

TEST_F(KubeClientTest, WaitsAsToldTenTimesAtMost) {
  int asked = 0;
  kube.answer = [&](auto&) {
    return ++asked < 4 ? FakeKube::reply(429, "Too many requests", {{"Retry-After", "2"}})
                       : FakeKube::reply(200, secret("a", "7"));
  };
  const auto begun = loop.clock().steady_now();
  ASSERT_TRUE(wait(client.get_secret({"ns", "a"})));
  EXPECT_GE(loop.clock().steady_now() - begun, 6s);
  asked = -1000;
  EXPECT_EQ(wait(client.get_secret({"ns", "a"})).error().error.fault, Fault::kRateLimited);
  EXPECT_EQ(asked, -1000 + 11);
  asked = -1000;
  EXPECT_FALSE(wait(client.get("/x", 0)));
  EXPECT_EQ(asked, -1000 + 1) << "a caller in a hurry decides itself";
}

TEST_F(KubeClientTest, DoesNotRepeatAFailureThatSaysNothingAboutLater) {
  (void)fail_with(503, "");
  EXPECT_EQ(kube.requests.size(), 1u);
}

TEST_F(KubeClientTest, ListsPageByPage) {
  kube.answer = [](const net::HttpRequest& request) {
    const bool is_first = request.url.find("continue=") == std::string::npos;
    return FakeKube::reply(200, std::string(R"({"metadata":{"resourceVersion":"9")") +
                                    (is_first ? R"(,"continue":"a/b")" : "") + R"(},"items":[)" +
                                    secret(is_first ? "a" : "b", "7") + "]}");
  };
  const auto list = wait(client.list_secrets({"ns", "", "x=y,z"}));
  ASSERT_TRUE(list);
  EXPECT_EQ(list->secrets.size(), 2u);
  EXPECT_EQ(list->resource_version, "9");
  EXPECT_EQ(kube.requests.at(1).url,
            "/api/v1/namespaces/ns/secrets?limit=100&labelSelector=x%3Dy%2Cz&continue=a%2Fb");
}

// ---- SecretWatch

struct SecretWatchTest : KubeClientTest {
  SecretWatchTest() {
    kube.answer = [this](auto&) {
      ++lists;
      return FakeKube::reply(200, R"({"metadata":{"resourceVersion":")" + std::to_string(lists) +
                                      R"(00"},"items":[)" + secret("a", "7") + "]}");
    };
  }
  ~SecretWatchTest() override {
    tasks.stop();
    loop.advance(1s);
  }
  void start(std::function<FakeKube::Answer(int, const net::HttpsClient::OnData&)> script) {
    kube.watch = [this, script](const net::HttpRequest& request, auto& on_data) {
      urls.push_back(request.url);
      return script(static_cast<int>(urls.size()), on_data);
    };
    tasks.start("watch", watch.run());
    loop.run_ready();
  }
  static std::string event(const std::string& type, const std::string& object) {
    std::string line = R"({"type":")" + type + R"(","object":)" + object + "}";
    std::erase(line, '\n');
    return line + "\n";
  }

  int lists = 0;
  std::vector<std::string> urls, told;
  SecretWatch watch{
      {loop, random, client},
      {"ns", "a", ""},
      {[this](std::vector<Secret> all) { told.push_back("list " + std::to_string(all.size())); },
       [this](Secret one) { told.push_back("change " + one.at.name + " " + one.resource_version); },
       [this](SecretName gone) { told.push_back("delete " + gone.name); }}};
  net::TaskGroup tasks{loop};
};

TEST_F(SecretWatchTest, ListsThenFollowsFromThere) {
  start([](int number, auto& on_data) -> FakeKube::Answer {
    if (number > 1) return FakeKube::reply(503, "");
    const std::string lines = event("MODIFIED", secret("a", "101")) +
                              event("BOOKMARK", secret("a", "150")) +
                              event("DELETED", secret("a", "160"));
    // In pieces, as the network likes it.
    for (std::size_t at = 0; at < lines.size(); at += 37) on_data(lines.substr(at, 37));
    return FakeKube::reply(200, "");
  });
  EXPECT_THAT(told, ElementsAre("list 1", "change a 101", "delete a"));
  EXPECT_THAT(urls.at(0), HasSubstr("resourceVersion=100&"));
  EXPECT_THAT(urls.at(0), HasSubstr("fieldSelector=metadata.name%3Da"));
  EXPECT_EQ(watch.state(), SecretWatch::State::kSynced);
  loop.advance(2s);
  EXPECT_THAT(urls.at(1), HasSubstr("resourceVersion=160&")) << "no new list after a normal end";
  EXPECT_EQ(lists, 1);
}

TEST_F(SecretWatchTest, ListsAgainAfter410InBothForms) {
  start([](int number, auto& on_data) -> FakeKube::Answer {
    if (number == 1) {
      on_data(event("ERROR", status(410, "Expired")));
      return FakeKube::reply(200, "");
    }
    if (number == 2) return FakeKube::reply(410, status(410, "Expired"));
    return FakeKube::reply(200, "");
  });
  loop.advance(5s);
  EXPECT_EQ(lists, 3);
  EXPECT_EQ(watch.state(), SecretWatch::State::kSynced);
}

TEST_F(SecretWatchTest, WaitsLongerAndLongerForAServerThatIsAway) {
  start([](int, auto&) -> FakeKube::Answer { return Error{Fault::kConnection, "refused"}; });
  EXPECT_EQ(watch.state(), SecretWatch::State::kStale);
  loop.advance(1min);
  EXPECT_LE(urls.size(), 8u);
  EXPECT_EQ(lists, 1) << "what is known stays true, and is gone on from";
  EXPECT_EQ(watch.last_error().message, "refused");
}

TEST_F(SecretWatchTest, IsInStepAgainWhenAWatchWithoutNewsLasts) {
  std::vector<SecretWatch::State> states;
  start([&](int number, auto&) -> FakeKube::Answer {
    if (number == 2) {
      states.push_back(watch.state());
      loop.clock().advance(40s);
      states.push_back(watch.state());
    }
    return Error{Fault::kConnection, "refused"};
  });
  loop.advance(3s);
  EXPECT_EQ(states, (std::vector{SecretWatch::State::kStale, SecretWatch::State::kSynced}));
  EXPECT_EQ(lists, 1);
}

TEST_F(SecretWatchTest, AsksRarelyWhatItMayNotSee) {
  kube.answer = [this](auto&) {
    ++lists;
    return FakeKube::reply(403, status(403, "Forbidden"));
  };
  start([](int, auto&) -> FakeKube::Answer { return FakeKube::reply(200, ""); });
  EXPECT_EQ(watch.state(), SecretWatch::State::kDenied);
  loop.advance(10s);
  EXPECT_EQ(lists, 2) << "an apiserver that has just started may not know the roles yet";
  loop.advance(10min);
  EXPECT_LE(lists, 12);
  EXPECT_GE(lists, 4);
}

TEST_F(SecretWatchTest, DoesNotBelieveAWatchThatSaysNothingAtAll) {
  start([this](int number, auto&) -> FakeKube::Answer {
    if (number > 1) return Error{Fault::kConnection, "refused"};
    loop.clock().advance(10min);  // The server's whole timeout.
    return FakeKube::reply(200, "");
  });
  loop.advance(2s);
  EXPECT_GT(lists, 1) << "a version of the future hangs: list again";
}

TEST_F(SecretWatchTest, GoesOnAfterGarbage) {
  start([](int number, auto& on_data) -> FakeKube::Answer {
    if (number == 1) on_data(std::string("{\"type\": rubbish\n"));
    if (number == 2) on_data(std::string("{}\n"));
    return FakeKube::reply(200, "");
  });
  loop.advance(10s);
  EXPECT_GE(urls.size(), 3u);
  EXPECT_EQ(told.at(0), "list 1");
}

}  // namespace
}  // namespace gatehouse::store
