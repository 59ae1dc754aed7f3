"""When descriptors or memory run short: new work is shed, what runs goes on, and nothing spins."""
import os
import socket
import ssl
import threading
import time

import pytest

from gatehouse import BINARY, RELEASE, fetch_admin, wait_until
from h2frames import ENHANCE_YOUR_CALM, FrameClient, headers, request, settings

DESCRIPTORS = 256


def wrapped(directory, command):
    """A program that is the daemon behind a limit."""
    path = directory / "limited"
    path.write_text(f"#!/bin/sh\n{command} \"$@\"\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def few(start_edge, tmp_path):
    """A daemon with few descriptors that root's rights do not raise either."""
    drop = "setpriv --bounding-set=-sys_resource -- " if os.geteuid() == 0 else ""
    limited = wrapped(tmp_path, f"exec {drop}prlimit --nofile={DESCRIPTORS}:{DESCRIPTORS} {BINARY}")
    edge = start_edge(binary=limited, limits={"idle_timeout": "60s"})
    edge.release = threading.Event()

    def held(connection, got):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        edge.release.wait(60)
        connection.send(b"world")
        return True
    edge.h1.on("/held", held)
    yield edge
    edge.release.set()


def metric(edge, name):
    for line in fetch_admin(edge.daemon.admin, "/metrics")[1].splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def is_open(client):
    """Whether the daemon has not said goodbye to a client that waits for nothing."""
    client.sock.setblocking(False)
    try:
        return bool(client.sock.recv(1))
    except ssl.SSLWantReadError:
        return True
    finally:
        client.sock.settimeout(20)


def test_the_longest_idle_make_room_for_visitors(few):
    with few.raw() as busy:
        busy.request("GET", "/held")
        few.h1.request("/held")
        first = FrameClient(few.daemon.https)
        first.send(headers(1, request("/first")))
        assert first.wait(1) == 200
        idle = []
        for number in range(400):
            idle.append(few.raw())
            assert idle[-1].get(f"/visitor/{number}").status == 200
        kept = sum(is_open(client) for client in idle)
        assert 140 <= kept < 0.9 * (DESCRIPTORS - 48)  # Three quarters of what there is for them: no more are closed than must be.
        assert metric(few, "gatehouse_connections_shed_total") >= 400 - kept
        assert first.wait_closed() == ENHANCE_YOUR_CALM
        assert idle[0].ends() and idle[1].ends()
        assert idle[-1].get("/again").status == 200  # The youngest are kept.
        assert "gatehouse_offences_total{kind=\"protocol_error\"} 0" in fetch_admin(few.daemon.admin, "/metrics")[1]
        before = few.daemon.processor_ns()
        time.sleep(1)
        assert few.daemon.processor_ns() - before < 0.2e9
        few.release.set()
        got = busy.read()
        assert (got.status, got.body, got.is_whole) == (200, b"helloworld", True)
    for client in idle:
        client.sock.close()
    wait_until(lambda: metric(few, "gatehouse_overload") == 0, 10, "the end of the pressure")


def test_requests_that_do_not_fit_are_503_and_those_that_run_go_on(few):
    clients = [FrameClient(few.daemon.https) for _ in range(3)]
    running, refused = [], []
    for stream in range(1, 180, 2):
        for client in clients:  # In turn: one that is idle would be closed.
            client.send(headers(stream, request("/held")))
            client.until(lambda: stream in client.heads)
            (running if client.status(stream) == 200 else refused).append((client, stream))
            assert client.status(stream) in (200, 503)
    assert len(running) > 150 and refused
    assert metric(few, "gatehouse_requests_shed_total") == len(refused)
    assert fetch_admin(few.daemon.admin, "/livez")[0] == 200
    # Nobody else is accepted now: he waits in the queue, and is served as soon as there is room.
    with socket.create_connection(("127.0.0.1", few.daemon.https), timeout=20):
        few.release.set()
        for client, stream in running:
            client.wait(stream)
            assert client.bodies[stream] == b"helloworld"
        few.h1.on("/held", lambda connection, got: (connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), True)[1])
        few.daemon.log_file.flush()
        assert "\"GET /held HTTP/2\" 503 OM " in wait_until(lambda: "503 OM" in few.daemon.output() and few.daemon.output(), 5, "the log")
    for client in clients:
        client.sock.close()
    wait_until(lambda: metric(few, "gatehouse_overload") == 0, 20, "the end of the pressure")
    with few.raw() as after:
        assert after.get("/after").status == 200


