"""Ambiguous requests of HTTP/2 before a backend of HTTP/1.1, judged by the bytes that it saw
(HARDENING.md section 3, "h2 to h1 rules"). Verdicts as in test_smuggling.py: a forbidden request reaches
nobody and spares its connection; what lies about its body never looks whole; the rest has one meaning."""
import pytest

from gatehouse import wait_until
from h2frames import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PROTOCOL_ERROR, FrameClient, block, data, frame, headers, request
from test_smuggling import record

HIDDEN = "GET /hidden HTTP/1.1\r\nHost: www.example.test\r\n\r\n"
EVIL = f" HTTP/1.1\r\nHost: www.example.test\r\n\r\n{HIDDEN}"


@pytest.fixture(scope="module")
def edge(start_edge):
    edge = start_edge()
    edge.h1.scripts[None] = record
    return edge


# ---- the tables: %P is the case's own path ----------------------------------------------------

FORBIDDEN = {}  # name: (fields, "reset" or the status)


def forbid(name, *lists, verdict="reset"):
    for fields in lists:
        FORBIDDEN[f"{name}-{len(FORBIDDEN)}"] = (fields, verdict)


for what, piece in (("cr", "\r"), ("lf", "\n"), ("nul", "\0"), ("line", "\r\nx: y"), ("request", EVIL), ("space", " y"), ("del", "\x7f")):
    forbid(f"path-with-{what}", request(f"%P{piece}"), request(f"%P?a{piece}b"))
    forbid(f"method-with-{what}", request("%P", method=f"GET{piece}"), request("%P", method=f"GET{piece}x"))
    forbid(f"authority-with-{what}", request("%P", authority=f"www.example.test{piece}"), request("%P", authority=f"www{piece}.example.test"))
    forbid(f"scheme-with-{what}", request("%P", scheme=f"https{piece}"))
    forbid(f"name-with-{what}", request("%P", more=[(f"x{piece}", "y")]), request("%P", more=[(f"x{piece}y", "z")]))
    if what != "space":
        forbid(f"value-with-{what}", request("%P", more=[("x", f"a{piece}b")]), request("%P", more=[("x", f"a{piece}")]), request("%P", more=[("cookie", f"a=b{piece}")]))
