"""WebSocket through the daemon: HTTP/1.1 and extended CONNECT on either side, credit, ends, refusals."""
import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess

import h2.settings
import pytest

websockets = pytest.importorskip("websockets", reason="python3-websockets is missing: tests/packages test")

from backends import H2Backend, RawBackend, ok  # noqa: E402
from clients import chromium  # noqa: E402
from gatehouse import fetch_admin, make_certificate, wait_until  # noqa: E402
from websocket_peers import (BINARY, CLOSE, TEXT, WebSocketServer, accept_of, connect, frame,  # noqa: E402
                             take_frame)

CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
PLAIN = "plain.wild.example.test"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = f"Connection: keep-alive, Upgrade\nUpgrade: WebSocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\n"
GRANT = ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Accept: %s\r\nX-From: backend\r\n\r\n")


@pytest.fixture(scope="module")
def edge(start_edge, module_cleanup):
    server = WebSocketServer()
    module_cleanup.callback(server.close)
    h2_backend = H2Backend(first_settings={CONNECT_PROTOCOL: 1})
    module_cleanup.callback(h2_backend.close)
    made = start_edge(
        limits={"stall_timeout": "2s", "body_bytes": 1000},
        vhosts=[{"host": PLAIN, "certificate": "site", "http": "serve", "backend": "h1"}],
        backends={"ws": {"endpoints": [server.url]}, "h2ws": {"endpoints": [h2_backend.url], "protocol": "h2"}},
        routes=[{"match": {"path": "/no-upgrade"}, "backend": "h1", "upgrade": "off"},
                {"match": {"path": "/got", "methods": ["GET"]}, "backend": "h1"},
                {"match": {"path": "/got"}, "respond": {"status": 405, "body": "no GET"}},
                {"match": {"path": "/own"}, "respond": {"status": 200, "body": "own"}}])
    made.server, made.h2ws = server, h2_backend
    return made


def grant(connection, request):
    connection.send((GRANT % accept_of(request["sec-websocket-key"])).encode())


def echo(connection, request):
    """Grants the upgrade, and sends the tunnel's bytes back until their end."""
    grant(connection, request)
    if connection.buffer:
        connection.send(bytes(connection.buffer))
    while piece := connection.sock.recv(65536):
        connection.send(piece)
    connection.sock.shutdown(socket.SHUT_WR)
    return False


def extended_connect(client, path, fields=()):
    return client.start("CONNECT", path, [(":protocol", "websocket"), ("sec-websocket-version", "13"),
                                          ("origin", "https://www.example.test"), *fields], end=False)


def send_bytes(client, stream, data, end=False):
    client.send(stream, data, end=end)


# ---- Python's websockets at both ends ---------------------------------------------------------

def test_messages_of_all_kinds_come_back(edge):
    async def talk():
        async with connect(edge.daemon.https, "/ws/talk", subprotocols=None) as peer:
            await peer.send("text with \u20ac")
            assert await peer.recv() == "text with \u20ac"
            for size in (0, 1, 125, 126, 65535, 65536, 300000):
                message = os.urandom(size)
                await peer.send(message)
                assert await peer.recv() == message
            await asyncio.wait_for(await peer.ping(b"are you there"), 10)
        return peer.close_code
    assert asyncio.run(talk()) == 1000
    line = edge.logged("/ws/talk")
    assert (line["method"], line["protocol"], line["status"], line["flags"]) == ("GET", "HTTP/1.1", "101", "-")
    assert int(line["bytes_in"]) > 400000 and int(line["bytes_out"]) > 100
    wait_until(lambda: edge.server.closed_with.get("/ws/talk") == 1000, 10, "the server's close")


def test_fragments_stay_fragments(edge):
    async def talk():
        async with connect(edge.daemon.https, "/ws/fragments", compression=None) as peer:
            await peer.send([b"one ", b"two ", b"three"])
            return await peer.recv()
    assert asyncio.run(talk()) == b"one two three"


