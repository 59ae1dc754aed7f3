"""Requests ahead of the handshake's end (TLS 1.3's 0-RTT, RFC 8470), sent by openssl s_client."""
import socket
import subprocess
import threading

import h2.config
import h2.connection
import pytest

from backends import answer
from gatehouse import wait_until

APPLICATION_DATA = 23


@pytest.fixture(scope="module")
def edge(start_edge):
    safe = {"match": {"path": "/early"}, "backend": "h1", "early_data": True}
    edge = start_edge(
        routes=[safe], limits={"handshake_timeout": "3s"},
        vhosts=[{"host": "plain.wild.example.test", "certificate": "site", "backend": "h1"}])
    edge.h1.on("/early/no", answer("HTTP/1.1 425 Too Early\ncontent-length: 0\n"))
    return edge


def s_client(edge, port, *words, name="www.example.test", alpn="http/1.1"):
    return subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-alpn", alpn,
                             "-tls1_3", "-quiet", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def take_ticket(edge, directory, **options):
    """A file with a session to come back with."""
    path = directory / "session.pem"
    client = s_client(edge, edge.daemon.https, "-sess_out", str(path), **options)
    try:
        wait_until(lambda: path.exists() and path.read_bytes().endswith(b"-----END SSL SESSION PARAMETERS-----\n"), 20, "a ticket")
    finally:
        client.kill()
        client.communicate()
    return path


def early_bytes_of(session):
    text = subprocess.run(["openssl", "sess_id", "-in", session, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
    return int(text.partition("Max Early Data: ")[2].split()[0])


class Relay:
    """Between the client and the daemon. The first flight, early data and all, goes through in one piece; what the
    client says then, the end of its handshake, waits until open() is called."""

    def __init__(self, port):
        self.port_behind, self.gate, self.flight = port, threading.Event(), b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def open(self):
        self.gate.set()

    def close(self):
        self.open()
        self.listener.close()

    def run(self):
        client, _ = self.listener.accept()
        with client, socket.create_connection(("127.0.0.1", self.port_behind)) as daemon:
            threading.Thread(target=self.pump, args=(daemon, client), daemon=True).start()
            flight = b""
            while not holds_application_data(flight):
                flight += client.recv(65536)
            self.flight = flight
            daemon.sendall(flight)
            self.gate.wait(30)
            self.pump(client, daemon)

    @staticmethod
    def pump(source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def holds_application_data(records):
    """Whether a whole record of it is there."""
    at = 0
    while len(records) >= at + 5:
        size = int.from_bytes(records[at + 3:at + 5], "big")
        if records[at] == APPLICATION_DATA and len(records) >= at + 5 + size:
            return True
        at += 5 + size
    return False


class Early:
    """A client that comes back with `request` as early data, through a relay that holds its handshake open."""

    def __init__(self, edge, directory, request, **options):
        self.edge = edge
        self.relay = Relay(edge.daemon.https)
        session = take_ticket(edge, directory, **options)
        assert early_bytes_of(session) == 16384
        (directory / "early.bin").write_bytes(request)
        self.client = s_client(edge, self.relay.port, "-sess_in", str(session), "-early_data", str(directory / "early.bin"), **options)
        self.output = b""

    def read_until(self, text):
        while text not in self.output:
            piece = self.client.stdout.read1(65536)
            assert piece, self.output
            self.output += piece

    def close(self):
        self.relay.close()
        self.client.kill()
        self.client.communicate()


@pytest.fixture
def come_back(edge, tmp_path, cleanup):
    def start(request, **options):
        early = Early(edge, tmp_path, request, **options)
        cleanup.callback(early.close)
        return early
    return start


def request(path, method="GET", fields="", body=""):
    return f"{method} {path} HTTP/1.1\r\nHost: www.example.test\r\n{fields}\r\n{body}".encode()


def pass_by(edge, path):
    """Another visitor's request, so that what could have been done by now is done."""
    with edge.raw() as client:
        client.request("GET", path)
        assert client.read().status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_safe_request_is_answered_before_the_handshakes_end(edge, come_back, method):
    path = f"/early/{method}"
    early = come_back(request(path, method, "Connection: close\r\n"))
    assert edge.h1.request(path)["early-data"] == "1"
    early.read_until(b"HTTP/1.1 200 OK\r\n")
    early.relay.open()
    early.client.wait(20)
    assert edge.h1.count(path) == 1


def test_a_request_of_http2_goes_early(edge, come_back):
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    state.initiate_connection()
    state.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "www.example.test"), (":path", "/early/h2")], end_stream=True)
    early = come_back(state.data_to_send(), alpn="h2")
    assert edge.h1.request("/early/h2")["early-data"] == "1"
    early.read_until(b"ok\n")


@pytest.mark.parametrize("path, words", [
    ("/early/post", {"method": "POST", "fields": "Content-Length: 5\r\n", "body": "hello"}),
    ("/early/get-with-body", {"fields": "Content-Length: 5\r\n", "body": "hello"}),
    ("/early/delete", {"method": "DELETE"}),
    ("/elsewhere/get", {})])
def test_anything_else_waits_for_the_handshakes_end(edge, come_back, path, words):
    early = come_back(request(path, **words))
    wait_until(lambda: early.relay.flight, 20, "the first flight")
    pass_by(edge, f"{path}/marker")
    assert edge.h1.count(path) == 0
    early.relay.open()
    early.read_until(b"HTTP/1.1 200 OK\r\n")
    came = edge.h1.request(path)
    assert came.all("early-data") == [] and came.body == words.get("body", "").encode()


def test_who_never_ends_the_handshake_has_done_nothing(edge, come_back):
    come_back(request("/elsewhere/never")).client.wait(20)
    assert edge.h1.count("/elsewhere/never") == 0


def test_a_backend_may_say_that_it_is_too_early(come_back):
    early = come_back(request("/early/no"))
    early.read_until(b"HTTP/1.1 425 ")


def test_a_repeated_flight_is_served_once(edge, come_back):
    early = come_back(request("/early/once"))
    early.read_until(b"HTTP/1.1 200 OK\r\n")
    for turn in range(3):
        with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=20) as again:
            again.sendall(early.relay.flight)
            assert again.recv(5)[0] == 22  # A ServerHello: the handshake would go on, without early data.
            pass_by(edge, f"/early/once/marker-{turn}")
    assert edge.h1.count("/early/once") == 1


def test_tickets_of_other_sites_take_no_early_data(edge, tmp_path):
    assert early_bytes_of(take_ticket(edge, tmp_path, name="plain.wild.example.test")) == 0
