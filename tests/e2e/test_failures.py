"""What the client sees when something fails, and what the access log says about it."""
import threading
import time

import pytest

from backends import RawBackend, answer, ok
from gatehouse import free_ports, wait_until

LIMITS = {"header_timeout": "1s", "stall_timeout": "1500ms", "idle_timeout": "2s", "body_bytes": "1MiB", "header_bytes": "8KiB",
          "uri_bytes": "2KiB", "header_fields": 50}
INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 2, 7, 8


@pytest.fixture(scope="module")
def edge(start_edge):
    return start_edge(limits=LIMITS)


# ---- requests that are refused ----------------------------------------------------------------

@pytest.mark.parametrize("text, status", [
    ("GET / HTTP/1.1\r\n\r\n", 400),                                                    # no Host
    ("GET / HTTP/1.1\r\nHost: www.example.test\r\nHost: a.test\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: www.example.test\n\n", 400),                                # bare line feeds
    ("GET / HTTP/1.1\r\nHost: www.example.test\r\nA : b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: www.example.test\r\nA: b\r\n c\r\n\r\n", 400),            # folded
    ("POST / HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: www.example.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: www.example.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("GET / HTTP/3.0\r\nHost: www.example.test\r\n\r\n", 505),
    ("GET / HTTP/1.1\r\nHost: www.example.test\r\nExpect: more\r\n\r\n", 417),
    ("GET /" + "a" * 3000 + " HTTP/1.1\r\nHost: www.example.test\r\n\r\n", 414),
    ("GET / HTTP/1.1\r\nHost: www.example.test\r\nA: " + "b" * 9000 + "\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: www.example.test\r\n" + "A: b\r\n" * 60 + "\r\n", 431),
    ("GET / HTTP/1.1\r\nHost: www.ex", 408)])                                           # and then nothing
def test_a_bad_request_of_http1_is_refused_and_the_connection_closed(edge, text, status):
    before = len(edge.h1.requests)
    with edge.raw() as client:
        client.send(text)
        got = client.read()
        assert (got.status, got["connection"]) == (status, "close")
        assert client.ends()
    assert len(edge.h1.requests) == before


def test_a_refused_request_is_logged_with_its_flag(edge):
    with edge.raw() as client:
        client.get("/refused-dpe", "A: b\nContent-Length: x\n")
    line = edge.logged("/refused-dpe")
    assert (line["status"], line["flags"]) == ("400", "DPE")


def test_a_chunk_that_lies_is_an_error_and_never_whole_at_the_backend(edge):
    with edge.raw() as client:
        client.request("POST", "/bad-chunk", "Transfer-Encoding: chunked\n", b"5\r\nhello\r\nzz\r\n")
        assert client.read().status == 400
        assert client.ends()
    line = edge.logged("/bad-chunk")
    assert (line["status"], line["flags"]) == ("400", "DPE")
    assert all(r.path != "/bad-chunk" or r.body == b"" for r in edge.h1.requests)


def test_a_head_of_http2_beyond_the_bounds_is_431(edge):
    with edge.h2() as client:
        got = client.get("/h2-431", [("a", "b" * 9000)])
        assert got.reset_code is not None or got.status == 431
        assert client.get("/h2-after-431").status == 200


def test_a_body_beyond_the_bound_is_413(edge):
    for client in (edge.raw(), edge.h2()):
        with client:
            if hasattr(client, "request"):
                client.request("POST", "/too-long", "Content-Length: 1048577\n")
                got = client.read()
            else:
                got = client.wait(client.start("POST", "/too-long", [("content-length", "1048577")], end=False))
            assert got.status == 413
    assert edge.h1.count("/too-long") == 0
    with edge.raw() as client:
        client.request("POST", "/too-long-chunked", "Transfer-Encoding: chunked\n", b"40000\r\n" + b"x" * 0x40000 + b"\r\n")
        for _ in range(4):
            client.send(b"40000\r\n" + b"x" * 0x40000 + b"\r\n")
        assert client.read().status == 413


def test_a_body_that_comes_too_slowly_is_408(edge):
    with edge.raw() as client:
        client.request("POST", "/slow-body", "Content-Length: 1000\n", b"a")
        assert client.read().status == 408
    assert edge.logged("/slow-body")["status"] == "408"


def test_a_name_that_the_certificate_does_not_cover_is_421(edge):
    for client in (edge.raw(), edge.h2()):
        with client:
            got = (client.get("/misdirected", host="other.test") if hasattr(client, "request")
                   else client.get("/misdirected", authority="other.test"))
            assert got.status == 421


# ---- backends that fail -----------------------------------------------------------------------

def early_close(connection, request):
    connection.read_body(request)
    return False


def torn_head(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    return False


def reset_at_once(connection, request):
    connection.reset()
    return False


def silent(connection, request):
    connection.is_closed_within(10)
    return False


BROKEN = {  # what a backend does: status and flags
    "nobody-listens": (None, 503, "UF"),
    "closes": (early_close, 502, "UC"),
    "torn-head": (torn_head, 502, "UC"),
    "resets": (reset_at_once, 502, "UC"),
    "not-http": (answer(b"SSH-2.0-OpenSSH\n"), 502, "UPE"),
    "two-lengths": (answer("HTTP/1.1 200 OK\ncontent-length: 3\ncontent-length: 4\n", b"abc"), 502, "UPE"),
    "negative-length": (answer("HTTP/1.1 200 OK\ncontent-length: -5\n"), 502, "UPE"),
    "both-framings": (answer("HTTP/1.1 200 OK\ncontent-length: 5\ntransfer-encoding: chunked\n", b"0\r\n\r\n"), 502, "UPE"),
    "unasked-101": (answer("HTTP/1.1 101 Switching Protocols\nupgrade: x\nconnection: upgrade\n"), 502, "UPE"),
    "status-000": (answer("HTTP/1.1 000 X\ncontent-length: 0\n"), 502, "UPE"),
    "many-interims": (answer(b"HTTP/1.1 103 Hints\n\n" * 20 + b"HTTP/1.1 200 OK\ncontent-length: 0\n"), 502, "UPE"),
    "silent": (silent, 504, "UT"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_failing_backend_gives_our_own_answer_and_its_flag(edge, what):
    script, status, flags = BROKEN[what]
    path = f"/dead/{what}" if script is None else f"/quick/{what}"
    if script:
        edge.h1.on(path, script)
    with edge.raw() as client:  # POST: never sent twice
        client.request("POST", path, "Content-Length: 1\n", b"x")
        got = client.read()
        assert (got.status, got["content-type"]) == (status, "text/plain; charset=utf-8")
        assert client.get(f"/after-{what}").status == 200
    line = edge.logged(path)
    assert (line["status"], line["flags"]) == (str(status), flags)
    assert script is None or edge.h1.count(path) == 1


@pytest.mark.parametrize("what", ["nobody-listens", "closes", "not-http"])
def test_a_failing_backend_is_told_to_grpc_clients_in_their_form(edge, what):
    script, _, flags = BROKEN[what]
    path = f"/dead/grpc-{what}" if script is None else f"/quick/grpc-{what}"
    if script:
        edge.h1.on(path, script)
    with edge.h2() as client:
        got = client.post(path, b"\0\0\0\0\0", [("content-type", "application/grpc"), ("te", "trailers")])
        assert (got.status, got["content-type"], got["grpc-status"], got.body) == (200, "application/grpc", "14", b"")
        assert got["grpc-message"] and got.is_whole
    line = edge.logged(path)
    assert (line["status"], line["flags"]) == ("200", flags)


def test_no_route_is_grpc_unimplemented(start_edge):
    edge = start_edge(vhosts=[{"host": "mobile.example.test", "certificate": "site",
                               "routes": [{"match": {"exact": "/only"}, "backend": "h1"}]}])
    with edge.h2("mobile.example.test") as client:
        got = client.post("/none", b"", [("content-type", "application/grpc")])
        assert (got.status, got["grpc-status"]) == (200, "12")
        assert client.get("/none-plain").status == 404
    assert edge.logged("/none-plain")["flags"] == "NR"


def test_an_h2c_backend_that_resets_is_502_and_one_that_refuses_is_asked_again(edge):
    edge.h2c.on("/h2c/reset", lambda stream: stream.reset(INTERNAL_ERROR))
    refused = []

    def refuse_once(stream):
        refused.append(stream)
        if len(refused) == 1:
            stream.reset(REFUSED_STREAM)
        else:
            stream.send([(":status", "200")], b"second")
    edge.h2c.on("/h2c/refuse", refuse_once)
    with edge.h2() as client:
        assert client.get("/h2c/reset").status == 502
        assert client.get("/h2c/refuse").body == b"second"
    assert edge.logged("/h2c/reset")["flags"] == "UR"
    assert len(refused) == 2


def test_an_h2c_backend_that_says_goaway_gets_a_new_connection(start_edge):
    edge = start_edge()

    def last(stream):
        stream.send([(":status", "200")], b"last")
        stream.connection.state.close_connection()
        stream.connection.flush()
    edge.h2c.on("/h2c/goaway", last)
    with edge.h2() as client:
        assert client.get("/h2c/goaway").body == b"last"
        assert client.get("/h2c/next").body == b"ok\n"
    assert len(edge.h2c.connections) == 2


def test_a_silent_h2c_backend_is_504_and_its_stream_is_cancelled(edge):
    edge.h2c.on("/h2c-quick/silent", lambda stream: None)
    with edge.h2() as client:
        assert client.get("/h2c-quick/silent").status == 504
    assert edge.logged("/h2c-quick/silent")["flags"] == "UT"
    wait_until(lambda: edge.h2c.request("/h2c-quick/silent").reset_code == CANCEL, 5, "RST_STREAM")


# ---- stale connections of the pool ------------------------------------------------------------

def test_a_stale_pooled_connection_is_retried_once(start_edge):
    edge = start_edge()
    seen = []

    def script(connection, request):
        # A connection's second request is met by its end, as when the backend had grown tired of it.
        seen.append(len(connection.requests))
        return len(connection.requests) == 1 and ok()(connection, request)
    edge.h1.scripts[None] = script
    with edge.raw() as client:
        assert client.get("/stale/1").status == 200
        assert client.get("/stale/2").status == 200
        assert seen == [1, 2, 1]
        client.request("POST", "/stale/3", "Content-Length: 1\n", b"x")
        assert client.read().status == 502  # A POST that was sent is not sent twice.
        assert seen == [1, 2, 1, 2]
    assert edge.logged("/stale/2")["flags"] == "-"


def test_a_connection_that_a_backend_closed_while_idle_is_not_used(start_edge):
    edge = start_edge()

    def then_close(connection, request):
        ok()(connection, request)
        time.sleep(0.2)
        return False
    edge.h1.scripts[None] = then_close
    with edge.raw() as client:
        for number in range(3):
            client.request("POST", f"/idle-closed/{number}", "Content-Length: 1\n", b"x")
            assert client.read().status == 200
            wait_until(lambda: edge.h1.connections[-1].sock.fileno() < 0, 5, "the backend's close")
            time.sleep(0.05)
    assert len(edge.h1.connections) == 3


def test_bytes_behind_an_answer_are_never_another_answer(edge):
    edge.h1.on("/surplus", answer("HTTP/1.1 200 OK\ncontent-length: 2\n", b"okHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"))
    with edge.raw() as client:
        for number in range(3):
            assert client.get("/surplus").body == b"ok"
            assert client.get(f"/after-surplus/{number}").body == b"ok\n"


# ---- limits and addresses of backends ---------------------------------------------------------

def test_more_requests_than_a_backend_may_have_overflow(start_edge):
    one = RawBackend()
    release = threading.Event()

    def held(connection, request):
        release.wait(10)
        return ok()(connection, request)
    one.scripts[None] = held
    edge = start_edge(backends={"one": {"endpoints": [one.url], "limits": {"connections": 1, "pending": 1}}})
    with edge.h2() as client:
        first = client.start("GET", "/one/first")
        wait_until(lambda: one.count("/one/first"), 5, "the first request")
        second, third = client.start("GET", "/one/second"), client.start("GET", "/one/third")
        assert client.wait(third).status == 503
        release.set()
        assert (client.wait(first).status, client.wait(second).status) == (200, 200)
    assert edge.logged("/one/third")["flags"] == "UO"
    assert len(one.connections) == 1
    one.close()


def test_a_second_endpoint_takes_over_for_one_that_is_dead(start_edge):
    one = RawBackend()
    dead, = free_ports(1)
    edge = start_edge(backends={"pair": {"endpoints": [f"http://127.0.0.1:{dead}", one.url]}})
    with edge.raw() as client:
        for number in range(6):
            assert client.get(f"/pair/{number}").status == 200
    assert len(one.requests) == 6
    one.close()


def test_a_name_that_does_not_resolve_is_503(start_edge):
    edge = start_edge(backends={"nameless": {"endpoints": ["http://nobody.invalid:80"]}})
    with edge.raw() as client:
        assert client.get("/nameless").status == 503
        assert client.get("/after-nameless").status == 200
    assert edge.logged("/nameless")["flags"] in ("DF", "UF")


def test_a_backend_behind_a_unix_socket_is_asked(start_edge, tmp_path):
    server = RawBackend(unix=str(tmp_path / "backend.sock"))
    edge = start_edge(backends={"local": {"endpoints": [server.url]}})
    with edge.raw() as client:
        assert client.get("/local").body == b"ok\n"
    assert server.request("/local")["host"] == "www.example.test"
    server.close()
