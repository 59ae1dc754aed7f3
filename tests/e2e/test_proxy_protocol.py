"""The PROXY protocol at the listeners: HAProxy and curl as senders, and headers by hand."""
import contextlib
import shutil
import socket
import ssl
import struct

import pytest

from gatehouse import Process, accepts, curl, fetch_admin, free_ports, wait_until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"


def v2_of(source, destination, tlvs=b""):
    (host, port), (local, local_port) = source, destination
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    addresses = socket.inet_pton(family, host) + socket.inet_pton(family, local) + struct.pack(">HH", port, local_port)
    kind = 0x21 if family == socket.AF_INET6 else 0x11
    return SIGNATURE + bytes([0x21, kind]) + struct.pack(">H", len(addresses + tlvs)) + addresses + tlvs


@pytest.fixture(scope="module")
def edge(start_edge):
    """Believes 127.0.0.1 (and ::1, where the system has it), trusts clients of 10.0.0.0/8."""
    https, plain = free_ports(2)
    return start_edge(
        listen={"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{plain}"],
                "proxy_protocol_from": ["127.0.0.1/32"], "trusted_proxies": ["10.0.0.0/8", "127.0.0.1/32"]},
        limits={"handshake_timeout": "1s", "connections_per_source": 3},
        vhosts=[{"host": "203.0.113.5", "certificate": "site", "backend": "h1"},
                {"host": "plain.example.test", "http": "serve", "certificate": "site", "backend": "h1"}])


