#pragma once
// An apiserver inside the test that keeps Secrets and Leases, with the preconditions of the real
// one: a version that is not the newest is a conflict, a uid that is another is refused. Its
// watches end at once, so that changes are seen by the next list.

#include <boost/json/array.hpp>
#include <functional>
#include <map>
#include <string>

#include "daemon/base/json.h"
#include "tests/support/fake_kube.h"

namespace gatehouse {

class FakeApiserver {
 public:
  explicit FakeApiserver(FakeKube& kube) {
    kube.answer = [this](const net::HttpRequest& request) { return serve(request); };
    kube.watch = [](const net::HttpRequest&, const net::HttpsClient::OnData&) {
      return FakeKube::Answer(Error{Fault::kConnection, "the watch ends"});
    };
  }

  bool is_down = false;
  int writes = 0;
  /// Called before a write is looked at: what somebody else does at that moment.
  std::function<void()> before_write;
  std::map<std::string, boost::json::object> objects;  // by path

  /// As somebody else would: whatever is there.
  void put(const std::string& path, boost::json::object object) { store(path, std::move(object)); }

 private:
  FakeKube::Answer serve(const net::HttpRequest& request) {
    namespace json = boost::json;
    if (is_down) return Error{Fault::kConnection, "nobody answers"};
    const std::string path = request.url.substr(0, request.url.find('?'));
    if (request.method == "GET" && path.ends_with("/secrets")) return list(path);
    if (request.method == "GET") {
      const auto found = objects.find(path);
      return found == objects.end() ? refuse(404) : give(200, found->second);
    }
    if (auto others = std::exchange(before_write, nullptr)) others();
    auto body = parse_json(request.body);
    if (!body || !body->is_object()) return refuse(400);
    json::object wanted = body->get_object();
    json::object& about = wanted["metadata"].as_object();
    const auto found = objects.find(path);
    const std::string version = field(about, "resourceVersion");
    if (found != objects.end()) {
      const json::object& now = found->second.at("metadata").as_object();
      if (!field(about, "uid").empty() && field(about, "uid") != field(now, "uid"))
        return refuse(422);
      if (request.method == "PUT" && version.empty()) return refuse(422);
      if (!version.empty() && version != field(now, "resourceVersion")) return refuse(409);
    } else if (!field(about, "uid").empty()) {
      return refuse(422);
    }
    ++writes;
    return give(found == objects.end() ? 201 : 200, store(path, std::move(wanted)));
  }

  const boost::json::object& store(const std::string& path, boost::json::object object) {
    boost::json::object& about = object["metadata"].as_object();
    const auto found = objects.find(path);
    if (found != objects.end())
      about["uid"] = found->second.at("metadata").as_object().at("uid");
    else
      about["uid"] = "uid-" + std::to_string(++version_);
    about["resourceVersion"] = std::to_string(++version_);
    return objects[path] = std::move(object);
  }

  FakeKube::Answer list(const std::string& path) const {
    boost::json::array items;
    for (const auto& [at, object] : objects)
      if (at.starts_with(path + "/")) items.push_back(object);
    boost::json::object all{{"metadata", {{"resourceVersion", std::to_string(version_)}}},
                            {"items", std::move(items)}};
    return give(200, all);
  }

  static std::string field(const boost::json::object& from, std::string_view key) {
    const auto* value = from.if_contains(key);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
  }
  static FakeKube::Answer give(unsigned status, const boost::json::object& object) {
    return FakeKube::reply(status, to_text(object), {{"Content-Type", "application/json"}});
  }
  static FakeKube::Answer refuse(unsigned status) {
    return give(status, {{"kind", "Status"}, {"message", "as it is"}, {"code", status}});
  }

  int version_ = 100;
};

}  // namespace gatehouse