def test_compression_is_negotiated_end_to_end(edge):
    message = "compress me " * 10000

    async def talk():
        async with connect(edge.daemon.https, "/ws/deflate", compression="deflate") as peer:
            await peer.send(message)
            return await peer.recv()
    assert asyncio.run(talk()) == message
    assert edge.server.extensions["/ws/deflate"] == ["permessage-deflate"]
    assert int(edge.logged("/ws/deflate")["bytes_in"]) < 5000


def test_a_message_of_64_mib_goes_both_ways(edge):
    message = os.urandom(1 << 20) * 64

    async def talk():
        async with connect(edge.daemon.https, "/ws/large", compression=None, ping_interval=None) as peer:
            await peer.send(message)
            return await peer.recv() == message
    assert asyncio.run(talk())


def test_close_codes_come_through_from_either_side(edge):
    async def server_closes():
        async with connect(edge.daemon.https, "/ws/close") as peer:
            with pytest.raises(websockets.ConnectionClosed):
                await peer.recv()
            return peer.close_code, peer.close_reason

    async def client_closes():
        async with connect(edge.daemon.https, "/ws/client-closes") as peer:
            await peer.close(3456, "bye")
    assert asyncio.run(server_closes()) == (4321, "enough")
    asyncio.run(client_closes())
    wait_until(lambda: edge.server.closed_with.get("/ws/client-closes") == 3456, 10, "the server's view")