def connect(edge, header, tls=True, name="www.example.test", pieces=None):
    """A connection whose first bytes are the header, TLS behind it."""
    sock = socket.create_connection(("127.0.0.1", edge.daemon.https if tls else edge.daemon.http), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces or [header]:
        sock.sendall(piece)
    if not tls:
        return sock
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(sock, server_hostname=name)


def get(connection, path, host="www.example.test", fields=""):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n".encode())
    answer = b""
    with contextlib.suppress(OSError):
        while piece := connection.recv(4096):
            answer += piece
    connection.close()
    return answer


def is_closed(sock):
    """Whether the daemon closes, saying nothing."""
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(100) == b""
    return True


# ---- real senders -----------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("haproxy", path="/usr/sbin:/usr/bin"), reason="no haproxy: apt-get install haproxy")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"])
def test_haproxy_says_who_the_client_is(edge, tmp_path, cleanup, version):
    front, = free_ports(1)
    (tmp_path / "haproxy.cfg").write_text(f"""
defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen front
  bind 127.0.0.1:{front}
  server gatehouse 127.0.0.1:{edge.daemon.https} {version}
""")
    haproxy = Process(["/usr/sbin/haproxy", "-db", "-f", tmp_path / "haproxy.cfg"], tmp_path / "haproxy.log")
    cleanup.callback(haproxy.close)
    wait_until(lambda: accepts(front), 20, "haproxy's start")
    url = f"https://www.example.test:{front}/{version}"
    # The client comes from another loopback address than HAProxy's own connection to us.
    status, out, err = curl("-k", "--interface", "127.0.0.9", "--resolve", f"www.example.test:{front}:127.0.0.1", url)
    assert (status, out) == (0, "ok\n"), err
    assert edge.h1.request(f"/{version}")["x-forwarded-for"] == "127.0.0.9"
    assert edge.logged(f"/{version}")["xff"] == "127.0.0.9"


def test_haproxys_health_checks_are_its_own(edge):
    assert get(connect(edge, LOCAL), "/local").startswith(b"HTTP/1.1 200 ")
    assert edge.h1.request("/local")["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("tls", [True, False])
def test_curl_says_who_the_client_is(edge, tls):
    name, path = ("www.example.test", "/curl-tls") if tls else ("plain.example.test", "/curl-plain")
    port = edge.daemon.https if tls else edge.daemon.http
    status, out, err = curl("-k", "--haproxy-protocol", "--interface", "127.0.0.1",
                            "--resolve", f"{name}:{port}:127.0.0.1", f"{'https' if tls else 'http'}://{name}:{port}{path}")
    assert (status, out) == (0, "ok\n"), err
    assert edge.h1.request(path)["x-forwarded-for"] == "127.0.0.1"


# ---- what is believed -------------------------------------------------------------------------

@pytest.mark.parametrize("path, header, client", [
    ("/v1-4", b"PROXY TCP4 192.0.2.1 203.0.113.5 1 443\r\n", "192.0.2.1"),
    ("/v1-6", b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n", "2001:db8::1"),
    ("/v1-unknown", b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ("/v2-4", v2_of(("192.0.2.2", 5), ("203.0.113.5", 443)), "192.0.2.2"),
    ("/v2-6", v2_of(("2001:db8::3", 5), ("2001:db8::2", 443), b"\x04\0\x02xx\xe0\0\x01y"), "2001:db8::3"),
    ("/v2-unix", SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), "unix")])
def test_the_source_is_the_client(edge, path, header, client):
    assert get(connect(edge, header), path).startswith(b"HTTP/1.1 200 ")
    values = [part.strip() for part in edge.h1.request(path)["x-forwarded-for"].split(",")]
    assert values == [client]


@pytest.mark.parametrize("size", [1, 7])
def test_a_header_may_come_in_pieces(edge, size):
    header = v2_of(("192.0.2.3", 5), ("203.0.113.5", 443), b"\x04\0\x10" + bytes(16))
    pieces = [header[i:i + size] for i in range(0, len(header), size)]
    assert get(connect(edge, None, pieces=pieces), f"/pieces-{size}").startswith(b"HTTP/1.1 200 ")
    assert edge.h1.request(f"/pieces-{size}")["x-forwarded-for"] == "192.0.2.3"


def test_trust_follows_the_client_and_not_the_sender(edge):
    fields = "X-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n"
    get(connect(edge, v2_of(("192.0.2.4", 5), ("203.0.113.5", 443))), "/stranger", fields=fields)
    get(connect(edge, v2_of(("10.0.0.4", 5), ("203.0.113.5", 443))), "/friend", fields=fields)
    assert edge.h1.request("/stranger")["x-forwarded-for"] == "192.0.2.4"
    assert edge.h1.request("/stranger").all("forwarded") == []
    assert edge.h1.request("/friend")["x-forwarded-for"] == "9.9.9.9, 10.0.0.4"
    assert edge.h1.request("/friend")["forwarded"] == "for=9.9.9.9, for=10.0.0.4;proto=https"


def test_without_sni_the_destination_names_the_site(edge):
    connection = connect(edge, v2_of(("192.0.2.5", 5), ("203.0.113.5", 443)), name=None)
    assert get(connection, "/by-destination", host="203.0.113.5").startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 421 "))
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        connect(edge, v2_of(("192.0.2.5", 5), ("203.0.113.6", 443)), name=None)


def test_connections_are_counted_for_the_client(edge):
    one = v2_of(("192.0.2.6", 5), ("203.0.113.5", 443))
    held = [connect(edge, one) for _ in range(3)]
    with pytest.raises(OSError):
        connect(edge, one)
    others = [connect(edge, v2_of((f"192.0.2.{10 + i}", 5), ("203.0.113.5", 443))) for i in range(5)]
    for connection in held + others:
        connection.close()

    def is_free():
        try:
            connect(edge, one).close()
            return True
        except OSError:
            return False
    wait_until(is_free, 10, "room for the client")


# ---- what is not ------------------------------------------------------------------------------

@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\x05hello", b"PROXY TCP4 192.0.2.1\r\n", b"PROXY TCP4 x y 1 2\r\n",
    SIGNATURE + b"\x31\x11\0\x0c" + bytes(12), SIGNATURE + b"\x21\x11\0\x01\0", SIGNATURE + b"\x21\x11\xff\xff",
    v2_of(("192.0.2.1", 1), ("192.0.2.1", 2), b"\x03\0\x04sum!"), b"PROXY UNKNOWN " + b"x" * 200])
@pytest.mark.parametrize("tls", [True, False])
def test_a_listed_peer_needs_a_good_header(edge, garbage, tls):
    with socket.create_connection(("127.0.0.1", edge.daemon.https if tls else edge.daemon.http), timeout=20) as sock:
        sock.sendall(garbage)
        assert is_closed(sock)


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 192", v2_of(("192.0.2.1", 1), ("192.0.2.1", 2))[:20]])
def test_a_header_has_the_handshakes_time(edge, begun):
    with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=20) as sock:
        sock.sendall(begun)
        assert is_closed(sock)
    metrics = fetch_admin(edge.daemon.admin, "/metrics")[1]
    assert float(metrics.split("\ngatehouse_proxy_header_failures_total ")[1].split()[0]) > 0


def test_nobody_elses_header_is_taken(start_edge):
    """Of a peer that is not listed a header is garbage, as anything else before TLS or HTTP."""
    https, plain = free_ports(2)
    edge = start_edge(listen={"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{plain}"],
                              "proxy_protocol_from": ["192.0.2.0/24"]},
                      vhosts=[{"host": "plain.example.test", "http": "serve", "certificate": "site", "backend": "h1"}])
    with pytest.raises(OSError):  # An alert, or the reset that overtakes it.
        connect(edge, b"PROXY TCP4 192.0.2.1 203.0.113.5 1 443\r\n")
    plain_answer = get(connect(edge, b"PROXY TCP4 192.0.2.1 203.0.113.5 1 80\r\n", tls=False), "/no", host="plain.example.test")
    assert plain_answer.startswith(b"HTTP/1.1 400 ")
    assert edge.h1.count("/no") == 0
    assert get(connect(edge, b""), "/yes").startswith(b"HTTP/1.1 200 ")
    assert edge.h1.request("/yes")["x-forwarded-for"] == "127.0.0.1"
