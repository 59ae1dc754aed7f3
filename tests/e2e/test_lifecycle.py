"""The end of a daemon: SIGTERM drains, what is in flight finishes, what is stuck is cut, twice is at once."""
import re
import select
import signal
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest
from h2.connection import ConnectionInputs, ConnectionState

from gatehouse import accepts, fetch_admin, tls_connect, wait_until

HOST = "www.example.test"


class SlowBackend:
    """Answers /slow when it is told to; everything else at once."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked, self.go = threading.Event(), threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        got = b""
        with peer:
            while True:
                while b"\r\n\r\n" not in got:
                    more = peer.recv(4096)
                    if not more:
                        return
                    got += more
                head, got = got.split(b"\r\n\r\n", 1)
                if b" /slow" in head.split(b"\r\n")[0]:
                    self.asked.set()
                    self.go.wait(60)
                try:
                    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhere\n")
                except OSError:
                    return

    def close(self):
        self.go.set()
        self.listener.close()


@pytest.fixture
def backend(cleanup):
    backend = SlowBackend()
    cleanup.callback(backend.close)
    return backend


@pytest.fixture
def draining(start_daemon, site, backend):
    """A daemon in front of the slow backend."""
    def start(seconds=20):
        certificate, key = site
        return start_daemon({
            "certificates": {"files": {"certificate_file": certificate, "key_file": key}},
            "limits": {"drain_timeout": f"{seconds}s"},
            "vhosts": [{"host": HOST, "certificate": "files", "backend": f"http://127.0.0.1:{backend.port}"}]})
    return start


class Http1:
    """One HTTP/1.1 connection."""

    def __init__(self, port):
        self.socket = tls_connect(port, HOST)

    def ask(self, path):
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())

    def answer(self):
        got = b""
        while not got.endswith(b"here\n"):
            more = self.socket.recv(4096)
            assert more, got
            got += more
        return got.split(b"\r\n\r\n")[0].decode().lower()

    def is_closed(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except (ssl.SSLError, ConnectionError):
            return True


class Http2:
    """One HTTP/2 connection by python3-h2; what it was told is in events."""

    def __init__(self, port):
        self.socket = tls_connect(port, HOST, alpn=("h2",))
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        # python3-h2 takes nothing more after a GOAWAY, though streams may end after it (RFC 9113
        # section 6.8).
        machine, open_ = self.h2.state_machine, ConnectionState.CLIENT_OPEN
        machine._transitions = {**machine._transitions, (open_, ConnectionInputs.RECV_GOAWAY): (None, open_)}
        self.h2.initiate_connection()
        self.events, self.is_over = [], False
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, path):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":authority", HOST),
                                      (":path", path)], end_stream=True)
        self.flush()
        return stream

    def read(self, until, seconds=20):
        """Reads until something was told, or the connection is over."""
        deadline = time.monotonic() + seconds
        while not self.is_over and not any(map(until, self.events)):
            left = deadline - time.monotonic()
            assert left > 0, self.events
            if not self.socket.pending() and not select.select([self.socket], [], [], left)[0]:
                continue
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self.is_over = True
                break
            self.events += self.h2.receive_data(data)
            self.flush()
        return [event for event in self.events if until(event)]


def is_goaway(event):
    return isinstance(event, h2.events.ConnectionTerminated)


def ended(stream):
    return lambda event: isinstance(event, h2.events.StreamEnded) and event.stream_id == stream


def test_sigterm_lets_what_is_in_flight_finish_and_takes_nothing_new(draining, backend):
    daemon = draining()
    idle, busy, two = Http1(daemon.https), Http1(daemon.https), Http2(daemon.https)
    idle.ask("/")
    assert "connection: close" not in idle.answer()
    assert two.read(ended(two.ask("/")))
    busy.ask("/slow")
    stream = two.ask("/slow")
    assert backend.asked.wait(10)
    daemon.signal(signal.SIGTERM)
    assert two.read(is_goaway)[0].error_code == 0
    wait_until(lambda: fetch_admin(daemon.admin, "/readyz") == (503, "draining\n"), 10, "readiness to end")
    assert fetch_admin(daemon.admin, "/livez")[0] == 200
    assert daemon.status()["is_draining"] is True
    wait_until(lambda: not accepts(daemon.https) and not accepts(daemon.http), 10, "the listeners to close")
    assert idle.is_closed(10), "nothing is asked there"
    assert daemon.is_running()
    backend.go.set()
    assert "connection: close" in busy.answer() and busy.is_closed(10)
    assert two.read(ended(stream)), "a stream from before the last GOAWAY is answered"
    assert daemon.child.wait(10) == 0
    assert re.search(r"event=gatehouse\.draining .*connections=\d", daemon.output())
    assert "event=gatehouse.ended" in daemon.output().splitlines()[-1]


def test_goaway_comes_twice_so_that_no_request_in_flight_is_lost(draining, backend):
    daemon = draining()
    two = Http2(daemon.https)
    slow = two.ask("/slow")
    assert backend.asked.wait(10)
    daemon.signal(signal.SIGTERM)
    two.read(is_goaway)
    assert two.events[-1].last_stream_id == 2**31 - 1 or any(
        is_goaway(event) and event.last_stream_id == 2**31 - 1 for event in two.events)
    two.read(lambda event: is_goaway(event) and event.last_stream_id < 2**31 - 1)
    last = [event.last_stream_id for event in two.events if is_goaway(event)]
    assert last == [2**31 - 1, slow]
    backend.go.set()
    assert two.read(ended(slow))
    assert daemon.child.wait(10) == 0


def test_the_deadline_ends_what_is_stuck(draining, backend):
    daemon = draining(seconds=2)
    one, two = Http1(daemon.https), Http2(daemon.https)
    one.ask("/slow")
    two.ask("/slow")
    assert backend.asked.wait(10)
    begun = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.child.wait(15) == 0
    took = time.monotonic() - begun
    assert 1.5 < took < 6, took
    assert one.is_closed(5)


def test_a_second_sigterm_ends_at_once(draining, backend):
    daemon = draining()
    one = Http1(daemon.https)
    one.ask("/slow")
    assert backend.asked.wait(10)
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "event=gatehouse.draining" in daemon.output(), 10, "the drain")
    begun = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.child.wait(5) == 0
    assert time.monotonic() - begun < 2
    assert "event=gatehouse.ended_at_once" in daemon.output()


def test_without_connections_sigterm_and_sigint_end_at_once(draining):
    for number in (signal.SIGTERM, signal.SIGINT):
        daemon = draining()
        begun = time.monotonic()
        daemon.signal(number)
        assert daemon.child.wait(10) == 0
        assert time.monotonic() - begun < 3
