"""Many connections and many streams at once. `tests/proofs connections` is the full form: 10,000 idle
HTTP/2 connections beside 1,000 streams that all move."""
import resource
import socket
import threading
import time

import pytest

from backends import Closed, Connection, Server
from gatehouse import BINARY, FULL, RELEASE, wait_until
from h2frames import ACK, HEADERS, SETTINGS, FrameClient, data, frame, headers, request, settings, window_update

IDLE, BUSY, SECONDS = (10_000, 1000, 10) if FULL else (400, 200, 2)
EACH = 100  # streams of one connection


class Ticker(Server):
    """HTTP/2 by prior knowledge: every stream gets its bytes whenever it ticks."""

    def __init__(self):
        self.streams = []  # (connection, stream)
        super().__init__()

    def serve(self, sock):
        connection = Connection(self, sock)
        connection.lock = threading.Lock()
        connection.read_exactly(24)
        connection.send(settings((3, 1000)))
        sock.settimeout(None)
        try:
            while True:
                head = connection.read_exactly(9)
                connection.read_exactly(int.from_bytes(head[:3], "big"))
                with connection.lock:
                    if head[3] == SETTINGS and not head[4] & ACK:
                        connection.send(frame(SETTINGS, ACK, 0))
                    if head[3] == HEADERS:
                        stream = int.from_bytes(head[5:], "big")
                        connection.send(headers(stream, [(":status", "200")], False))
                        self.streams.append((connection, stream))
        except Closed:
            pass

    def tick(self, payload, ended=False):
        by_connection = {}
        for connection, stream in list(self.streams):
            by_connection.setdefault(connection, []).append(data(stream, payload, ended))
        for connection, frames in by_connection.items():
            with connection.lock:
                connection.send(b"".join(frames))


def idle_connection(port):
    """One that has made a request over HTTP/2, as a bare descriptor: TLS's memory at this end is freed."""
    client = FrameClient(port)
    client.send(headers(1, request("/own")))
    assert client.wait(1) == 200
    return socket.socket(fileno=client.sock.detach())


def test_many_idle_connections_beside_many_streams(start_edge, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = IDLE if hard == resource.RLIM_INFINITY else min(IDLE, hard - 1000)
    ticker = Ticker()
    edge = start_edge(binary=RELEASE if RELEASE.exists() else BINARY, limits={"idle_timeout": "10m"}, log={"access": {"path": "/dev/null"}},
                      backends={"ticker": {"endpoints": [ticker.url], "protocol": "h2"}}, routes=[{"match": {"exact": "/own"}, "respond": {"status": 200, "body": "own"}}])
    empty = edge.daemon.resident_kib()
    idle = [idle_connection(edge.daemon.https) for _ in range(count)]
    time.sleep(3)  # What is done after some quiet time is done.
    resting = edge.daemon.resident_kib()
    clients = [FrameClient(edge.daemon.https, first=settings((4, 1 << 30))) for _ in range(BUSY // EACH)]
    for client in clients:
        client.send(*(headers(2 * number + 1, request("/ticker")) for number in range(EACH)))
        client.until(lambda: len(client.heads) == EACH)
        assert all(client.status(stream) == 200 for stream in client.heads)
    assert len(ticker.streams) == BUSY
    before, began, ticks = edge.daemon.processor_ns(), time.monotonic(), 0
    while time.monotonic() - began < SECONDS:
        ticker.tick(b"x" * 100)
        ticks += 1
        for client in clients:
            client.until(lambda: all(len(client.bodies.get(2 * number + 1, b"")) == 100 * ticks for number in range(EACH)))
            assert not client.is_closed
            client.send(window_update(0, 100 * EACH))
    processor = edge.daemon.processor_ns() - before
    busy = edge.daemon.resident_kib()
    ticker.tick(b"", ended=True)
    for client in clients:
        client.until(lambda: len(client.ended) == EACH)
        client.sock.close()
    for sock in idle:
        sock.close()
    if FULL:
        with capsys.disabled():
            print(f"\n{count} idle connections: {(resting - empty) / count:.1f} KiB each; {BUSY} streams beside them: {(busy - resting) / BUSY:.1f} KiB each, "
                  f"{ticks * BUSY} frames through in {SECONDS} s at {processor / ticks / BUSY / 1000:.1f} us")
    if RELEASE.exists():
        assert (resting - empty) / count < (32 if FULL else 64)
        assert (busy - resting) / BUSY < 64
    wait_until(lambda: edge.daemon.is_alive(), 5, "an answer of the admin server")
