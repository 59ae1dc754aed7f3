#include "proxy/access_log_line.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

namespace gatehouse::proxy {
namespace {

WallTime at(std::int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

AccessRecord full_record() {
  AccessRecord record;
  record.start = at(1785578400123);  // 2026-08-01T10:00:00.123Z
  record.method = "GET";
  record.path = "/a?b=1";
  record.version = HttpVersion::kHttp2;
  record.status = 200;
  record.request_body_bytes = 5;
  record.response_body_bytes = 1234;
  record.duration = 17ms + std::chrono::microseconds(999);
  record.backend_time = 15ms;
  record.forwarded_for = "192.0.2.7";
  record.user_agent = "curl/8";
  record.request_id = "11111111-1111-4111-8111-111111111111";
  record.authority = "www.example";
  record.endpoint = "10.0.0.1:8080";
  return record;
}

std::string line(const AccessRecord& record, AccessLogFormat format = AccessLogFormat::kEnvoy) {
  std::string out;
  AccessLogLine{}.append(format, record, out);
  return out;
}

boost::json::value json(const AccessRecord& record) {
  const std::string text = line(record, AccessLogFormat::kJson);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  boost::system::error_code error;
  auto value = boost::json::parse(text, error);
  EXPECT_FALSE(error) << text;
  return value;
}

TEST(AccessLogLine, PrintsEnvoysDefaultFormat) {
  EXPECT_EQ(line(full_record()),
            "[2026-08-01T10:00:00.123Z] \"GET /a?b=1 HTTP/2\" 200 - 5 1234 17 15 \"192.0.2.7\" "
            "\"curl/8\" \"11111111-1111-4111-8111-111111111111\" \"www.example\" "
            "\"10.0.0.1:8080\"\n");
}

TEST(AccessLogLine, PrintsDashesForWhatIsAbsent) {
  AccessRecord record;
  record.start = at(0);
  record.flags.add(ResponseFlag::kDpe);
  EXPECT_EQ(line(record),
            "[1970-01-01T00:00:00.000Z] \"- - HTTP/1.1\" 0 DPE 0 0 0 - \"-\" \"-\" \"-\" \"-\" "
            "\"-\"\n");
}

TEST(AccessLogLine, PrintsTheFlagsInOneField) {
  AccessRecord record = full_record();
  record.status = 503;
  record.flags.add(ResponseFlag::kUrx);
  record.flags.add(ResponseFlag::kUf);
  EXPECT_NE(line(record).find("\" 503 UF,URX 5 "), std::string::npos);
}

TEST(AccessLogLine, NamesTheProtocol) {
  AccessRecord record = full_record();
  for (const auto& [version, text] : {std::pair{HttpVersion::kHttp10, " HTTP/1.0\" "},
                                      {HttpVersion::kHttp11, " HTTP/1.1\" "},
                                      {HttpVersion::kHttp2, " HTTP/2\" "}}) {
    record.version = version;
    EXPECT_NE(line(record).find(text), std::string::npos) << text;
  }
}

TEST(AccessLogLine, TheTimeFollowsEachLine) {
  AccessLogLine formatter;
  AccessRecord record;
  std::string out;
  for (const std::int64_t ms : {1785578400000, 1785578400999, 1785578401000, 1785578399007}) {
    record.start = at(ms);
    formatter.append(AccessLogFormat::kEnvoy, record, out);
  }
  std::string times;
  for (std::size_t from = 0; (from = out.find('[', from)) != out.npos; ++from)
    times += out.substr(from, 26) + " ";
  EXPECT_EQ(times,
            "[2026-08-01T10:00:00.000Z] [2026-08-01T10:00:00.999Z] [2026-08-01T10:00:01.000Z] "
            "[2026-08-01T09:59:59.007Z] ");
}

TEST(AccessLogLine, NoFieldCanForgeALineOrAField) {
  AccessRecord record = full_record();
  const std::string bad("\" 200 -\r\n[x]\\\x7f\x1b[31m\xc2\x9b\0", 22);
  record.user_agent = bad;
  const std::string text = line(record);
  EXPECT_NE(text.find("\"\\\" 200 -\\x0d\\x0a[x]\\\\\\x7f\\x1b[31m\\xc2\\x9b\\x00\" "),
            std::string::npos)
      << text;
}

TEST(AccessLogLine, EveryFieldOfTheClientIsEscaped) {
  for (auto member : {&AccessRecord::method, &AccessRecord::path, &AccessRecord::forwarded_for,
                      &AccessRecord::user_agent, &AccessRecord::request_id,
                      &AccessRecord::authority, &AccessRecord::endpoint}) {
    AccessRecord record = full_record();
    record.*member = "a\"\nb";
    const std::string text = line(record);
    EXPECT_NE(text.find("a\\\"\\x0ab"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), text.size() - 1);
  }
}

TEST(AccessLogLine, PrintsIstiosKeys) {
  AccessRecord record = full_record();
  record.code_details = "via_upstream";
  record.termination_details = "ended";
  record.backend_name = "hello-v1";
  record.backend_local_address = "10.0.0.9:40000";
  record.local_address = "203.0.113.1:443";
  record.remote_address = "192.0.2.7:50000";
  record.server_name = "www.example";
  record.route_name = "www.example/0";
  record.transport_failure = "none";
  record.flags.add(ResponseFlag::kUt);
  EXPECT_EQ(json(record), boost::json::parse(R"({
    "authority": "www.example", "bytes_received": 5, "bytes_sent": 1234,
    "connection_termination_details": "ended", "downstream_local_address": "203.0.113.1:443",
    "downstream_remote_address": "192.0.2.7:50000", "duration": 17, "method": "GET",
    "path": "/a?b=1", "protocol": "HTTP/2", "request_id": "11111111-1111-4111-8111-111111111111",
    "requested_server_name": "www.example", "response_code": 200,
    "response_code_details": "via_upstream", "response_flags": "UT",
    "route_name": "www.example/0", "start_time": "2026-08-01T10:00:00.123Z",
    "upstream_cluster": "hello-v1", "upstream_host": "10.0.0.1:8080",
    "upstream_local_address": "10.0.0.9:40000", "upstream_service_time": "15",
    "upstream_transport_failure_reason": "none", "user_agent": "curl/8",
    "x_forwarded_for": "192.0.2.7"})"));
}

TEST(AccessLogLine, PrintsNullInJsonForWhatIsAbsent) {
  const auto value = json(AccessRecord{});
  for (const char* key : {"authority", "method", "path", "route_name", "upstream_host",
                          "upstream_service_time", "user_agent", "requested_server_name"})
    EXPECT_TRUE(value.as_object().at(key).is_null()) << key;
  EXPECT_EQ(value.as_object().at("response_flags").as_string(), "-");
  EXPECT_EQ(value.as_object().at("response_code").as_int64(), 0);
}

TEST(AccessLogLine, JsonIsValidWhateverTheBytes) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  AccessRecord record = full_record();
  record.path = all;
  record.user_agent = "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xc3( \xed\xa0\x80 \xc2\x9b";
  const auto value = json(record);
  EXPECT_EQ(value.as_object().at("user_agent").as_string(),
            "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbd( "
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xc2\x9b");
  EXPECT_TRUE(
      value.as_object().at("path").as_string().starts_with(std::string_view("\0\x01\x02", 3)));
}

TEST(AccessLogLine, JsonHasNoRawControlBytes) {
  AccessRecord record = full_record();
  record.user_agent = "a\x1b[31m\x7f\r\xc2\x9b";
  const std::string text = line(record, AccessLogFormat::kJson);
  EXPECT_NE(text.find("\"a\\u001b[31m\\u007f\\u000d\\u009b\""), std::string::npos) << text;
}

TEST(AccessLogLine, OffPrintsNothing) { EXPECT_EQ(line(full_record(), AccessLogFormat::kOff), ""); }

}  // namespace
}  // namespace gatehouse::proxy
