#pragma once
// Handlers for session tests: they write down what they are told.

#include <string>
#include <string_view>

#include "daemon/base/flat_buffer.h"
#include "proxy/protocol/session.h"

namespace gatehouse::proxy {

/// The handler of a server session. The token of a stream is its number plus 100.
class RecordingServer : public ServerEvents {
 public:
  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
    log += "request " + head.method + " " + head.scheme + "://" + head.authority + head.path;
    log += ended ? " ended\n" : "\n";
    last = stream;
    last_head = std::move(head);
    return stream + 100;
  }
  void on_request_body(StreamToken token, std::string_view bytes) override {
    body_bytes += bytes.size();
    if (logs_bodies) log += "body " + std::to_string(token) + " " + std::string(bytes) + "\n";
  }
  void on_request_end(StreamToken token, const Fields* trailers) override {
    log += "end " + std::to_string(token);
    if (trailers)
      for (const auto field : *trailers)
        log.append(" ").append(field.name).append("=").append(field.value);
    log += "\n";
  }
  void on_response_taken(StreamToken, std::size_t bytes) override { taken += bytes; }
  void on_closed(StreamToken token, Reset reason) override {
    log += "closed " + std::to_string(token) + " " + std::string(to_string(reason)) + "\n";
    ++closed;
  }
  void on_refused(const RequestHead& head, int status, std::string_view detail) override {
    log += "refused " + head.method + " " + head.path + " " + std::to_string(status) + " " +
           std::string(detail) + "\n";
  }
  std::string take_log() { return std::exchange(log, {}); }

  std::string log;
  RequestHead last_head;
  StreamId last = 0;
  std::size_t taken = 0, body_bytes = 0, closed = 0;
  bool logs_bodies = true;
};

/// The handler of a client session.
class RecordingClient : public ClientEvents {
 public:
  void on_interim(StreamToken token, ResponseHead& head) override {
    log += "interim " + std::to_string(token) + " " + std::to_string(head.status) + "\n";
  }
  void on_response(StreamToken token, ResponseHead& head, bool ended) override {
    log += "response " + std::to_string(token) + " " + std::to_string(head.status);
    log += ended ? " ended\n" : "\n";
    last_head = std::move(head);
  }
  void on_response_body(StreamToken token, std::string_view bytes) override {
    body_bytes += bytes.size();
    if (logs_bodies) log += "body " + std::to_string(token) + " " + std::string(bytes) + "\n";
  }
  void on_response_end(StreamToken token, const Fields* trailers) override {
    log += "end " + std::to_string(token);
    if (trailers)
      for (const auto field : *trailers)
        log.append(" ").append(field.name).append("=").append(field.value);
    log += "\n";
    ++over;
  }
  void on_request_taken(StreamToken, std::size_t bytes) override { taken += bytes; }
  void on_failed(StreamToken token, const Failure& failure) override {
    log += "failed " + std::to_string(token) + " " + std::string(to_string(failure.reason)) +
           (failure.is_retryable ? " retryable" : "") + (failure.was_sent ? " sent " : " unsent ") +
           failure.detail + "\n";
    ++over;
  }
  std::string take_log() { return std::exchange(log, {}); }

  std::string log;
  ResponseHead last_head;
  std::size_t taken = 0, body_bytes = 0, over = 0;
  bool logs_bodies = true;
};

/// All that the session has to say now.
inline std::string produce_all(Session& session, std::size_t most = 16 * 1024) {
  std::string all;
  for (;;) {
    FlatBuffer out;
    const bool more = session.produce(out, most);
    all += out.view();
    if (!more) return all;
  }
}

}  // namespace gatehouse::proxy
