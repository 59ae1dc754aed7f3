"""A gibibyte in each direction, whole and unchanged, through a daemon that stays small. Judged on the
release build: sanitizers need memory of their own."""
import os
import shutil
import subprocess
import threading
import zlib

import pytest

from backends import Closed
from gatehouse import RELEASE, Process, accepts, free_ports, wait_until

pytestmark = pytest.mark.skipif(not RELEASE.exists(),
                                reason="no release build: cmake --preset release && cmake --build --preset release")

GIB = 1 << 30
PATTERN = os.urandom(16 << 20)
RESIDENT_MAX = 40 * 1024  # KiB


def pattern_sum():
    total = 0
    for _ in range(GIB // len(PATTERN)):
        total = zlib.crc32(PATTERN, total)
    return total


@pytest.fixture(scope="module")
def expected():
    return GIB, pattern_sum()


def source(connection, request):
    """Sends the gibibyte by sendfile."""
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % GIB)
    connection.sock.setblocking(True)
    for _ in range(GIB // len(PATTERN)):
        sent = 0
        while sent < len(PATTERN):
            sent += os.sendfile(connection.sock.fileno(), connection.backend.pattern.fileno(), sent, len(PATTERN) - sent)
    return True


class Pieces:
    """Reads a connection without keeping anything."""

    def __init__(self, connection):
        self.sock = connection.sock
        self.left = memoryview(bytes(connection.buffer))
        self.space = bytearray(1 << 20)
        connection.buffer.clear()

    def more(self):
        if not self.left:
            count = self.sock.recv_into(self.space)
            if not count:
                raise Closed
            self.left = memoryview(self.space)[:count]
        return self.left

    def take(self, most):
        piece = self.more()[:most]
        self.left = self.left[len(piece):]
        return piece

    def line(self):
        text = b""
        while not text.endswith(b"\r\n"):
            text += self.take(1)
        return text


def sink(connection, request):
    """Counts and sums a chunked body, and tells what came."""
    pieces, length, total = Pieces(connection), 0, 0
    while size := int(pieces.line(), 16):
        length += size
        while size:
            piece = pieces.take(size)
            total = zlib.crc32(piece, total)
            size -= len(piece)
        pieces.line()
    pieces.line()
    said = b"%d %d" % (length, total)
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))
    return True


@pytest.fixture
def edge(start_edge, tmp_path):
    port, = free_ports(1)
    edge = start_edge(binary=RELEASE, backends={"nghttpd": {"endpoints": [f"http://127.0.0.1:{port}"], "protocol": "h2"}})
    edge.nghttpd_port = port
    edge.h1.on("/down", source)
    edge.h1.on("/up", sink)
    edge.h1.pattern = open(tmp_path / "pattern", "w+b")
    edge.h1.pattern.write(PATTERN)
    edge.h1.pattern.flush()
    return edge


@pytest.fixture
def nghttpd(edge, tmp_path, cleanup):
    """An HTTP/2 server that serves the gibibyte as a file, and sends back what it is sent."""
    if not shutil.which("nghttpd", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("nghttpd is missing: apt-get install nghttp2-server")
    (tmp_path / "files/nghttpd").mkdir(parents=True)
    with open(tmp_path / "files/nghttpd/down", "wb") as file:
        for _ in range(GIB // len(PATTERN)):
            file.write(PATTERN)
    server = Process(["/usr/sbin/nghttpd", "--no-tls", "--echo-upload", "-w", "20", "-W", "22", "-d", tmp_path / "files",
                      edge.nghttpd_port], tmp_path / "nghttpd.log")
    cleanup.callback(lambda: (tmp_path / "files/nghttpd/down").unlink())
    cleanup.callback(server.close)
    wait_until(lambda: accepts(edge.nghttpd_port), 10, "nghttpd's start")


def feed(pipe):
    try:
        for _ in range(GIB // len(PATTERN)):
            pipe.write(PATTERN)
        pipe.close()
    except BrokenPipeError:
        pass


def transfer(edge, version, path, uploads):
    """Runs curl with a body in or out; (length, sum) of what it prints, or the print itself."""
    child = subprocess.Popen(["curl", "-sS", "--max-time", "120", version, *edge.resolve(), *(["-T", "-"] if uploads else []),
                              edge.url(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feeder = threading.Thread(target=feed, args=(child.stdin,), daemon=True)
    if uploads:
        feeder.start()
    length, total, first = 0, 0, b""
    space = bytearray(1 << 20)
    while count := child.stdout.readinto1(space):
        if not length:
            first = bytes(space[:64])
        length += count
        total = zlib.crc32(memoryview(space)[:count], total)
    assert child.wait(30) == 0
    return (tuple(int(n) for n in first[:length].split()) if length < 64 else (length, total))


def assert_small(edge, what, capsys):
    peak = edge.daemon.peak_kib()
    with capsys.disabled():
        print(f"\n{what}: at most {peak / 1024:.1f} MiB resident")
    assert peak < RESIDENT_MAX


@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_gibibyte_passes_an_http1_backend(edge, version, direction, expected, capsys):
    assert transfer(edge, version, f"/{direction}", direction == "up") == expected
    assert_small(edge, f"1 GiB {direction}, {version[2:]} to HTTP/1.1", capsys)


def test_a_gibibyte_comes_from_an_h2c_backend(edge, nghttpd, expected, capsys):
    assert transfer(edge, "--http2", "/nghttpd/down", False) == expected
    assert_small(edge, "1 GiB down, http2 to h2c", capsys)


def test_a_gibibyte_goes_to_an_h2c_backend_and_back(edge, nghttpd, expected, capsys):
    assert transfer(edge, "--http2", "/nghttpd/echo", True) == expected
    assert_small(edge, "1 GiB up and down, http2 to h2c", capsys)
