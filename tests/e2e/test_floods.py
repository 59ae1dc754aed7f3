"""Each known flood beside a good client (HARDENING.md sections 3 and 4): the offender is closed, named by
a counter, and costs neither memory nor the good client's answers. `tests/proofs floods` is the full
form: ten seconds a flood, with the good client's 99th percentile below three times its quiet value."""
import asyncio
import contextlib
import multiprocessing
import os
import socket
import ssl
import time

import pytest

from gatehouse import BINARY, FULL, RELEASE, fetch_admin, wait_until
from h2frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY, FrameClient, block, data, frame, headers, request, reset,
                      settings, text, window_update)

SECONDS = 10 if FULL else 1.5
OFFENDERS = 2
GROWTH_KIB = 32 * 1024
LIMITS = {"handshake_timeout": "1s", "header_timeout": "1s", "stall_timeout": "1500ms", "idle_timeout": "5s", "streams": 100}


@pytest.fixture(scope="module")
def edge(start_edge, peers):
    # Memory is judged on the release build: AddressSanitizer keeps for a while what was freed.
    edge = start_edge(binary=RELEASE if RELEASE.exists() else BINARY, limits=LIMITS, log={"access": {"path": "/dev/null"}},
                      backends={name: {"endpoints": [peers.url(name)]} for name in peers.ports})
    edge.peers = peers
    if FULL:
        for thread in os.listdir(f"/proc/{edge.daemon.pid}/task"):
            os.sched_setaffinity(int(thread), {CORES[-1]})
    yield edge


# The full form tells the daemon's delays from the scheduler's: the daemon has a core to itself, as in the
# rig beside the peers, and on the other one the good client and its backend go before the offenders.

CORES = sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def going_first():
    if FULL:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        if FULL:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


# ---- backends, each in a process of its own: what a flood costs them does not slow the good client ----