forbid("name-in-capitals", request("%P", more=[("X", "y")]), request("%P", more=[("Transfer-Encoding", "chunked")]), request("%P", more=[("content-Length", "5")]))
forbid("name", *(request("%P", more=[(name, "y")]) for name in ("", ":", "x:y", "x:", "x y", " x", "x ", "\t", "x\ty", "x(y)", "x,y", "x/y", "x;y", "x=y", "x@y", "\xe9", "\x80", "x\"")))
forbid("value", *(request("%P", more=[("x", value)]) for value in (" a", "a ", "\ta", "a\t", "a\x0bb", "a\x01", "\x1b[0m")))
forbid("connection-field", *(request("%P", more=[field]) for field in (
    ("connection", "close"), ("connection", "x-forwarded-for"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"), ("upgrade", "h2c"), ("upgrade", "websocket"),
    ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("transfer-encoding", ""), ("transfer_encoding", "chunked"), ("content_length", "5"))))
forbid("te", *(request("%P", more=[("te", value)]) for value in ("gzip", "trailers, gzip", "trailers;q=1", "chunked", "")))
forbid("host", *(request("%P", more=more) for more in (
    [("host", "mobile.example.test")], [("host", "www.example.test:80")], [("host", "")], [("host", "www.example.test"), ("host", "www.example.test")], [("host", "www.example.test,www.example.test")])))
forbid("authority", *(request("%P", authority=authority) for authority in (
    "", "a@www.example.test", "www.example.test/", "www.example.test/x", "www.example.test?x", "www.example.test#x", "www.example.test:", "www.example.test:x", "www.example.test:0",
    "www.example.test:65536", "www.example.test:80:80", "www.example.test,x", "[::1", "http://www.example.test", "\xe9.example.test", "www.example.test%00")))
forbid("path", *(request(path) for path in ("", "x%P", "*", "*%P", "http://www.example.test%P", "%P#a", "%P\t", "%P\x80", "%P\xe9", " %P", "?%P", "\\%P")))
forbid("method", *(request("%P", method=method) for method in ("", "GET:", "G(ET", "GET /hidden HTTP/1.1\r\nx: y\r\n\r\n", "G\xe9T", "GET/")))
forbid("scheme", *(request("%P", scheme=scheme) for scheme in ("", "ftp", "https://www.example.test/hidden?", "javascript")))
good = request("%P")
for missing in (":method", ":scheme", ":path", ":authority"):
    forbid(f"without{missing}", [field for field in good if field[0] != missing])
for twice in good:
    forbid(f"twice{twice[0]}", [*good, twice], [twice, *good])
forbid("pseudo-field", [*good, (":status", "200")], [*good, (":protocol", "websocket")], [*good, (":x", "y")], [*good, (":", "y")], [*good[:3], ("x", "y"), good[3]], [("x", "y"), *good], [*good, ("x", "y"), (":path", "/hidden")], [("x", "y")], [])
forbid("content-length", *(request("%P", method="POST", more=[("content-length", value)]) for value in ("x", "-1", "+0", "0x0", "0,0", "0, 0", "", " 0", "0 ", "1.0", "99999999999999999999", "9223372036854775808", "5")))
forbid("content-length-twice", request("%P", more=[("content-length", "0"), ("content-length", "0")]), request("%P", more=[("content-length", "0"), ("content-length", "5")]))
forbid("connect-with-path", request("%P", method="CONNECT"), [(":method", "CONNECT"), (":scheme", "https"), (":authority", "www.example.test:443")], [(":method", "CONNECT")])
forbid("connect", [(":method", "CONNECT"), (":authority", "www.example.test:443")], verdict=501)
forbid("expect", request("%P", method="POST", more=[("expect", "200-ok")]), request("%P", more=[("expect", "100-continue, x")]), verdict=417)
forbid("crumbs", request("%P", more=[("cookie", "a=b")] * 101), verdict=431)
forbid("too-large", request("%P", more=[("x", "y" * 40000), ("z", "y" * 30000)]), verdict=431)


LIES = {  # what follows on stream 1 behind the head: the backend has seen the head by then
    "more-than-the-length": ([("content-length", "5")], [data(1, b"hell", False), data(1, HIDDEN.encode())]),
    "one-byte-more": ([("content-length", "5")], [data(1, b"hello!")]),
    "less-than-the-length": ([("content-length", "5")], [data(1, b"hell")]),
    "nothing-of-the-length": ([("content-length", "5")], [data(1, b"")]),
    "less-and-trailers": ([("content-length", "5")], [data(1, b"hell", False), headers(1, [("x", "y")])]),
    "pseudo-field-in-trailers": ([], [data(1, b"hello", False), headers(1, [(":path", "/hidden")])]),
    "status-in-trailers": ([], [data(1, b"hello", False), headers(1, [("x", "y"), (":status", "200")])]),
    "connection-in-trailers": ([], [data(1, b"hello", False), headers(1, [("connection", "close")])]),
    "coding-in-trailers": ([], [data(1, b"hello", False), headers(1, [("transfer-encoding", "chunked")])]),
    "length-in-trailers": ([], [data(1, b"hello", False), headers(1, [("content-length", "9")])]),
    "capitals-in-trailers": ([], [data(1, b"hello", False), headers(1, [("X", "y")])]),
    "line-in-trailers": ([], [data(1, b"hello", False), headers(1, [("x", "y\r\n\r\n" + HIDDEN)])]),
    "nul-in-trailers": ([], [data(1, b"hello", False), headers(1, [("x\0", "y")])]),
    "trailers-without-end": ([], [data(1, b"hello", False), headers(1, [("x", "y")], False)]),
    "second-head": ([], [data(1, b"hello", False), headers(1, request("/hidden"))]),
    "padding-counts-not": ([("content-length", "5")], [frame(DATA, END_STREAM | PADDED, 1, b"\x02hel\0\0")]),
}

SAME = {}  # name: (the head or a function that makes it, and what is behind it, method, target, body, fields that must be there, names that must not)


def same(name, message, method="GET", target="%P", body="", fields=None, absent=()):
    SAME[name] = (message, method, target, body, fields or {}, absent)


def in_pieces(whole):
    return frame(HEADERS, END_STREAM, 1, whole[:20]) + frame(CONTINUATION, 0, 1, whole[20:21]) + frame(CONTINUATION, END_HEADERS, 1, whole[21:])


def post(more=(), method="POST"):
    return request("%P", method=method, more=more)


same("plain", [good], fields={"host": "www.example.test", "via": "2.0 gatehouse"})
same("host-instead-of-authority", [[*good[:2], good[3], ("host", "WWW.example.test")]], fields={"host": "www.example.test"})
same("host-beside-authority", [[*good, ("host", "www.example.test")]], fields={"host": "www.example.test"})
same("authority-in-capitals", [request("%P", authority="WWW.EXAMPLE.TEST")], fields={"host": "www.example.test"})
same("a-request-inside-data", [post(), data(1, HIDDEN.encode())], "POST", body=HIDDEN, fields={"transfer-encoding": "chunked"}, absent=["content-length"])
same("a-request-inside-a-length", [post([("content-length", str(len(HIDDEN)))]), data(1, HIDDEN.encode())], "POST", body=HIDDEN, fields={"content-length": str(len(HIDDEN))}, absent=["transfer-encoding"])
same("chunks-inside-data", [post(), data(1, b"0\r\n\r\n" + HIDDEN.encode())], "POST", body="0\r\n\r\n" + HIDDEN)
same("a-body-of-get", [post(method="GET"), data(1, HIDDEN.encode())], "GET", body=HIDDEN)
same("a-body-of-options", [post(method="OPTIONS"), data(1, HIDDEN.encode())], "OPTIONS", body=HIDDEN)
same("empty-data", [post(), data(1, b"", False), data(1, b"")], "POST")
same("padded-data", [post([("content-length", "5")]), frame(DATA, END_STREAM | PADDED, 1, b"\x02hello\0\0")], "POST", body="hello")
same("length-with-zeros", [post([("content-length", "0005")]), data(1, b"hello")], "POST", body="hello", fields={"content-length": "5"})
same("te-trailers", [[*good, ("te", "trailers")]], fields={"te": "trailers", "connection": "te"})
same("cookie-crumbs", [[*good, ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e=f")]], fields={"cookie": "a=b; c=d; e=f", "x": "y"})
same("spoofed-forwarding", [[*good, ("x-forwarded-for", "6.6.6.6"), ("x_forwarded_for", "6.6.6.6"), ("x-real-ip", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("x-envoy-internal", "true")]],
     fields={"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https"}, absent=["x_forwarded_for", "x-real-ip", "forwarded", "x-envoy-internal"])
same("settings-of-an-upgrade", [[*good, ("http2-settings", "AAMAAABk")]], absent=["http2-settings"])
same("a-head-in-pieces", [lambda path: in_pieces(block(request(path)))])
same("two-slashes", [request("//%P")], target="//%P")
same("escapes-stay", [request("%P/%2f%0d%0a%00")], target="%P/%2f%0d%0a%00")
same("dot-segments", [request("/x/../%2e/x/%2E%2e%P")])
same("a-method-in-small-letters", [request("%P", method="get")], "get")
same("obsolete-text", [[*good, ("x-t", "caf\xe9")]], fields={"x-t": "caf\xe9"})
same("an-empty-value", [[*good, ("x-t", "")]], fields={"x-t": ""})
same("trailers", [post([("te", "trailers")]), data(1, b"hello", False), headers(1, [("x-t", "y"), ("authorization", "z"), ("x-forwarded-for", "6.6.6.6")])], "POST",
     body="hello", absent=["x-t", "authorization"])


def test_the_tables_are_as_long_as_promised():
    assert len(FORBIDDEN) + len(LIES) + len(SAME) >= 200


# ---- the judge --------------------------------------------------------------------------------

def fill(fields, path):
    return [(name, value.replace("%P", path)) for name, value in fields]


def hidden_stayed_hidden(edge):
    seen = [request for request in edge.h1.requests if request.path == "/hidden"]
    for request in seen:
        edge.h1.requests.remove(request)
    assert not seen


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden(edge, name):
    fields, verdict = FORBIDDEN[name]
    path = f"/forbidden/{name.replace(':', '-')}"
    with FrameClient(edge.daemon.https) as client:
        client.send(headers(1, fill(fields, path)))
        status = client.wait(1)
        if verdict == "reset":
            assert (status, client.resets.get(1)) == (None, PROTOCOL_ERROR)
        else:
            assert status == verdict
        client.send(headers(3, request(f"/behind{path}")))  # HPACK is in step, the connection goes on.
        assert client.wait(3) == 200 and client.goaway is None
    assert all(path.encode() not in connection.received.replace(f"/behind{path}".encode(), b"") for connection in edge.h1.connections)
    hidden_stayed_hidden(edge)


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_never_whole(edge, name):
    more, rest = LIES[name]
    path = f"/lie/{name}"
    with FrameClient(edge.daemon.https) as client:
        client.send(headers(1, request(path, "POST", more), False))
        seen = edge.h1.request(path)
        client.send(*rest)
        client.wait(1)
        assert client.status(1) is None
        assert client.resets.get(1) == PROTOCOL_ERROR or client.goaway == PROTOCOL_ERROR
    wait_until(lambda: seen.connection.sock.fileno() < 0, 10, "the end of the backend connection")
    assert not hasattr(seen, "is_whole")
    length = seen.all("content-length")
    assert not length or len(seen.connection.received.rpartition(b"\r\n\r\n")[2]) <= int(length[0])
    hidden_stayed_hidden(edge)


@pytest.mark.parametrize("name", SAME)
def test_the_same(edge, name):
    message, method, target, body, fields, absent = SAME[name]
    path = f"/same/{name}"
    with FrameClient(edge.daemon.https) as client:
        first, *rest = message
        first = first(path) if callable(first) else headers(1, fill(first, path), not rest)
        client.send(first, *rest, headers(3, request(f"/behind/{name}")))
        assert (client.wait(1), client.wait(3)) == (200, 200)
    seen, = [r for r in edge.h1.requests if r.target == target.replace("%P", path)]
    assert (seen.method, seen.body) == (method, body.encode())
    assert edge.h1.request(f"/behind/{name}").body == b""
    assert len(seen.all("content-length")) + len(seen.all("transfer-encoding")) <= 1
    assert seen.trailers == ([("x-t", "y")] if name == "trailers" else [])
    for field, value in fields.items():
        assert seen[field] == value
    assert not [field for field in absent if seen.all(field)]
    hidden_stayed_hidden(edge)