def test_a_flood_of_connections_beyond_the_descriptors_does_not_spin(few):
    """As many as the kernel queues, all silent: the daemon keeps its head, and serves when they are gone."""
    many = []
    for _ in range(600):
        many.append(sock := socket.socket())
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", few.daemon.https))
    time.sleep(1)
    before = few.daemon.processor_ns()
    time.sleep(1)
    assert few.daemon.processor_ns() - before < 0.3e9
    assert fetch_admin(few.daemon.admin, "/livez")[0] == 200
    for sock in many:
        sock.close()
    with few.raw() as after:
        assert after.get("/after").status == 200


def test_in_a_full_house_the_longest_idle_guest_makes_room(start_edge):
    edge = start_edge(limits={"connections": 5})
    with edge.raw() as busy:
        edge.h1.on("/held", lambda connection, got: (connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"), connection.is_closed_within(20))[1])
        busy.request("GET", "/held")
        edge.h1.request("/held")
        for number in range(20):
            with edge.raw() as first:
                assert first.get(f"/first/{number}").status == 200
                second, third, fourth, fifth = (edge.raw() for _ in range(4))
                assert fifth.get(f"/fifth/{number}").status == 200
                for client in (second, third, fourth, fifth):
                    client.sock.close()
        assert busy.buffer or busy._more()


@pytest.mark.skipif(not RELEASE.exists(), reason="no release build: cmake --preset release && cmake --build --preset release")
def test_short_of_memory_new_requests_are_503_and_it_recovers(start_edge):
    edge = start_edge(binary=RELEASE, env={"GATEHOUSE_MEMORY_MAX": str(40 << 20)}, limits={"stall_timeout": "60s"})

    def large(connection, got):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        try:
            for _ in range(100):
                connection.send(b"x" * 100_000)
        except OSError:
            pass
        return False
    edge.h1.on("/large", large)
    release = threading.Event()

    def held(connection, got):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        release.wait(60)
        connection.send(b"world")
        return True
    edge.h1.on("/held", held)
    good = FrameClient(edge.daemon.https)
    good.send(headers(1, request("/held")))  # Never idle, so that nobody closes it.
    good.until(lambda: 1 in good.heads)
    assert good.status(1) == 200
    offenders, asked = [], 1

    def is_refused():
        nonlocal asked
        asked += 2
        good.send(headers(asked, request("/good")))
        return good.wait(asked) == 503
    for _ in range(20):  # Windows that stay shut, until what waits behind them is too much.
        try:
            offenders.append(client := FrameClient(edge.daemon.https, first=settings((4, 0))))
            for stream in range(1, 200, 2):
                client.send(headers(stream, request("/large")))
                client.until(lambda: stream in client.heads)
        except OSError:
            pass  # Short of memory it takes no new connections, and is free to end these.
        time.sleep(0.3)
        if is_refused():
            break
    else:
        raise AssertionError("no request was refused")
    assert edge.daemon.resident_kib() < 60 << 10
    release.set()
    good.wait(1)
    assert good.bodies[1] == b"helloworld"
    for client in offenders:
        client.sock.close()
    wait_until(lambda: metric(edge, "gatehouse_overload") == 0, 20, "the end of the pressure")
    with FrameClient(edge.daemon.https) as after:
        after.send(headers(1, request("/after")))
        assert after.wait(1) == 200
    good.sock.close()