class Peers:
    """`good` and `other`, the offenders' own, answer at once; `held` works on each request until the proxy
    gives it up, and counts how many it had at a time; `large` sends ten megabytes."""

    def __init__(self):
        self.fork = multiprocessing.get_context("fork")
        self.peak = self.fork.Value("i", 0)
        self.ports, self.processes, self.now = {}, [], 0
        for name, script, niceness in (("good", self.good, 0), ("other", self.good, 10), ("held", self.held, 10), ("large", self.large, 10)):
            listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
            self.ports[name] = listener.getsockname()[1]
            self.processes.append(self.fork.Process(target=self.run, args=(script, listener, niceness), daemon=True))
            self.processes[-1].start()
            listener.close()

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[name]}"

    def run(self, script, listener, niceness):
        os.nice(niceness)
        if FULL and not niceness:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

        async def serve(reader, writer):
            try:
                while await script(reader, writer):
                    pass
            except (OSError, EOFError, asyncio.TimeoutError):
                pass
            finally:
                writer.close()

        async def accept():
            async with await asyncio.start_server(serve, sock=listener) as server:
                await server.serve_forever()
        asyncio.run(accept())

    async def good(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ngood\n")
        return True

    async def held(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        self.now += 1
        self.peak.value = max(self.peak.value, self.now)
        try:
            await asyncio.wait_for(reader.read(), 20)
        finally:
            self.now -= 1
        return False

    async def large(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x" * 100_000)
            await writer.drain()
        return False

    def close(self):
        for process in self.processes:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def peers():
    if FULL:
        os.sched_setaffinity(0, {CORES[0]})
    peers = Peers()
    yield peers
    peers.close()
    os.sched_setaffinity(0, CORES)


# ---- floods: what one connection sends, again and again ---------------------------------------

def endless(kind, make, opening=b"", each=0, codes=(ENHANCE_YOUR_CALM, None)):
    """`make` gives the next bytes by number, until the daemon closes; with `each`, when that many streams
    of the last ones were reset."""
    def offend(edge, until):
        with FrameClient(edge.daemon.https) as client:
            client.until(lambda: client.has_settings)
            client.send(opening)
            number = 0
            while client.press(make(number)):
                client.until(lambda: all(stream in client.resets for stream in streams(number, each)))
                assert time.monotonic() < until + 5, "the offender was let go on"
                number += 1
            assert client.goaway in codes, client.goaway  # What was sent behind the end may have reset it.
    offend.kind = kind
    return offend


def streams(number, each):
    """Ids of the number-th batch of streams."""
    return range(2 * number * each + 1, 2 * (number + 1) * each + 1, 2)


def slow(kind, opening, drip=b"", answers=b"", tls=True, ended_within=4):
    """Sends a little, then drips; the daemon has to end it within the time."""
    def offend(edge, until):
        client = edge.raw() if tls == "h1" else FrameClient(edge.daemon.https) if tls else socket.create_connection(("127.0.0.1", edge.daemon.https))
        sock = client if tls is False else client.sock
        with client:
            began = time.monotonic()
            sock.sendall(opening)
            sock.settimeout(0.2)
            got = b""
            while True:
                assert time.monotonic() - began < ended_within, "the offender was let go on"
                try:
                    piece = sock.recv(65536)
                    if not piece:
                        break
                    got += piece
                except (TimeoutError, ssl.SSLWantReadError):
                    pass
                except OSError:
                    break
                try:
                    sock.sendall(drip)
                except OSError:
                    pass
            assert answers in got, got
    offend.kind = kind
    return offend


def stalled(edge, until):
    """Windows that stay shut on as many streams as there may be."""
    with FrameClient(edge.daemon.https, first=settings((4, 0))) as client:
        for number in range(10):
            wanted = streams(number, 100)
            client.send(*(headers(stream, request("/large")) for stream in wanted))
            client.until(lambda: all(stream in client.resets for stream in wanted))
            if client.is_closed:
                return
        raise AssertionError("the offender was let go on")


def dribble(edge, until):
    """A large answer, one byte at a time."""
    with FrameClient(edge.daemon.https, first=settings((4, 0))) as client:
        client.send(headers(1, request("/large")))
        while client.press(window_update(1, 1) * 50):
            assert time.monotonic() < until + 5, "the offender was let go on"
            time.sleep(0.002)


def takes_nothing(edge, until):
    """A reader of HTTP/1.1 that reads nothing: its connection is reset or ended."""
    with edge.raw() as client:
        client.request("GET", "/large")
        wait_until(lambda: offences(edge).get("slow_reader", 0) > takes_nothing.before, 6, "the end of the offender")


stalled.kind = "stalled_stream"
dribble.kind = "window_update"
takes_nothing.kind = "slow_reader"

ABOVE = 4096
BOMB = block(request("/other")) + b"\x40" + text("x") + text("y" * 3900)   # x enters the table of 4096 bytes
CRUMBS = block(request("/other")) + b"\x40" + text("cookie") + text("a=" + "b" * 3800)

FLOODS = {
    "rapid-reset": endless("rapid_reset", lambda n: b"".join(headers(s, request("/held")) + reset(s) for s in streams(n, 20))),
    "rapid-reset-behind-the-request": endless("rapid_reset", lambda n: b"".join(headers(s, request("/held")) for s in streams(n, 50)) + b"".join(reset(s) for s in streams(n, 50))),
    "made-you-reset-by-window": endless("provoked_reset", lambda n: b"".join(headers(s, request("/held")) + window_update(s, 0x7fffffff) for s in streams(n, 20)), each=20),
    "made-you-reset-by-length": endless("provoked_reset", lambda n: b"".join(headers(s, request("/held", "POST", [("content-length", "1")]), False) + data(s, b"abc") for s in streams(n, 20)), each=20),
    "made-you-reset-by-head": endless("provoked_reset", lambda n: b"".join(headers(s, request("/held", more=[("connection", "x")])) for s in streams(n, 20)), each=20),
    "continuations": endless("continuation", lambda n: frame(CONTINUATION, 0, 1, b"\0\1x\1y"), opening=frame(HEADERS, END_STREAM, 1, block(request("/held")))),
    "empty-continuations": endless("continuation", lambda n: frame(CONTINUATION, 0, 1) * 100, opening=frame(HEADERS, END_STREAM, 1, block(request("/held")))),
    "large-continuations": endless("continuation", lambda n: frame(CONTINUATION, 0, 1, b"\0\1x\x7f\x81\x7d" + b"y" * 16000), opening=frame(HEADERS, END_STREAM, 1, block(request("/held")))),
    "settings": endless("settings", lambda n: settings((4, 65535)) * 100),
    "empty-settings": endless("settings", lambda n: settings() * 100),
    "pings": endless("ping", lambda n: frame(PING, 0, 0, b"pingping") * 100),
    "priorities": endless("priority", lambda n: frame(PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10") * 100),
    "empty-data": endless("empty_data", lambda n: data(1, b"", False) * 100, opening=headers(1, request("/held", "POST"), False)),
    "window-updates": endless("window_update", lambda n: window_update(0, 1) * 100),
    "unknown-frames": endless("unknown_frame", lambda n: frame(0xbb, 0, 0, b"x" * 100) * 100),
    "table-size-settings": endless("table_size", lambda n: (settings((1, 0)) + settings((1, 4096))) * 50),
    "table-size-updates": endless("table_size", lambda n: b"".join(headers(s, b"\x20\x3f\xe1\x1f" * 50 + block(request("/other"))) for s in streams(n, 20))),
    "hpack-bomb": endless("refused_head", lambda n: b"".join(headers(s, (BOMB if s == 1 else block(request("/other"))) + b"\xbe" * 10000) for s in streams(n, 5))),
    "cookie-bomb": endless("refused_head", lambda n: b"".join(headers(s, (CRUMBS if s == 1 else block(request("/other"))) + b"\xbe" * 10000) for s in streams(n, 5))),
    "empty-names": endless("provoked_reset", lambda n: b"".join(headers(s, request("/other") + [("", "")] * 50) for s in streams(n, 20)), each=20),
    "windows-shut": stalled,
    "data-dribble": dribble,
    "half-a-frame": slow("head_timeout", b"\0\0\1\1"),
    "half-a-head": slow("head_timeout", frame(HEADERS, END_STREAM, 1, block(request("/other")))),
    "slow-frame": slow("head_timeout", b"\0\4\0\1\4\0\0\0\1", drip=b"\0"),
    "slow-head": slow("head_timeout", b"GET / HTTP/1.1\r\nHost: www.example.test\r\n", b"X: y\r\n", b"HTTP/1.1 408 ", tls="h1"),
    "slow-body": slow("slow_body", b"POST / HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: 100000\r\n\r\n", b"x", b"HTTP/1.1 408 ", tls="h1"),
    "slow-handshake": slow("slow_handshake", b"\x16\x03\x01\x02\0", drip=b"\1", tls=False),
    "silent-handshake": slow("slow_handshake", b"", tls=False),
    "slow-reader": takes_nothing,
}


# ---- the good client --------------------------------------------------------------------------

class GoodClient:
    """Asks some hundred times a second on one connection, and measures."""

    def __init__(self, edge):
        self.client, self.number, self.failed = FrameClient(edge.daemon.https), 1, []

    def ask(self, seconds):
        """The times that its requests took."""
        times, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            self.client.send(headers(self.number, request("/good")))
            if self.client.wait(self.number) != 200 or self.client.bodies.pop(self.number) != b"good\n":
                self.failed.append(self.number)
                return times
            times.append(time.monotonic() - began)
            self.number += 2
            if self.number % 512 == 1:
                self.client.send(window_update(0, 4096))
            time.sleep(0.003)
        return times


def percentile_99(times):
    return sorted(times)[len(times) * 99 // 100]


def offences(edge):
    found = {}
    for line in fetch_admin(edge.daemon.admin, "/metrics")[1].splitlines():
        if line.startswith("gatehouse_offences_total{"):
            name, _, value = line.rpartition(" ")
            found[name.split('"')[1]] = float(value)
    return found


@pytest.mark.parametrize("name", FLOODS)
def test_flood(edge, name, capsys):
    flood = FLOODS[name]
    client = GoodClient(edge)
    with going_first():
        quiet = client.ask(3 if FULL else 0.3)
    before, memory = offences(edge), edge.daemon.resident_kib()
    takes_nothing.before = before.get("slow_reader", 0)
    edge.peers.peak.value = 0
    until = time.monotonic() + SECONDS
    fork = multiprocessing.get_context("fork")
    told = fork.SimpleQueue()

    def offend():
        os.nice(10)  # The offender's processor time is his own affair.
        closed = 0
        try:
            while time.monotonic() < until:
                flood(edge, until)
                closed += 1
            told.put((closed, None))
        except Exception as failure:
            told.put((closed, repr(failure)))
        os._exit(0)
    offenders = [fork.Process(target=offend) for _ in range(OFFENDERS)]
    for process in offenders:
        process.start()
    with going_first():
        loud = client.ask(SECONDS)
    peak = edge.daemon.resident_kib()
    reports = [told.get() for _ in offenders]
    for process in offenders:
        process.join(30)
    closed, failures = sum(report[0] for report in reports), [report[1] for report in reports if report[1]]
    client.client.sock.close()
    grown = max(peak, edge.daemon.resident_kib()) - memory
    after = offences(edge)
    if FULL:
        with capsys.disabled():
            print(f"\n| {name} | {closed} | {after.get(flood.kind, 0) - before.get(flood.kind, 0):.0f} {flood.kind} | {percentile_99(quiet) * 1000:.1f} | {percentile_99(loud) * 1000:.1f} | {grown / 1024:+.1f} | {edge.peers.peak.value} |")
    assert not failures and closed
    assert not client.failed and loud, "the good client"
    assert after.get(flood.kind, 0) > before.get(flood.kind, 0), (flood.kind, after)
    assert edge.peers.peak.value <= OFFENDERS * 2 * LIMITS["streams"]
    if RELEASE.exists():
        assert grown < GROWTH_KIB
    if FULL:
        assert percentile_99(loud) < 3 * percentile_99(quiet)


def test_more_connections_than_a_source_may_have_are_closed(start_edge):
    edge = start_edge(limits={"connections_per_source": 5})
    with edge.raw() as first:
        others = [edge.raw() for _ in range(4)]
        with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=10) as sixth:
            assert sixth.recv(1) == b""
        assert first.get("/first").status == 200
        assert offences(edge)["connections_per_source"] == 1
        others.pop().sock.close()
        def fits():
            try:
                with edge.raw() as again:
                    return again.get("/again").status == 200
            except OSError:
                return False
        wait_until(fits, 5, "room for another connection")
        for other in others:
            other.sock.close()


def test_the_log_names_offenders_and_is_not_flooded_itself(edge):
    lines = [line for line in edge.daemon.output().splitlines() if "event=client.offence" in line]
    assert any("kind=rapid_reset" in line and "peer=127.0.0.1" in line for line in lines)
    assert len(lines) < 40 + 15 * len(FLOODS) * (SECONDS + 5)
