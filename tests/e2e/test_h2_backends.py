"""Backends of HTTP/2: how many streams they take, GOAWAY by the book, PING and age, nghttpd."""
import shutil
import struct
import subprocess
import threading
import time

import h2.events
import h2.settings
import pytest

from backends import H2Backend, Server, answer, h2_ok
from clients import H2Client
from gatehouse import Process, accepts, free_ports, make_certificate, wait_until
from h2frames import FrameClient, headers, request, settings

MAX_STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
NO_ERROR, REFUSED, CANCEL = 0, 7, 8


def starts(start_edge, backend, **options):
    """A daemon before that backend at /b."""
    return start_edge(backends={"b": {"endpoints": [backend.url], "protocol": "h2", **options}})


def hold(backend, path):
    """Requests for that path wait until the returned event is set."""
    release = threading.Event()

    def at_head(stream):
        def answer():
            release.wait(20)
            if stream.reset_code is None and not stream.connection.is_lost:
                h2_ok()(stream)
        threading.Thread(target=answer, daemon=True).start()
    backend.at_head[path] = at_head
    return release


def goaway(connection, last_stream_id, code=NO_ERROR):
    """By hand: Python's h2 says nothing more behind its own."""
    connection.sock.sendall(struct.pack("!HBBBIII", 0, 8, 7, 0, 0, last_stream_id, code))


# ---- SETTINGS -----------------------------------------------------------------------------------

def test_no_connection_ever_has_more_streams_than_the_backend_allows(start_edge, module_cleanup):
    backend = H2Backend(first_settings={MAX_STREAMS: 3})
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    open_now, most, lock = {}, [], threading.Lock()

    def slow(stream):
        with lock:
            open_now[stream.connection] = open_now.get(stream.connection, 0) + 1
            most.append(open_now[stream.connection])

        def answer():
            time.sleep(0.05)
            with lock:
                open_now[stream.connection] -= 1
                h2_ok(b"fine")(stream)
        threading.Thread(target=answer, daemon=True).start()
    backend.at_head["/b/many"] = slow
    with edge.h2() as client:
        streams = [client.start("GET", "/b/many") for _ in range(60)]
        for stream in streams:
            assert client.wait(stream).body == b"fine"
    assert max(most) == 3
    assert len(backend.streams) == 60, "none was refused and sent again"
    assert 1 < len(backend.connections) <= 60


def test_a_backend_that_takes_no_streams_costs_one_attempt(start_edge, module_cleanup):
    backend = H2Backend(first_settings={MAX_STREAMS: 0})
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend, timeouts={"connect": "1s"})
    with edge.raw() as client:
        assert client.get("/b/none").status == 503
    assert len(backend.connections) <= 2
    assert backend.streams == []


def test_settings_that_change_later_are_obeyed(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    with edge.h2() as client:
        assert client.get("/b/first").status == 200
        connection, = backend.connections
        connection.state.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10,
                                          h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0,
                                          h2.settings.SettingCodes.MAX_FRAME_SIZE: 16500})
        connection.flush()
        wait_until(lambda: connection.state.local_settings.initial_window_size == 10, 10, "the acknowledgement")
        body = b"w" * 5000
        assert client.post("/b/small-window", body).status == 200  # Python's h2 fails on a byte too many.
        assert backend.request("/b/small-window").body == body
    assert not connection.is_lost and len(backend.connections) == 1


# ---- GOAWAY and REFUSED_STREAM ------------------------------------------------------------------

