"""Exchanges that end early: a cut body never looks whole, and who goes away cancels the other's work."""
import socket
import threading
import time

import h2.settings
import pytest

from backends import Closed, answer, ok
from clients import RawClient
from gatehouse import wait_until

INTERNAL_ERROR, CANCEL = 2, 8
INITIAL_WINDOW_SIZE = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE


@pytest.fixture(scope="module")
def edge(start_edge):
    return start_edge(limits={"stall_timeout": "1500ms"},
                      routes=[{"match": {"exact": "/respond"}, "respond": {"status": 200, "body": "hello"}}],
                      vhosts=[{"host": "plain.example.test", "http": "serve", "backend": "h1", "certificate": "site"}])


def cut_length(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part")
    return False


def cut_chunks(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\nonly a part\r\n")
    return False


def bad_chunk(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\nonly a part\r\nnonsense\r\n")
    return False


def reset_inside(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part")
    time.sleep(0.1)
    connection.reset()
    return False


def silent_inside(connection, request):
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part")
    connection.is_closed_within(10)
    return False


CUT = {"length": (cut_length, "UC"), "chunks": (cut_chunks, "UC"), "bad-chunk": (bad_chunk, "UPE"), "reset": (reset_inside, "UC"),
       "silent": (silent_inside, "UT")}


@pytest.mark.parametrize("what", CUT)
def test_a_cut_body_never_looks_whole(edge, what):
    script, flags = CUT[what]
    for version in ("h1", "h2"):
        path = f"/quick/cut-{what}-{version}"
        edge.h1.on(path, script)
        client = edge.raw() if version == "h1" else edge.h2()
        with client:
            got = client.get(path)
            if what == "bad-chunk":  # It came with the head, of which nothing had gone out yet.
                assert (got.status, got.is_whole) == (502, True)
            else:
                assert (got.status, got.is_whole) == (200, False)
                assert b"only a part".startswith(got.body)
                assert client.ends() if version == "h1" else got.reset_code == INTERNAL_ERROR
            if version == "h2":
                assert client.get("/after-cut").status == 200  # The connection goes on.
        line = edge.logged(path)
        assert (line["status"], line["flags"]) == (str(got.status), flags)


@pytest.mark.parametrize("tls", [True, False])
def test_a_cut_body_whose_end_is_the_connections_is_broken_off(edge, tls):
    def until_close(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nall there is")
        return False

    for path, script, is_whole in (("/cut-10", cut_chunks, False), ("/whole-10", until_close, True)):
        path = f"{path}-{tls}"
        edge.h1.on(path, script)
        with edge.raw(tls=tls, name="www.example.test" if tls else "plain.example.test") as client:
            client.send(f"GET {path} HTTP/1.0\r\nHost: {'www' if tls else 'plain'}.example.test\r\n\r\n")
            got = client.read()
            assert (got.status, got.is_whole) == (200, is_whole)
            assert got.get("transfer-encoding") is None and got.get("content-length") is None


def test_a_cut_body_of_an_h2c_backend_never_looks_whole(edge):
    def cut(stream):
        stream.send([(":status", "200")], b"only a part", end=False)
        stream.reset(INTERNAL_ERROR)
    edge.h2c.on("/h2c/cut", cut)
    for client in (edge.raw(), edge.h2()):
        with client:
            got = client.get("/h2c/cut")  # A 502 when all of it came in one read.
            assert (got.status, got.is_whole) in ((200, False), (502, True))


def test_a_cut_body_of_a_client_never_looks_whole(edge):
    wholes = []

    def script(connection, request):
        try:
            connection.read_body(request)
            wholes.append(request)
        except Closed:
            pass
        return False
    for path, fields, part in (("/cut-up-length", "Content-Length: 100\n", b"part"),
                               ("/cut-up-chunks", "Transfer-Encoding: chunked\n", b"4\r\npart\r\n")):
        edge.h1.on(path, script)
        with edge.raw() as client:
            client.request("POST", path, fields, part)
            edge.h1.request(path)
        assert edge.logged(path)["flags"] == "DC"
    edge.h1.on("/cut-up-h2", script)
    with edge.h2() as client:
        stream = client.start("POST", "/cut-up-h2", end=False)
        client.send(stream, b"part", end=False)
        edge.h1.request("/cut-up-h2")
        client.state.reset_stream(stream, CANCEL)
        client.flush()
        assert edge.logged("/cut-up-h2")["flags"] == "DC"
    wait_until(lambda: all(c.sock.fileno() < 0 for c in edge.h1.connections if c.requests[-1].path.startswith("/cut-up")), 5,
               "the backends' ends")
    assert wholes == []


# ---- the client goes --------------------------------------------------------------------------

def test_a_client_that_goes_closes_the_backend_connection(edge):
    closed = []

    def work(connection, request):
        closed.append((request.path, connection.is_closed_within(5)))
        return False
    for version in ("h1", "h2", "h2-reset"):
        path = f"/gone-{version}"
        edge.h1.on(path, work)
        client = edge.raw() if version == "h1" else edge.h2()
        with client:
            if version == "h1":
                client.request("GET", path)
            else:
                stream = client.start("GET", path)
            edge.h1.request(path)
            if version == "h2-reset":
                client.state.reset_stream(stream, CANCEL)
                client.flush()
                wait_until(lambda: closed and closed[-1][0] == "/gone-h2-reset", 6, "the end of the backend's work")
                assert client.get("/after-gone").status == 200
        wait_until(lambda: closed and closed[-1][0] == path, 6, "the end of the backend's work")
        assert closed[-1] == (path, True)
        line = edge.logged(path)
        assert (line["status"], line["flags"]) == ("0", "DC")


def test_a_client_that_goes_resets_the_stream_of_an_h2c_backend(edge):
    edge.h2c.on("/h2c/gone", lambda stream: None)
    with edge.h2() as client:
        client.start("GET", "/h2c/gone")
        edge.h2c.request("/h2c/gone")
    wait_until(lambda: edge.h2c.request("/h2c/gone").reset_code == CANCEL, 5, "RST_STREAM")
    with edge.raw() as client:
        assert client.get("/h2c/after-gone").status == 200
    assert len(edge.h2c.connections) == 1  # Only the stream ended.


def test_a_client_that_goes_inside_an_answer_stops_the_backend(edge):
    sent = []

    def endless(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while True:
                connection.send(b"x" * 65536)
                sent.append(65536)
        except OSError:
            sent.append(None)
        return False
    edge.h1.on("/endless", endless)
    with edge.raw() as client:
        client.request("GET", "/endless")
        assert client.read_head()[0] == 200
    wait_until(lambda: sent and sent[-1] is None, 5, "the end of the backend's work")
    assert edge.logged("/endless")["flags"] == "DC"


# ---- the backend goes first -------------------------------------------------------------------

def test_an_early_answer_reaches_the_client_and_stops_its_body(edge):
    def early(connection, request):
        connection.send(b"HTTP/1.1 403 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n")
        connection.is_closed_within(5)
        return False
    edge.h1.on("/early", early)
    with edge.raw() as client:
        client.request("POST", "/early", "Content-Length: 100000000\n", b"x" * 100000)
        got = client.read()
        assert (got.status, got.body, got["connection"]) == (403, b"no\n", "close")
    with edge.h2() as client:
        stream = client.start("POST", "/early", end=False)
        client.send(stream, b"x" * 10000, end=False)
        got = client.wait(stream, lambda reply: reply.reset_code is not None)
        assert (got.status, got.body, got.is_whole, got.reset_code) == (403, b"no\n", True, 0)
        assert client.get("/after-early").status == 200


def test_a_backend_that_takes_nothing_of_a_body_is_504(edge):
    over = threading.Event()

    def never_reads(connection, request):
        over.wait(30)
        return False
    edge.h1.on("/never-reads", never_reads)
    with edge.h2() as client:
        stream = client.start("POST", "/never-reads", end=False)
        client.send(stream, b"x" * 20_000_000, end=False)
        got = client.wait(stream, lambda reply: reply.fields)
        over.set()
        assert got.status == 504
    assert edge.logged("/never-reads")["flags"] == "UT"


# ---- back pressure ----------------------------------------------------------------------------

@pytest.mark.parametrize("version", ["h1", "h2"])
def test_a_slow_reader_does_not_grow_memory_and_holds_the_backend_back(start_edge, version):
    edge = start_edge(limits={"stall_timeout": "30s"})
    sent = [0]

    def huge(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        for _ in range(200):
            connection.send(b"x" * 1_000_000)
            sent[0] += 1_000_000
        return False
    edge.h1.on("/huge", huge)
    with edge.raw() as client:
        assert client.get("/warm").status == 200
    before = edge.daemon.resident_kib()
    client = edge.raw() if version == "h1" else edge.h2(reads_bodies=False)
    with client:
        if version == "h1":
            client.request("GET", "/huge")
        else:
            client.wait(client.start("GET", "/huge"), lambda reply: reply.body)
        time.sleep(2)
        assert sent[0] < 30_000_000  # What the sockets' buffers on the way hold.
        assert edge.daemon.resident_kib() - before < 24 * 1024  # Mostly what AddressSanitizer keeps.
    wait_until(lambda: edge.h1.connections[-1].sock.fileno() < 0, 6, "the end of the backend's work")


def test_a_reader_that_begins_late_gets_the_last_byte(start_edge):
    """Whatever is left of a response when the socket is full: in our buffer, or encrypted behind it."""
    edge = start_edge()
    sizes = range(30_000, 330_000, 10_000)
    clients = []
    for size in sizes:
        edge.h1.on(f"/late-{size}", ok(b"x" * size))
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # Keeps the sender's buffer small, too.
        small.settimeout(20)
        small.connect(("127.0.0.1", edge.daemon.https))
        clients.append(RawClient(edge.daemon.https, over=small))
        clients[-1].request("GET", f"/late-{size}")
    for size in sizes:
        edge.h1.request(f"/late-{size}")
    time.sleep(1)  # Until the sockets are full.
    for size, client in zip(sizes, clients):
        with client:
            assert len(client.read().body) == size


def test_a_reader_that_takes_nothing_is_given_up(edge):
    def huge(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        for _ in range(200):
            connection.send(b"x" * 1_000_000)
        return False
    edge.h1.on("/stalled", huge)
    edge.h1.on("/stalled-h2", huge)
    client = edge.raw()
    with client:
        client.request("GET", "/stalled")
        edge.logged("/stalled")
    with edge.h2(reads_bodies=False, settings={INITIAL_WINDOW_SIZE: 20000}) as client:
        got = client.get("/stalled-h2")
        assert not got.is_whole and got.reset_code == CANCEL
        assert client.get("/after-stalled").status == 200
    assert edge.logged("/stalled-h2")["flags"] == "SI"


@pytest.mark.parametrize("path", ["/h2c/untaken-small", "/h2c/untaken-unknown", "/respond", "/back\\slash"])
def test_a_stream_whose_window_stays_shut_is_given_up(edge, path):
    def respond(length):
        def script(stream):
            length_field = [("content-length", "5")] if length else []
            stream.send([(":status", "200"), *length_field], b"hello")
        return script
    edge.h2c.on("/h2c/untaken-small", respond(True))
    edge.h2c.on("/h2c/untaken-unknown", respond(False))
    # Of gRPC no timer limits the silence: the one for what is ready counts all the same.
    kind = [("content-type", "application/grpc")] if path.startswith("/h2c") else []
    with edge.h2(settings={INITIAL_WINDOW_SIZE: 0}) as client:
        got = client.get(path, kind)
        assert (got.is_whole, got.reset_code) == (False, CANCEL)


def test_a_silent_stream_costs_no_processor_time(edge):
    edge.h2c.at_head["/h2c/silent-stream"] = lambda stream: stream.send([(":status", "200")], b"hello", end=False)
    with edge.h2() as client:
        stream = client.start("POST", "/h2c/silent-stream", [("content-type", "application/grpc")], end=False)
        client.wait(stream, lambda reply: reply.body == b"hello")
        time.sleep(2.5)  # All that is overdue by then is overdue for ever.
        before = edge.daemon.wakeups()
        time.sleep(1)
        assert edge.daemon.wakeups() - before < 30
        client.send(stream, b"bye")
        wait_until(lambda: edge.h2c.request("/h2c/silent-stream").is_whole, 5, "the request's end")