# What it hears, and its close, the page tells the backend.
PAGE = """<!doctype html><title>WebSocket</title><script>
const heard = [], socket = new WebSocket(`wss://${location.host}/ws/chromium-` + location.hash.slice(1));
socket.binaryType = 'arraybuffer';
socket.onopen = () => socket.send('text with \\u20ac');
socket.onmessage = event => {
  heard.push(typeof event.data == 'string' ? event.data : event.data.byteLength);
  if (heard.length == 1) socket.send(new Uint8Array(1000000));
  else socket.close(4002, 'seen enough');
};
socket.onclose = event => fetch('/heard' + location.hash.slice(1), {method: 'POST', body: `${heard.join()} ${event.code} ${event.wasClean}`});
</script>"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is missing: apt-get install chromium")
@pytest.mark.parametrize("protocol, options, status", [("HTTP/1.1", ["--disable-http2"], "101"), ("HTTP/2", [], "200")])
def test_chromium_talks_over_either_protocol(edge, tmp_path, protocol, options, status):
    name = protocol[5]
    edge.h1.on("/chromium", ok(PAGE.encode()))
    browser = subprocess.Popen(chromium(tmp_path, edge.url(f"/chromium#{name}"), "--remote-debugging-port=0", *options),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        report = wait_until(lambda: edge.h1.count(f"/heard{name}") and edge.h1.request(f"/heard{name}").body, 90, "the page's report")
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
    assert report.decode() == "text with \u20ac,1000000 4002 true"
    wait_until(lambda: edge.server.closed_with.get(f"/ws/chromium-{name}") == 4002, 10, "the server's close")
    line = edge.logged(f"/ws/chromium-{name}")
    assert (line["method"], line["protocol"], line["status"], line["flags"]) == ("GET", protocol, status, "-")
    assert "Chrome" in line["agent"]


# ---- HTTP/1.1 on both sides, byte for byte ----------------------------------------------------

def test_the_handshake_is_passed_on_and_bytes_behind_it_are_the_tunnels(edge):
    edge.h1.on("/raw", echo)
    with edge.raw() as client:
        client.request("GET", "/raw", ASK + "Sec-WebSocket-Protocol: chat\nCookie: a=1\n", b"behind the head")
        status, fields = client.read_head()
        named = dict(fields)
        assert status == 101
        assert (named["upgrade"], named["connection"]) == ("websocket", "upgrade")
        assert (named["sec-websocket-accept"], named["x-from"]) == (accept_of(KEY), "backend")
        assert "content-length" not in named and "transfer-encoding" not in named
        assert client._exactly(15) == b"behind the head"
        client.send(b"\0\xff" * 50000)
        assert client._exactly(100000) == b"\0\xff" * 50000
    seen = edge.h1.request("/raw")
    assert (seen["upgrade"], seen["connection"], seen["sec-websocket-key"]) == ("websocket", "upgrade", KEY)
    assert (seen["sec-websocket-protocol"], seen["cookie"], seen["via"]) == ("chat", "a=1", "1.1 gatehouse")
    assert seen.all("content-length") == [] and seen.all("transfer-encoding") == []


def test_the_clients_end_leaves_the_backend_its_say(edge):
    def last_word(connection, request):
        grant(connection, request)
        heard = connection.buffer
        while piece := connection.sock.recv(65536):
            heard += piece
        connection.send(b"heard %d" % len(heard))
        return False
    edge.h1.on("/half", last_word)
    with edge.raw(tls=False) as client:  # Python cannot read behind its own close_notify.
        client.request("GET", "/half", ASK, host=PLAIN)
        assert client.read_head()[0] == 101
        client.send(b"x" * 200000)
        client.sock.shutdown(socket.SHUT_WR)
        assert client._exactly(12) == b"heard 200000"
        assert client.ends()
    line = edge.logged("/half")
    assert (line["status"], line["bytes_in"], line["bytes_out"]) == ("101", "200000", "12")



def test_the_backends_end_leaves_the_client_its_say(edge):
    heard = []

    def end_first(connection, request):
        grant(connection, request)
        connection.send(b"last words")
        connection.sock.shutdown(socket.SHUT_WR)
        while piece := connection.sock.recv(65536):
            heard.append(piece)
        heard.append(b"end")
        return False
    edge.h1.on("/half-back", end_first)
    with edge.raw(tls=False) as client:
        client.request("GET", "/half-back", ASK, host=PLAIN)
        assert client.read_head()[0] == 101
        assert client._exactly(10) == b"last words"
        client.send(b"but I have more to say")
        wait_until(lambda: b"".join(heard).startswith(b"but I have more to say"), 10, "the client's bytes")
    wait_until(lambda: heard[-1:] == [b"end"], 10, "the client's end")
    assert edge.logged("/half-back")["flags"] == "-"


def test_a_side_that_stays_alone_is_cut(edge):
    def end_and_wait(connection, request):
        grant(connection, request)
        connection.sock.shutdown(socket.SHUT_WR)
        assert connection.is_closed_within(15)
        return False
    edge.h1.on("/alone", end_and_wait)
    with edge.raw() as client:
        client.request("GET", "/alone", ASK)
        assert client.read_head()[0] == 101
        assert client.ends()
        assert edge.logged("/alone")["status"] == "101"  # Comes although the client keeps its side open.


def test_a_refusal_of_the_backend_is_an_ordinary_answer(edge):
    edge.h1.on("/refuses", lambda connection, request: ok(b"not here")(connection, request))
    with edge.raw() as client:
        for _ in range(2):
            got = client.get("/refuses", ASK)
            assert (got.status, got.body, got.get("upgrade")) == (200, b"not here", None)
    assert edge.h1.count("/refuses") == 2


def test_a_101_without_the_right_proof_is_malformed(edge):
    def wrong(connection, request):
        connection.send((GRANT % accept_of("another key")).encode() + b"secrets")
        return False
    edge.h1.on("/wrong-accept", wrong)
    with edge.raw() as client:
        got = client.get("/wrong-accept", ASK)
        assert got.status == 502 and b"secrets" not in got.body
    line = edge.logged("/wrong-accept")
    assert (line["status"], line["flags"]) == ("502", "UPE")


def test_only_a_websocket_without_a_body_is_asked_for(edge):
    edge.h1.on("/h2c-upgrade", ok(b"plain"))
    with edge.raw() as client:
        got = client.get("/h2c-upgrade", "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk\n")
        assert (got.status, got.body) == (200, b"plain")
        assert client.get("/no-upgrade/x", ASK).status == 403
        assert client.get("/no-upgrade/y").status == 200
        got = client.get("/with-body", ASK + "Content-Length: 4\n", body=b"GET ")
        assert got.status == 400
        assert client.ends()
    seen = edge.h1.request("/h2c-upgrade")
    assert seen.all("upgrade") == [] and seen.all("connection") == [] and seen.all("http2-settings") == []
    assert edge.h1.count("/no-upgrade/x") == edge.h1.count("/with-body") == 0


def test_a_backend_that_is_lost_ends_the_tunnel_behind_its_last_bytes(edge):
    def lost(connection, request):
        grant(connection, request)
        connection.send(b"almost")
        connection.read_exactly(3)
        connection.reset()
        return False
    edge.h1.on("/lost", lost)
    with edge.raw() as client:
        client.request("GET", "/lost", ASK)
        assert client.read_head()[0] == 101
        assert client._exactly(6) == b"almost"
        client.send(b"now")
        assert client.ends()
    assert edge.logged("/lost")["flags"] == "UC"


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_client_that_takes_nothing_stops_the_backend_and_is_cut(edge, protocol):
    sent = []

    def flood(connection, request):
        grant(connection, request)
        try:
            for _ in range(200):
                connection.send(b"z" * 1000000)
                sent.append(1000000)
        except OSError:
            pass
        return False
    path = f"/flood-{protocol}"
    edge.h1.on(path, flood)
    if protocol == "h1":
        with edge.raw() as client:
            client.request("GET", path, ASK)
            assert client.read_head()[0] == 101
            line = edge.logged(path)
    else:
        with edge.h2(reads_bodies=False) as client:
            stream = extended_connect(client, path)
            client.wait(stream)
            assert client.replies[stream].reset_code is not None
            line = edge.logged(path)
            assert line["flags"] == "SI"
    assert line["status"] in ("101", "200")
    assert sum(sent) < 100 * 1000000


# ---- extended CONNECT -------------------------------------------------------------------------

def test_http2_clients_reach_backends_of_http11(edge):
    edge.h1.on("/ec", echo)
    with edge.h2() as client:
        client.wait(client.start("GET", "/before"))
        assert client.state.remote_settings.get(CONNECT_PROTOCOL) == 1
        stream = extended_connect(client, "/ec?x=1", [("sec-websocket-protocol", "chat"), ("cookie", "a=1"), ("cookie", "b=2")])
        reply = client.wait(stream, lambda reply: reply.fields)
        assert reply.status == 200
        assert reply["x-from"] == "backend"
        assert not {"sec-websocket-accept", "upgrade", "connection", "content-length"} & dict(reply.fields).keys()
        send_bytes(client, stream, frame(TEXT, b"hello"))
        client.wait(stream, lambda reply: len(reply.body) >= 11)
        assert client.get("/beside").status == 200  # The connection carries other streams.
        send_bytes(client, stream, frame(CLOSE, b"\x03\xe8"), end=True)
        client.wait(stream)
        assert reply.is_whole and reply.reset_code in (None, 0)
    seen = [r for r in edge.h1.requests if r.path == "/ec"][0]
    assert (seen.method, seen.target, seen["upgrade"], seen["connection"]) == ("GET", "/ec?x=1", "websocket", "upgrade")
    assert (seen["host"], seen["sec-websocket-version"], seen["sec-websocket-protocol"]) == ("www.example.test", "13", "chat")
    assert seen["cookie"] == "a=1; b=2"
    assert len(seen["sec-websocket-key"]) == 24
    line = edge.logged("/ec?x=1")
    assert (line["method"], line["protocol"], line["status"], line["flags"]) == ("GET", "HTTP/2", "200", "-")
    assert (line["bytes_in"], line["bytes_out"]) == ("19", "19")


def test_a_route_for_get_takes_a_websocket_however_it_is_asked_for(edge):
    edge.h1.on("/got/h1", echo)
    edge.h1.on("/got/h2", echo)
    with edge.raw() as client:
        assert client.get("/got/posted", method="POST", fields="Content-Length: 0\n").status == 405
        client.request("GET", "/got/h1", ASK)
        assert client.read_head()[0] == 101
    with edge.h2() as client:
        stream = extended_connect(client, "/got/h2")
        assert client.wait(stream, lambda reply: reply.fields).status == 200
        send_bytes(client, stream, b"hello", end=True)
        assert client.wait(stream).body == b"hello"
    assert edge.h1.request("/got/h2").method == "GET"


def test_http2_clients_talk_to_pythons_websockets(edge):
    with edge.h2() as client:
        stream = extended_connect(client, "/ws/from-h2")
        reply = client.wait(stream, lambda reply: reply.fields)
        assert reply.status == 200
        message = os.urandom(3_000_000)
        send_bytes(client, stream, frame(BINARY, message))
        client.wait(stream, lambda reply: len(reply.body) >= len(message) + 10)
        assert take_frame(reply.body) == (BINARY, message, b"")
        send_bytes(client, stream, frame(CLOSE, b"\x0f\xa0done"))
        client.wait(stream)
        assert reply.body.endswith(b"\x88\x06\x0f\xa0done")
    wait_until(lambda: edge.server.closed_with.get("/ws/from-h2") == 4000, 10, "the server's close")


def on_h2(edge, path, refuse=None):
    """Makes the HTTP/2 backend grant extended CONNECT at a path and send back what comes."""
    def at_head(stream):
        if refuse:
            return stream.send([(":status", refuse), ("content-length", "2")], b"no")
        stream.send([(":status", "200"), ("x-from", "h2")], end=False)
    edge.h2ws.at_head[path] = at_head
    edge.h2ws.at_data[path] = lambda stream, data: data and stream.send(body=data, end=data.endswith(b"end"))


def test_http11_clients_reach_backends_of_http2(edge):
    on_h2(edge, "/h2ws/a")
    with edge.raw() as client:
        client.request("GET", "/h2ws/a", ASK)
        status, fields = client.read_head()
        named = dict(fields)
        assert (status, named["upgrade"], named["sec-websocket-accept"]) == (101, "websocket", accept_of(KEY))
        client.send(b"bytes " * 50000)
        assert client._exactly(300000) == b"bytes " * 50000
        client.send(b"end")
        assert client._exactly(3) == b"end"
        assert client.ends()
        client.sock.unwrap()
    seen = edge.h2ws.request("/h2ws/a")
    assert (seen[":method"], seen[":protocol"], seen[":scheme"]) == ("CONNECT", "websocket", "http")
    assert seen["sec-websocket-version"] == "13"
    assert not {"sec-websocket-key", "upgrade", "connection", "content-length"} & dict(seen.fields).keys()
    wait_until(lambda: seen.is_whole or seen.reset_code is not None, 10, "the end at the backend")
    assert seen.is_whole and seen.reset_code is None


def test_http2_clients_reach_backends_of_http2(edge):
    on_h2(edge, "/h2ws/b")
    with edge.h2() as client:
        stream = extended_connect(client, "/h2ws/b")
        reply = client.wait(stream, lambda reply: reply.fields)
        assert (reply.status, reply["x-from"]) == (200, "h2")
        send_bytes(client, stream, b"x" * 100000)
        client.wait(stream, lambda reply: len(reply.body) == 100000)
        send_bytes(client, stream, b"end", end=True)
        client.wait(stream)
        assert reply.is_whole and reply.body.endswith(b"xend")
    assert edge.logged("/h2ws/b")["status"] == "200"


def test_a_refusal_of_an_http2_backend_is_an_ordinary_answer(edge):
    on_h2(edge, "/h2ws/refused", refuse="403")
    with edge.raw() as client:
        got = client.get("/h2ws/refused", ASK)
        assert (got.status, got.body, got.get("upgrade")) == (403, b"no", None)
    with edge.h2() as client:
        reply = client.wait(extended_connect(client, "/h2ws/refused"))
        assert (reply.status, reply.body) == (403, b"no")


def test_a_backend_of_http2_without_extended_connect_is_no_way(edge):
    with edge.raw() as client:
        assert client.get("/h2c/no-connect", ASK).status == 502
        assert client.get("/h2c/ordinary").status == 200
    line = edge.logged("/h2c/no-connect")
    assert (line["status"], line["flags"]) == ("502", "UPE")


def test_with_alpn_an_upgrade_has_a_connection_of_http11(start_edge, cleanup, tmp_path):
    certificate, key = make_certificate(tmp_path, ["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2", "http/1.1"])

    class Both(RawBackend):
        def serve(self, sock):
            (h2_side.serve if sock.selected_alpn_protocol() == "h2" else super().serve)(sock)
    h2_side = H2Backend()
    cleanup.callback(h2_side.close)
    backend = Both(tls=context)
    cleanup.callback(backend.close)
    edge = start_edge(backends={"both": {"endpoints": [backend.url], "tls": {"ca_file": str(certificate)}}})
    backend.on("/both/ws", echo)
    backend.on("/both/refuses", ok(b"no"))
    with edge.raw() as first, edge.raw() as second:
        assert first.get("/both/plain").status == 200
        for client in (first, second):
            client.request("GET", "/both/ws", ASK)
            assert client.read_head()[0] == 101
            client.send(b"over 1.1")
            assert client._exactly(8) == b"over 1.1"
    with edge.h2() as client:
        stream = extended_connect(client, "/both/ws")
        assert client.wait(stream, lambda reply: reply.fields).status == 200
        assert client.wait(extended_connect(client, "/both/refuses")).status == 502
        assert client.get("/both/plain").status == 200
    assert backend.count("/both/ws") == 3
    assert {s.path for s in h2_side.streams} == {"/both/plain"}


def test_no_2xx_but_a_granted_one_reaches_an_extended_connect(edge):
    edge.h1.on("/says-200", ok(b"a page"))
    with edge.h2() as client:
        reply = client.wait(extended_connect(client, "/says-200"))
        assert reply.status == 502 and b"page" not in reply.body
        assert client.wait(extended_connect(client, "/own")).status == 403
        assert client.wait(extended_connect(client, "/no-upgrade/h2")).status == 403


def test_connect_without_a_known_protocol_is_not_implemented(edge):
    with edge.h2() as client:
        stream = client.state.get_next_available_stream_id()
        client.wait(client.start("GET", "/before-connect"))
        reply = client.wait(client.start("CONNECT", "/", [(":protocol", "connect-udp")]))
        assert reply.status == 501
        assert stream
    with edge.raw() as client:
        client.send("CONNECT www.example.test:443 HTTP/1.1\r\nHost: www.example.test:443\r\n\r\n")
        assert client.read("CONNECT").status == 501


# ---- the end of the daemon --------------------------------------------------------------------

def test_a_tunnel_is_drained_until_the_deadline_and_logged(start_edge):
    edge = start_edge(limits={"drain_timeout": "3s"})
    edge.h1.on("/drained", echo)
    with edge.raw() as client:
        client.request("GET", "/drained", ASK)
        assert client.read_head()[0] == 101
        edge.daemon.child.terminate()
        wait_until(lambda: fetch_admin(edge.daemon.admin, "/readyz")[0] != 200, 10, "draining")
        client.send(b"still here")
        assert client._exactly(10) == b"still here"
        assert client.ends()
    line = edge.logged("/drained")
    assert (line["status"], line["bytes_in"], line["bytes_out"]) == ("101", "10", "10")
