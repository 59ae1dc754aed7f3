"""Messages on their way through: what the client gets, and what the backend has received."""
import re
import threading

import pytest

from backends import answer, ok
from gatehouse import curl, wait_until


@pytest.fixture(scope="module")
def edge(start_edge):
    return start_edge()


# ---- versions of HTTP -------------------------------------------------------------------------

@pytest.mark.parametrize("option, version", [("--http2", "2"), ("--http1.1", "1.1"), ("--http1.0", "1.1")])
def test_curl_gets_an_answer_by_each_version(edge, option, version):
    path = f"/curl-{option[2:]}"
    edge.h1.on(path, ok(b"hello\n"))
    status, out, error = curl(option, *edge.resolve(), "-w", "%{http_code} %{http_version}", edge.url(path))
    assert (status, out) == (0, f"hello\n200 {version}"), error


@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_curl_gets_an_answer_of_an_h2c_backend(edge, option):
    path = f"/h2c/curl{option}"
    status, out, error = curl(option, *edge.resolve(), "--data-binary", "some body", edge.url(path))
    assert (status, out) == (0, "ok\n"), error
    got = edge.h2c.request(path)
    assert (got[":method"], got[":authority"], got.body) == ("POST", f"www.example.test:{edge.daemon.https}", b"some body")