def test_a_graceful_goaway_lets_streams_finish_and_moves_new_ones(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    release = hold(backend, "/b/held")
    with edge.h2() as client:
        held = client.start("GET", "/b/held")
        old = wait_until(lambda: backend.streams, 10, "the request")[0].connection
        goaway(old, 2**31 - 1)
        # Seen when the next request goes elsewhere; every one of them is answered.
        wait_until(lambda: client.get("/b/next").status == 200 and len(backend.connections) == 2, 10, "another connection")
        release.set()
        reply = client.wait(held)
        assert (reply.status, reply.body) == (200, b"ok\n")
    wait_until(lambda: old.is_lost, 10, "the end of the old connection")


def test_streams_above_the_last_id_are_sent_again_and_others_finish(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    served = []

    def script(stream):
        served.append((stream.connection, stream.number))
        if stream.connection is backend.connections[0]:
            if len(served) == 3:  # All are here; only the first was looked at.
                goaway(stream.connection, 1)
                h2_ok(b"old")(stream.connection.streams[1])
        else:
            h2_ok(b"new")(stream)
    backend.on("/b/goaway", script)
    backend.on("/b/goaway-post", script)
    with edge.h2() as client:
        streams = [client.start("GET", "/b/goaway"), client.start("POST", "/b/goaway-post"), client.start("GET", "/b/goaway")]
        assert [client.wait(stream).body for stream in streams] == [b"old", b"new", b"new"]
    assert len(served) == 5


def test_a_refused_stream_is_sent_again(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    seen = []

    def refuse_once(stream):
        seen.append(stream)
        stream.reset(REFUSED) if len(seen) == 1 else h2_ok(b"at last")(stream)
    backend.at_head["/b/refused"] = refuse_once
    with edge.h2() as client:
        assert client.get("/b/refused").body == b"at last"
    assert len(seen) == 2


def test_a_stream_that_was_looked_at_is_not_sent_twice(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    seen = []

    def cancel(stream):
        seen.append(stream)
        stream.reset(CANCEL)
    backend.at_head["/b/cancelled"] = cancel
    with edge.h2() as client:
        assert client.get("/b/cancelled").status == 502
    assert len(seen) == 1
    assert edge.logged("/b/cancelled")["flags"] == "UR"


# ---- interim responses ----------------------------------------------------------------------------

def test_interim_responses_of_http2_backends_reach_both_kinds_of_client(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)

    def hint(stream):
        stream.send([(":status", "103"), ("link", "</a.css>")], end=False)
        h2_ok()(stream)

    def invite(stream):
        assert stream["expect"] == "100-continue"
        stream.send([(":status", "100")], end=False)
    backend.at_head["/b/hints"] = hint
    backend.at_head["/b/continue"] = invite
    backend.at_data["/b/continue"] = lambda stream, data: data and stream.send([(":status", "200")], data)
    with edge.raw() as client:
        got = client.get("/b/hints")
        assert (got.status, got.body, got.interims) == (200, b"ok\n", [(103, [("link", "</a.css>")])])
        client.request("PUT", "/b/continue", "Content-Length: 5\nExpect: 100-continue\n")
        assert client.read_head()[0] == 100
        client.send(b"hello")
        assert client.read().body == b"hello"
    with edge.h2() as client:
        got = client.get("/b/hints")
        assert (got.status, got.body) == (200, b"ok\n")
        assert got.interims == [[(":status", "103"), ("link", "</a.css>")]]
        stream = client.start("PUT", "/b/continue", [("content-length", "5"), ("expect", "100-continue")], end=False)
        client.wait(stream, lambda reply: reply.interims)
        client.send(stream, b"hello")
        assert client.wait(stream).body == b"hello"


def test_interim_responses_have_a_bound(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    edge.h1.on("/interims/16", answer("HTTP/1.1 103 Early Hints\n\n" * 16 + "HTTP/1.1 200 OK\ncontent-length: 3\n", b"ok\n"))
    edge.h1.on("/interims/17", answer("HTTP/1.1 103 Early Hints\n\n" * 17 + "HTTP/1.1 200 OK\ncontent-length: 3\n", b"ok\n"))

    def hints(count):
        def script(stream):
            for _ in range(count):
                if stream.reset_code is None:
                    stream.send([(":status", "103")], end=False)
            if count <= 16:
                h2_ok()(stream)
        return script
    backend.at_head["/b/interims/16"] = hints(16)
    backend.at_head["/b/interims/17"] = hints(17)
    with edge.raw() as client:
        for path in ("/interims/16", "/b/interims/16"):
            got = client.get(path)
            assert (got.status, len(got.interims)) == (200, 16)
        for path in ("/interims/17", "/b/interims/17"):
            got = client.get(path)
            assert got.status == 502
            assert edge.logged(path)["flags"] == "UPE"


# ---- upkeep -------------------------------------------------------------------------------------

class Watched(H2Backend):
    """Notes when PINGs came, and does not answer them when told so."""

    def __init__(self, **options):
        self.pings, self.is_mute = [], False
        super().__init__(**options)

    def serve(self, sock):
        backend = self

        class Mute:
            """A socket whose PING acknowledgements are lost."""

            def __getattr__(self, name):
                return getattr(sock, name)

            def sendall(self, data):
                if not backend.is_mute:
                    sock.sendall(data)
        from backends import H2Connection
        connection = H2Connection(self, Mute())
        on_event = connection.on_event

        def noting(event):
            if isinstance(event, h2.events.PingReceived):
                self.pings.append(time.monotonic())
            on_event(event)
        connection.on_event = noting
        self.connections.append(connection)
        connection.serve()


def test_a_silent_connection_is_pinged_and_lives(start_edge, module_cleanup):
    backend = Watched()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend, http2={"ping": "1s"}, timeouts={"response": "60s", "idle": "90s"})
    release = hold(backend, "/b/pinged")
    with edge.h2() as client:
        stream = client.start("GET", "/b/pinged")
        wait_until(lambda: len(backend.pings) >= 2, 15, "two PINGs with a stream open")
        release.set()
        assert client.wait(stream).status == 200
        before = len(backend.pings)
        wait_until(lambda: len(backend.pings) >= before + 2, 15, "two PINGs while idle")
        assert client.get("/b/after").status == 200
    gaps = [b - a for a, b in zip(backend.pings, backend.pings[1:])]
    assert min(gaps) > 0.9
    assert len(backend.connections) == 1


def test_a_ping_without_an_answer_ends_the_connection(start_edge, module_cleanup):
    backend = Watched()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend, http2={"ping": "1s"})
    release = hold(backend, "/b/mute")
    with edge.h2() as client:
        assert client.get("/b/warm").status == 200
        stream = client.start("GET", "/b/mute")
        wait_until(lambda: any(s.path == "/b/mute" for s in backend.streams), 10, "the request")
        backend.is_mute = True
        assert client.wait(stream).status == 502
        backend.is_mute = False
        assert client.get("/b/other").status == 200
    release.set()
    assert edge.logged("/b/mute")["flags"] == "UC"
    assert "event=backend.ping_unanswered" in edge.daemon.output()


def test_an_old_connection_takes_no_new_streams_and_ends_with_its_last(start_edge, module_cleanup):
    backend = H2Backend()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend, http2={"max_age": "1s"})
    release = hold(backend, "/b/old")
    with edge.h2() as client:
        held = client.start("GET", "/b/old")
        old = wait_until(lambda: backend.streams, 10, "the request")[0].connection
        wait_until(lambda: client.get("/b/young").status == 200 and len(backend.connections) > 1, 10, "a younger connection")
        before = len(old.streams)
        assert client.get("/b/young").status == 200
        assert len(old.streams) == before and not old.is_lost
        release.set()
        assert client.wait(held).status == 200
    wait_until(lambda: old.is_lost, 10, "the end of the old connection")
    wait_until(lambda: all(connection.is_lost for connection in backend.connections), 10, "the end of idle ones, too")


# ---- ALPN, and what does not speak HTTP/2 ---------------------------------------------------------

def test_a_backend_that_does_not_speak_http2_is_a_failed_connect(start_edge, module_cleanup):
    class Http1(Server):
        def serve(self, sock):
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            sock.recv(65536)
    backend = Http1()
    module_cleanup.callback(backend.close)
    edge = starts(start_edge, backend)
    with edge.raw() as client:
        assert client.get("/b/h1").status == 503
    assert edge.logged("/b/h1")["flags"] == "UF"
    wait_until(lambda: "does not speak HTTP/2" in edge.daemon.output(), 10, "the reason in the log")


# ---- nghttpd --------------------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("nghttpd"), reason="nghttpd is missing: tests/packages test")
@pytest.mark.parametrize("tls", [False, True])
def test_nghttpd_serves_many_streams_over_few_connections(start_edge, tmp_path, cleanup, tls):
    certificate, key = make_certificate(tmp_path, ["127.0.0.1", "localhost"])
    port, = free_ports(1)
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "b" / "file").write_bytes(b"n" * 100000)
    arguments = ["nghttpd", "-a", "127.0.0.1", "-d", root, "-m", "20"]
    arguments += [port, key, certificate] if tls else ["--no-tls", port]
    server = Process(arguments, tmp_path / "nghttpd.log")
    cleanup.callback(server.close)
    wait_until(lambda: accepts(port), 10, "nghttpd's start")
    options = ({"endpoints": [f"https://127.0.0.1:{port}"], "protocol": "auto",
                "tls": {"ca_file": certificate}} if tls
               else {"endpoints": [f"http://127.0.0.1:{port}"], "protocol": "h2"})
    edge = start_edge(backends={"b": options})
    with H2Client(edge.daemon.https) as client:
        for _ in range(3):
            streams = [client.start("GET", "/b/file") for _ in range(50)]
            for stream in streams:
                reply = client.wait(stream)
                assert (reply.status, len(reply.body), reply.is_whole) == (200, 100000, True)
        assert client.post("/b/file", b"p" * 300000).status == 200
    connects = [line for line in subprocess.run(["curl", "-s", f"http://127.0.0.1:{edge.daemon.admin}/metrics"], capture_output=True,
                                                text=True, check=True).stdout.splitlines()
                if line.startswith("gatehouse_backend_connects_total")]
    assert float(connects[0].split()[-1]) <= 10, connects


@pytest.mark.skipif(not shutil.which("nghttpd"), reason="nghttpd is missing: tests/packages test")
def test_clients_that_take_nothing_do_not_stop_others_of_the_same_backend_connection(start_edge, tmp_path, cleanup):
    port, = free_ports(1)
    (tmp_path / "root" / "b").mkdir(parents=True)
    (tmp_path / "root" / "b" / "large").write_bytes(b"n" * 2000000)
    server = Process(["nghttpd", "-a", "127.0.0.1", "-d", tmp_path / "root", "--no-tls", port], tmp_path / "nghttpd.log")
    cleanup.callback(server.close)
    wait_until(lambda: accepts(port), 10, "nghttpd's start")
    edge = start_edge(backends={"b": {"endpoints": [f"http://127.0.0.1:{port}"], "protocol": "h2"}}, limits={"stall_timeout": "60s"})
    with FrameClient(edge.daemon.https, first=settings((4, 0))) as stalled, H2Client(edge.daemon.https) as client:
        assert len(client.get("/b/large").body) == 2000000
        wanted = range(1, 80, 2)  # What waits for them is more than the window of a connection used to be.
        stalled.send(*(headers(stream, request("/b/large")) for stream in wanted))
        stalled.until(lambda: all(stream in stalled.heads for stream in wanted))
        time.sleep(0.5)  # The backend sends what it may.
        assert len(client.get("/b/large").body) == 2000000
        assert not stalled.resets
