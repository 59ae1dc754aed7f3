"""The PROXY protocol towards backends: HAProxy as the receiving peer, and headers read by hand."""
import re
import shutil
import socket
import ssl
import struct

import pytest

from backends import Closed, Connection, RawBackend
from gatehouse import Process, accepts, curl, free_ports, make_certificate, wait_until
from test_proxy_protocol import SIGNATURE


class HeaderBackend(RawBackend):
    """HTTP/1.1 behind a PROXY header, which each connection keeps as `header`."""

    def __init__(self, context=None):
        self.context = context
        super().__init__()

    @property
    def url(self):
        return super().url.replace("http:", "https:") if self.context else super().url

    def serve(self, sock):
        sock.settimeout(20)
        try:
            header = read_header(sock)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
        except OSError as error:
            self.failures.append(error)
            return
        connection = Connection(self, sock)
        connection.header, connection.is_over = header, False
        self.connections.append(connection)
        try:
            while True:
                request = connection.read_head()
                request.header = header
                if not self.scripts.get(request.path, self.scripts[None])(connection, request):
                    break
        except Closed:
            connection.is_over = True
        sock.close()


def exactly(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise OSError("no header")
        data += piece
    return data


def read_header(sock):
    start = exactly(sock, 6)
    if start == b"PROXY ":
        while not start.endswith(b"\r\n"):
            start += exactly(sock, 1)
        return start
    start += exactly(sock, 10)
    assert start[:12] == SIGNATURE, start
    return start + exactly(sock, struct.unpack(">H", start[14:16])[0])


def tlvs_of(header, at=16 + 12):
    found = {}
    while at < len(header):
        kind, size = header[at], struct.unpack(">H", header[at + 1:at + 3])[0]
        found[kind] = header[at + 3:at + 3 + size]
        at += 3 + size
    return found


def crc32c(data):
    total = 0xffffffff
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (0x82f63b78 if total & 1 else 0)
    return total ^ 0xffffffff


@pytest.fixture(scope="module")
def backends(tmp_path_factory, module_cleanup):
    certificate, key = make_certificate(tmp_path_factory.mktemp("backend"), ["backend.example.test"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made = {"v1": HeaderBackend(), "v2": HeaderBackend(), "tls": HeaderBackend(context), "capped": HeaderBackend(),
            "checked-v1": HeaderBackend(), "checked-v2": HeaderBackend()}
    for backend in made.values():
        module_cleanup.callback(backend.close)
    made["tls"].certificate = certificate
    return made


@pytest.fixture(scope="module")
def edge(start_edge, backends):
    health = {"path": "/health", "interval": "200ms"}
    return start_edge(backends={
        "v1": {"endpoints": [backends["v1"].url], "send_proxy_protocol": "v1"},
        "v2": {"endpoints": [backends["v2"].url], "send_proxy_protocol": "v2"},
        "tls": {"endpoints": [backends["tls"].url], "send_proxy_protocol": "v2",
                "tls": {"ca_file": backends["tls"].certificate, "server_name": "backend.example.test"}},
        "capped": {"endpoints": [backends["capped"].url], "send_proxy_protocol": "v1", "limits": {"connections": 1}},
        "checked-v1": {"endpoints": [backends["checked-v1"].url], "send_proxy_protocol": "v1", "health": health},
        "checked-v2": {"endpoints": [backends["checked-v2"].url], "send_proxy_protocol": "v2", "health": health}})


def ask(client, path):
    client.request("GET", path)
    answer = client.read()
    assert answer.status == 200, answer
    return client.sock.getsockname()[1]


def test_version_1_names_the_client(edge, backends):
    with edge.raw() as client:
        port = ask(client, "/v1/one")
    header = backends["v1"].request("/v1/one").header
    assert header == f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {edge.daemon.https}\r\n".encode()


def test_version_2_names_the_client_and_its_tls(edge, backends):
    with edge.raw() as client:
        port = ask(client, "/v2/one")
        ask(client, "/v2/two")
    header = backends["v2"].request("/v2/one").header
    assert header[12:28] == (b"\x21\x11" + struct.pack(">H", len(header) - 16) + socket.inet_aton("127.0.0.1") * 2
                             + struct.pack(">HH", port, edge.daemon.https))
    tlvs = tlvs_of(header)
    assert tlvs[0x01] == b"http/1.1" and tlvs[0x02] == b"www.example.test"
    assert re.fullmatch(rb"[0-9a-f-]{36}", tlvs[0x05])
    assert tlvs[0x20] == b"\x01" + struct.pack(">I", 1) + b"\x21\0\x07TLSv1.3"
    at = header.rindex(b"\x03\0\x04") + 3
    assert tlvs[0x03] == struct.pack(">I", crc32c(header[:at] + bytes(4) + header[at + 4:]))
    assert backends["v2"].request("/v2/two").header == header


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_no_connection_serves_two_clients(edge, backends, version):
    backend = backends[version]
    with edge.raw() as one, edge.raw() as other:
        for turn in range(3):
            ports = ask(one, f"/{version}/shared-{turn}-one"), ask(other, f"/{version}/shared-{turn}-other")
        theirs = [c for c in backend.connections if any("shared" in r.path for r in c.requests)]
        assert len(theirs) == 2
        for connection, port in zip(sorted(theirs, key=lambda c: c.requests[0].path), ports):
            assert {r.path.rpartition("-")[2] for r in connection.requests} == {"one" if port == ports[0] else "other"}
            assert str(port).encode() in connection.header or struct.pack(">H", port) in connection.header
        assert len({c.header for c in theirs}) == 2
    wait_until(lambda: all(c.is_over for c in theirs), 10, "the end of the clients' connections")


def test_streams_of_one_client_are_one_clients(edge, backends):
    with edge.h2() as client:
        streams = [client.start("GET", f"/v2/h2-{i}") for i in range(4)]
        assert [client.wait(stream).status for stream in streams] == [200] * 4
    headers = {backends["v2"].request(f"/v2/h2-{i}").header for i in range(4)}
    assert len(headers) == 1
    assert tlvs_of(headers.pop())[0x01] == b"h2"


def test_the_header_comes_before_tls(edge, backends):
    with edge.raw() as client:
        port = ask(client, "/tls/one")
    header = backends["tls"].request("/tls/one").header
    assert header[24:26] == struct.pack(">H", port)


def test_a_full_backend_has_room_for_the_next_client(edge, backends):
    with edge.raw() as one, edge.raw() as other:
        for turn in range(3):
            ask(one, f"/capped/{turn}-one")
            ask(other, f"/capped/{turn}-other")
    assert len(backends["capped"].connections) == 6


@pytest.mark.parametrize("version, header", [("v1", b"PROXY UNKNOWN\r\n"), ("v2", SIGNATURE + b"\x20\0\0\0")])
def test_health_checks_are_our_own(edge, backends, version, header):
    backend = backends[f"checked-{version}"]
    wait_until(lambda: backend.count("/health") > 1, 10, "health checks")
    with edge.raw() as client:
        ask(client, f"/checked-{version}/visitor")
    assert {r.header for r in backend.requests if r.path == "/health"} == {header}
    assert backend.request(f"/checked-{version}/visitor").header != header


# ---- a real receiver --------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("haproxy", path="/usr/sbin:/usr/bin"), reason="no haproxy: apt-get install haproxy")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_hears_who_the_client_is(start_edge, tmp_path, cleanup, version):
    front, = free_ports(1)
    edge = start_edge(backends={"haproxy": {"endpoints": [f"http://127.0.0.1:{front}"], "send_proxy_protocol": version}})
    (tmp_path / "haproxy.cfg").write_text(f"""
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen front
  bind 127.0.0.1:{front} accept-proxy
  http-request set-header x-source %[src]:%[src_port]
  http-request set-header x-destination %[dst]:%[dst_port]
  http-request set-header x-authority %[fc_pp_authority]
  http-request set-header x-unique-id %[fc_pp_unique_id]
  server origin {edge.h1.url.removeprefix('http://')}
""")
    haproxy = Process(["/usr/sbin/haproxy", "-db", "-f", tmp_path / "haproxy.cfg"], tmp_path / "haproxy.log")
    cleanup.callback(haproxy.close)
    wait_until(lambda: accepts(front), 20, "haproxy's start")
    # Clients on other loopback addresses than our own connections.
    for client in ["127.0.0.9", "127.0.0.10"]:
        status, out, err = curl("--interface", client, *edge.resolve(), edge.url(f"/haproxy/{client}"))
        assert (status, out) == (0, "ok\n"), err
        request = edge.h1.request(f"/haproxy/{client}")
        assert request["x-source"].rpartition(":")[0] == client
        assert request["x-destination"] == f"127.0.0.1:{edge.daemon.https}"
        if version == "v2":
            assert request["x-authority"] == "www.example.test"
            assert len(request["x-unique-id"]) == 36