def test_a_client_of_http10_gets_no_chunks_and_the_end_by_closing(edge):
    edge.h1.on("/old-chunked", answer("HTTP/1.1 200 OK\ntransfer-encoding: chunked\n", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"))
    with edge.raw() as client:
        client.send("GET /old-chunked HTTP/1.0\r\nHost: www.example.test\r\n\r\n")
        got = client.read()
        assert (got.status, got.body, got.get("transfer-encoding")) == (200, b"hello world", None)
    assert edge.h1.request("/old-chunked").version == "HTTP/1.1"


def test_a_client_of_http10_keeps_its_connection_when_it_asks(edge):
    with edge.raw() as client:
        for path in ("/old-1", "/old-2"):
            client.send(f"GET {path} HTTP/1.0\r\nHost: www.example.test\r\nConnection: keep-alive\r\n\r\n")
            got = client.read()
            assert (got.status, got["connection"], got.body) == (200, "keep-alive", b"ok\n")
        client.send("GET /old-3 HTTP/1.0\r\nHost: www.example.test\r\n\r\n")
        assert client.read()["connection"] == "close"
        assert client.ends()


# ---- answers without a body -------------------------------------------------------------------

def test_head_tells_the_length_and_sends_nothing(edge):
    edge.h1.on("/head", answer("HTTP/1.1 200 OK\ncontent-length: 1234\n"))
    with edge.raw() as client:
        got = client.get("/head", method="HEAD")
        assert (got.status, got["content-length"]) == (200, "1234")
        assert client.get("/after-head").body == b"ok\n"  # Nothing was left in between.
    with edge.h2() as client:
        got = client.get("/head", method="HEAD")
        assert (got.status, got["content-length"], got.body, got.is_whole) == (200, "1234", b"", True)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_ends_at_its_head(edge, status):
    path = f"/empty-{status}"
    edge.h1.on(path, answer(f"HTTP/1.1 {status} Nothing\netag: \"x\"\n"))
    with edge.raw() as client:
        got = client.get(path)
        assert (got.status, got["etag"], got.get("transfer-encoding")) == (status, '"x"', None)
        assert status != 204 or got.get("content-length") is None
        assert client.get(f"/after-{status}").body == b"ok\n"
    with edge.h2() as client:
        got = client.get(path)
        assert (got.status, got.body, got.is_whole) == (status, b"", True)


# ---- interim answers --------------------------------------------------------------------------

def continuing(connection, request):
    """Asks for the body, and only then reads it."""
    assert not connection.buffer
    connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = connection.read_body(request)
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    return True


def test_100_continue_travels_end_to_end(edge):
    edge.h1.on("/continue", continuing)
    with edge.raw() as client:
        client.request("PUT", "/continue", "Content-Length: 5\nExpect: 100-continue\n")
        assert client.read_head()[0] == 100
        assert edge.h1.request("/continue")["expect"] == "100-continue"
        assert edge.h1.request("/continue").body == b""
        client.send(b"hello")
        assert client.read().body == b"hello"


def test_a_final_answer_instead_of_100_spares_the_body(edge):
    def refuse(connection, request):
        connection.send(b"HTTP/1.1 401 No\r\ncontent-length: 3\r\n\r\nno\n")
        return False
    edge.h1.on("/no-continue", refuse)
    with edge.raw() as client:
        client.request("PUT", "/no-continue", "Content-Length: 5000000\nExpect: 100-continue\n")
        got = client.read()
        assert (got.status, got.body, got.interims, got["connection"]) == (401, b"no\n", [], "close")
        assert client.ends()


def test_curl_gets_its_100_over_http2_too(edge):
    edge.h1.on("/continue-h2", continuing)
    status, out, error = curl("--http2", *edge.resolve(), "-H", "Expect: 100-continue", "--data-binary", "hello", "-v",
                              edge.url("/continue-h2"))
    assert (status, out) == (0, "hello"), error
    assert "HTTP/2 100" in error


def test_103_early_hints_reach_the_client(edge):
    edge.h1.on("/hints", answer("HTTP/1.1 103 Early Hints\nlink: </a.css>\n\nHTTP/1.1 200 OK\ncontent-length: 3\n", b"ok\n"))
    with edge.raw() as client:
        got = client.get("/hints")
        assert (got.status, got.body) == (200, b"ok\n")
        assert got.interims == [(103, [("link", "</a.css>")])]
    with edge.h2() as client:
        got = client.get("/hints")
        assert (got.status, got.body) == (200, b"ok\n")
        assert got.interims == [[(":status", "103"), ("link", "</a.css>")]]


# ---- bodies and trailers ----------------------------------------------------------------------

def test_chunks_and_trailers_travel_from_the_backend_to_both_kinds_of_client(edge):
    edge.h1.on("/trailers", answer("HTTP/1.1 200 OK\ntransfer-encoding: chunked\ntrailer: x-sum\n",
                                   b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 11\r\n\r\n"))
    with edge.raw() as client:
        got = client.get("/trailers", "TE: trailers\nConnection: TE\n")
        assert (got.body, got.trailers, got.is_whole) == (b"hello world", [("x-sum", "11")], True)
    with edge.h2() as client:
        got = client.get("/trailers", [("te", "trailers")])
        assert (got.body, got.trailers, got.is_whole) == (b"hello world", [("x-sum", "11")], True)


def test_chunks_and_trailers_travel_from_the_client_to_both_kinds_of_backend(edge):
    body = b"4\r\nwiki\r\n6\r\npedia.\r\n0\r\nx-check: 7\r\n\r\n"
    with edge.raw() as client:
        for path in ("/up-chunked", "/h2c/up-chunked"):
            client.request("POST", path, "Transfer-Encoding: chunked\nTrailer: x-check\n", body)
            assert client.read().status == 200
    got = edge.h1.request("/up-chunked")
    assert (got.body, got.trailers, got["transfer-encoding"]) == (b"wikipedia.", [("x-check", "7")], "chunked")
    got = edge.h2c.request("/h2c/up-chunked")
    assert (got.body, got.trailers) == (b"wikipedia.", [("x-check", "7")])


def test_a_body_of_http2_without_length_becomes_chunks(edge):
    with edge.h2() as client:
        assert client.post("/up-h2", b"z" * 300000, trailers=[("x-check", "8")]).status == 200
        assert client.post("/up-h2-length", b"abc", [("content-length", "3")]).status == 200
    got = edge.h1.request("/up-h2")
    assert (got.body, got.trailers, got["transfer-encoding"]) == (b"z" * 300000, [("x-check", "8")], "chunked")
    got = edge.h1.request("/up-h2-length")
    assert (got.body, got["content-length"], got.all("transfer-encoding")) == (b"abc", "3", [])


def test_a_grpc_exchange_keeps_its_trailers_both_as_stream_and_as_trailers_only(edge):
    message = b"\0\0\0\0\5hello"

    def echo(stream):
        stream.send([(":status", "200"), ("content-type", "application/grpc")], stream.body,
                    [("grpc-status", "0"), ("grpc-message", "fine")])
    edge.h2c.on("/h2c/grpc", echo)
    edge.h2c.on("/h2c/grpc-only", lambda stream: stream.send(
        [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]))
    fields = [("content-type", "application/grpc"), ("te", "trailers")]
    with edge.h2() as client:
        got = client.post("/h2c/grpc", message, fields)
        assert (got.body, got.trailers, got.is_whole) == (message, [("grpc-status", "0"), ("grpc-message", "fine")], True)
        got = client.post("/h2c/grpc-only", message, fields)
        assert (got["grpc-status"], got.body, got.is_whole) == ("5", b"", True)
    assert edge.h2c.request("/h2c/grpc")["te"] == "trailers"


def test_an_answer_that_ends_by_closing_is_whole_for_both_kinds_of_client(edge):
    def script(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        return False
    edge.h1.on("/until-close", script)
    with edge.raw() as client:
        got = client.get("/until-close")
        assert (got.body, got["transfer-encoding"], got.is_whole) == (b"until the end", "chunked", True)
        assert client.get("/after-until-close").body == b"ok\n"
    with edge.h2() as client:
        got = client.get("/until-close")
        assert (got.body, got.is_whole) == (b"until the end", True)


def test_many_streams_at_once_keep_their_bodies_apart(edge):
    for number in range(50):
        edge.h1.on(f"/many/{number}", ok(b"%d," % number * 5000))
    with edge.h2() as client:
        streams = {client.start("GET", f"/many/{number}"): number for number in range(50)}
        for stream, number in streams.items():
            got = client.wait(stream)
            assert got.body == b"%d," % number * 5000 and got.is_whole


# ---- connections ------------------------------------------------------------------------------

def test_pipelined_requests_are_answered_in_their_order(edge):
    release = threading.Event()

    def late(connection, request):
        release.wait(10)
        return ok(b"first")(connection, request)
    edge.h1.on("/pipeline/0", late)
    for number in range(1, 5):
        edge.h1.on(f"/pipeline/{number}", ok(b"number %d" % number))
    with edge.raw() as client:
        client.send("".join(f"GET /pipeline/{n} HTTP/1.1\r\nHost: www.example.test\r\n\r\n" for n in range(5)))
        wait_until(lambda: edge.h1.count("/pipeline/0"), 10, "the first request")
        release.set()
        assert [client.read().body for _ in range(5)] == [b"first", *(b"number %d" % n for n in range(1, 5))]


def test_requests_one_after_another_share_a_backend_connection(start_edge):
    edge = start_edge()
    for client in (edge.raw(), edge.raw(), edge.h2()):
        with client:
            for number in range(5):
                assert client.get(f"/reuse/{number}").status == 200
    assert [len(connection.requests) for connection in edge.h1.connections] == [15]
    with edge.h2() as client:
        for number in range(20):
            assert client.get(f"/h2c/reuse/{number}").status == 200
    assert len(edge.h2c.connections) == 1


def test_a_backend_that_closes_after_an_answer_gets_a_new_connection(edge):
    edge.h1.on("/closing", answer("HTTP/1.1 200 OK\ncontent-length: 2\nconnection: close\n", b"ok"))
    with edge.raw() as client:
        for number in range(3):
            got = client.get(f"/closing?{number}")
            assert (got.body, got.get("connection")) == (b"ok", None)


# ---- header fields ----------------------------------------------------------------------------

def test_fields_of_the_connection_stay_behind(edge):
    fields = ("Connection: keep-alive, x-private\nKeep-Alive: timeout=9\nX-Private: secret\nProxy-Connection: x\n"
              "TE: gzip, trailers\nUpgrade: h2c\nX-Public: seen\n")
    edge.h1.on("/hop", answer("HTTP/1.1 200 OK\ncontent-length: 2\nconnection: x-inner\nx-inner: secret\n"
                              "keep-alive: timeout=5\nproxy-connection: x\nx-outer: seen\n", b"ok"))
    with edge.raw() as client:
        got = client.get("/hop", fields)
        assert (got.body, got["x-outer"]) == (b"ok", "seen")
        assert not {"x-inner", "keep-alive", "proxy-connection", "connection"} & dict(got.fields).keys()
    seen = edge.h1.request("/hop")
    assert seen["x-public"] == "seen"
    for name in ("keep-alive", "x-private", "proxy-connection", "upgrade"):
        assert seen.all(name) == []
    assert seen["te"] == "trailers" and seen["connection"].lower() == "te"


def test_the_backend_learns_who_asked_and_how(edge):
    with edge.raw() as client:
        assert client.get("/forwarded", "X-Forwarded-For: 6.6.6.6\nX-Forwarded-Proto: http\nX-Real-IP: 6.6.6.6\n"
                          "Forwarded: for=6.6.6.6\nX-Envoy-Internal: true\nX_Forwarded_For: 6.6.6.6\n"
                          "X-Request-Id: mine\n").get("via") is None
    seen = edge.h1.request("/forwarded")
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["via"]) == ("127.0.0.1", "https", "1.1 gatehouse")
    for name in ("x-real-ip", "forwarded", "x-envoy-internal", "x_forwarded_for"):
        assert seen.all(name) == []
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", seen["x-request-id"])
    assert seen["host"] == "www.example.test"
    line = edge.logged("/forwarded")
    assert (line["id"], line["xff"]) == (seen["x-request-id"], "127.0.0.1")


def test_an_http2_client_is_forwarded_the_same_way(edge):
    with edge.h2() as client:
        client.get("/forwarded-h2", [("x-forwarded-for", "6.6.6.6"), ("cookie", "a=1"), ("cookie", "b=2")])
        client.get("/h2c/forwarded")
    seen = edge.h1.request("/forwarded-h2")
    assert (seen["x-forwarded-for"], seen["via"], seen["cookie"]) == ("127.0.0.1", "2.0 gatehouse", "a=1; b=2")
    assert seen["host"] == "www.example.test"
    seen = edge.h2c.request("/h2c/forwarded")
    assert (seen[":authority"], seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("www.example.test", "127.0.0.1", "https")


def test_a_trusted_peer_is_believed_and_extended(start_edge):
    edge = start_edge(listen={"trusted_proxies": ["127.0.0.0/8"]})
    with edge.raw() as client:
        client.get("/trusted", "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\nX-Request-Id: mine\n")
    seen = edge.h1.request("/trusted")
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-request-id"]) == ("192.0.2.7, 127.0.0.1", "http", "mine")


def test_many_fields_with_one_name_stay_apart_and_in_order(edge):
    edge.h1.on("/cookies", answer("HTTP/1.1 200 OK\ncontent-length: 2\nset-cookie: a=1\nset-cookie: b=2\n", b"ok"))
    with edge.raw() as client:
        got = client.get("/cookies", "X-Many: 1\nX-Other: x\nX-Many: 2\n")
        assert [value for name, value in got.fields if name == "set-cookie"] == ["a=1", "b=2"]
    assert edge.h1.request("/cookies").all("x-many") == ["1", "2"]


# ---- the access log ---------------------------------------------------------------------------

def test_the_access_log_has_a_line_by_the_format(edge):
    edge.h1.on("/logged", ok(b"twelve bytes"))
    with edge.h2() as client:
        client.post("/logged?a=1", b"seven b", [("user-agent", "e2e/1")])
    line = edge.logged("/logged?a=1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["start"])
    assert (line["method"], line["protocol"], line["status"], line["flags"]) == ("POST", "HTTP/2", "200", "-")
    assert (line["bytes_in"], line["bytes_out"], line["agent"]) == ("7", "12", "e2e/1")
    assert (line["authority"], line["endpoint"]) == ("www.example.test", f"127.0.0.1:{edge.h1.port}")
    assert 0 <= int(line["backend_ms"]) <= int(line["duration"]) < 10000
