"""Client certificates at the listeners, profiles of single sites, and our own certificate for backends."""
import hashlib
import re
import select
import shutil
import socket
import ssl
import subprocess

import pytest

from backends import RawBackend, ok
from gatehouse import fetch_admin, wait_until


class Authority:
    """A CA by openssl: certificates, and a list of revoked ones."""

    def __init__(self, directory, name):
        self.directory, self.name = directory / name, name
        self.directory.mkdir(parents=True)
        self.file = str(self.directory / "ca.pem")
        (self.directory / "index.txt").touch()
        (self.directory / "crlnumber").write_text("01\n")
        (self.directory / "ca.cnf").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.directory}/index.txt\n"
                                               f"crlnumber={self.directory}/crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n")
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                 "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem")

    def run(self, *words, **options):
        return subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True, **options)

    def issue(self, name, alt, subject=None):
        """(certificate file, key file)"""
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject or f"/O=Test/CN={name}",
                 "-keyout", str(key), "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={alt}\n")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "10",
                 "-extfile", f"{name}.ext", "-out", str(certificate))
        key.chmod(0o600)
        return str(certificate), str(key)

    def revoke(self, *certificates):
        """Writes the list anew; its file."""
        for certificate in certificates:
            self.run("ca", "-config", "ca.cnf", "-revoke", certificate, "-keyfile", "ca.key", "-cert", "ca.pem")
        self.run("ca", "-config", "ca.cnf", "-gencrl", "-keyfile", "ca.key", "-cert", "ca.pem", "-out", "new.crl")
        (self.directory / "new.crl").rename(self.directory / "ca.crl")
        return str(self.directory / "ca.crl")


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("clients"), "clients")


@pytest.fixture(scope="module")
def joe(clients):
    return clients.issue("joe", "URI:spiffe://mesh.test/ns/a/sa/joe,DNS:joe.example.test")


@pytest.fixture(scope="module")
def edge(start_edge, clients):
    def vhost(name, **client):
        return {"host": f"{name}.wild.example.test", "certificate": "site", "backend": "h1",
                "tls": {"client": {"ca_file": clients.file, **client}}}
    return start_edge(vhosts=[
        vhost("required", mode="required"), vhost("twin", mode="required"), vhost("optional", mode="optional"),
        vhost("off", mode="off"), vhost("revoking", mode="required", crl_file=clients.revoke()),
        {"host": "modern.wild.example.test", "certificate": "site", "backend": "h1", "tls": {"profile": "modern"}},
        {"host": "plain.wild.example.test", "certificate": "site", "backend": "h1"}])


def connect(edge, name, pair=None, version=None, session=None, context=None):
    context = context or client_context(pair, version)
    raw = socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=20)
    return context.wrap_socket(raw, server_hostname=f"{name}.wild.example.test", session=session)


def client_context(pair=None, version=None):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["http/1.1"])
    if version:
        context.minimum_version = context.maximum_version = version
    if pair:
        context.load_cert_chain(*pair)
    return context


def get(connection, path, name, fields="", close=True):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}.wild.example.test\r\n{fields}"
                       f"{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode())
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
        if not close and answer.endswith(b"\n"):
            break
    return answer


def refusal(edge, name, pair=None, version=None):
    """The alert. In TLS 1.3 it comes behind the client's own end of the handshake."""
    with pytest.raises(ssl.SSLError) as refused:
        with connect(edge, name, pair, version) as connection:
            get(connection, "/refused", name)
    return refused.value.reason


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("version", [V12, V13])
def test_a_required_certificate_lets_in_and_is_told(edge, joe, version):
    path = f"/joe-{version.name}"
    with connect(edge, "required", joe, version) as connection:
        assert get(connection, path, "required", "X-Forwarded-Client-Cert: Hash=00\r\n").startswith(b"HTTP/1.1 200 ")
    told = edge.h1.request(path)["x-forwarded-client-cert"]
    der = ssl.PEM_cert_to_DER_cert(open(joe[0]).read())
    assert told == (f'Hash={hashlib.sha256(der).hexdigest()};Subject="CN=joe,O=Test";'
                    "URI=spiffe://mesh.test/ns/a/sa/joe;DNS=joe.example.test")


def test_without_the_certificate_nobody_gets_in(edge):
    assert refusal(edge, "required", version=V13) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert refusal(edge, "required", version=V12) == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert edge.h1.count("/refused") == 0


class LastFlight:
    """A client of TLS 1.3 that believes the handshake done, and has sent nothing yet of what ends it."""

    def __init__(self, edge, name, pair=None):
        self.sock = socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=20)
        self.input, self.output = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(pair, V13).wrap_bio(self.input, self.output, server_hostname=f"{name}.wild.example.test")
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.sock.sendall(self.output.read())
                self.input.write(self.sock.recv(65536))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def alert(self):
        with pytest.raises(ssl.SSLError) as refused:
            while True:
                try:
                    self.tls.read(1)
                except ssl.SSLWantReadError:
                    self.input.write(self.sock.recv(65536))
        return refused.value.reason


def test_a_client_that_sends_at_once_hears_why_it_is_refused(edge):
    for _ in range(200):
        with LastFlight(edge, "required") as client:
            client.tls.write(b"GET /refused HTTP/1.1\r\nHost: required.wild.example.test\r\n\r\n")
            client.sock.sendall(client.output.read())
            assert client.alert() == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert edge.h1.count("/refused") == 0


def test_a_client_that_goes_on_sending_hears_why_it_is_refused(edge):
    for _ in range(200):
        with LastFlight(edge, "required") as client:
            client.sock.sendall(client.output.read())
            refused = select.poll()
            refused.register(client.sock, select.POLLRDHUP)
            assert refused.poll(20_000)
            for _ in range(16):  # A socket that is closed answers the first with a reset, and the second fails.
                client.tls.write(b"x" * 4096)
                client.sock.sendall(client.output.read())
            assert client.alert() == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def test_a_refused_client_that_does_not_go_is_not_waited_for(edge):
    def connections():
        return int(re.search(r"^gatehouse_connections (\d+)", fetch_admin(edge.daemon.admin, "/metrics")[1], re.MULTILINE)[1])
    wait_until(lambda: connections() == 0, 10, "the end of others")
    with LastFlight(edge, "required") as silent, LastFlight(edge, "required") as endless:
        for client in (silent, endless):
            client.sock.sendall(client.output.read())
            assert client.alert() == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        with pytest.raises(OSError):  # Many times what is read of it.
            for _ in range(1024):
                endless.sock.sendall(b"x" * 65536)
        wait_until(lambda: connections() == 0, 10, "the end of what stays")


@pytest.mark.parametrize("name", ["required", "optional"])
def test_a_strangers_certificate_is_refused(edge, tmp_path, name):
    stranger = Authority(tmp_path, "stranger").issue("joe", "DNS:joe.example.test")
    assert refusal(edge, name, stranger) == "TLSV1_ALERT_UNKNOWN_CA"


def test_an_optional_certificate_is_told_only_when_shown(edge, joe):
    with connect(edge, "optional") as connection:
        assert get(connection, "/nobody", "optional", "X-Forwarded-Client-Cert: Hash=00\r\n").startswith(b"HTTP/1.1 200 ")
    with connect(edge, "optional", joe) as connection:
        assert get(connection, "/somebody", "optional").startswith(b"HTTP/1.1 200 ")
    assert edge.h1.request("/nobody").all("x-forwarded-client-cert") == []
    assert "URI=spiffe://mesh.test/ns/a/sa/joe" in edge.h1.request("/somebody")["x-forwarded-client-cert"]


def test_a_resumed_session_keeps_its_certificate_and_its_site(edge, joe):
    context = client_context(joe, V12)
    with connect(edge, "required", context=context) as connection:
        get(connection, "/first", "required")
        session = connection.session
    with connect(edge, "required", context=context, session=session) as connection:
        assert connection.session_reused
        get(connection, "/again", "required")
    assert "URI=spiffe" in edge.h1.request("/again")["x-forwarded-client-cert"]
    # Without a certificate of its own, and with the session of a site that asks for none.
    context = client_context(None, V12)
    with connect(edge, "plain", context=context) as connection:
        get(connection, "/plain", "plain")
        session = connection.session
    with pytest.raises(ssl.SSLError):
        connect(edge, "required", context=context, session=session)


@pytest.mark.parametrize("version, at, asked, status", [
    (None, "plain", "required", 421), (None, "plain", "optional", 421), (None, "plain", "modern", 421), (None, "plain", "off", 200),
    (None, "required", "plain", 421), (None, "required", "twin", 200), (V13, "modern", "plain", 421)])
def test_a_connection_serves_sites_of_the_same_policy_only(edge, joe, version, at, asked, status):
    with connect(edge, at, joe if at == "required" else None, version) as connection:
        assert get(connection, f"/{at}-to-{asked}", asked).split()[1] == str(status).encode()
    assert edge.h1.count(f"/{at}-to-{asked}") == (status == 200)


def test_the_modern_profile_of_one_site(edge):
    assert refusal(edge, "modern", version=V12) == "TLSV1_ALERT_PROTOCOL_VERSION"
    with connect(edge, "plain", version=V12) as connection:
        assert connection.version() == "TLSv1.2"
    with connect(edge, "modern") as connection:
        assert connection.version() == "TLSv1.3"


def test_a_revoked_certificate_is_refused_once_the_list_says_so(edge, clients):
    ann = clients.issue("ann", "DNS:ann.example.test")
    with connect(edge, "revoking", ann) as connection:
        assert get(connection, "/ann", "revoking").startswith(b"HTTP/1.1 200 ")
    clients.revoke(ann[0])

    def is_refused():
        try:
            with connect(edge, "revoking", ann) as connection:
                get(connection, "/ann-again", "revoking")
            return False
        except ssl.SSLError as refused:
            return refused.reason == "SSLV3_ALERT_CERTIFICATE_REVOKED"
    wait_until(is_refused, 40, "the new list")


def test_a_broken_list_leaves_the_old_one_in_use(edge, clients):
    bob = clients.issue("bob", "DNS:bob.example.test")
    good = clients.directory / "ca.crl"
    kept = good.read_bytes()
    said = edge.daemon.output().count("event=tls.file_unusable")
    (clients.directory / "broken.crl").write_text("nothing\n")
    (clients.directory / "broken.crl").rename(good)
    wait_until(lambda: edge.daemon.output().count("event=tls.file_unusable") > said, 40, "the complaint")
    with connect(edge, "revoking", bob) as connection:
        assert get(connection, "/bob", "revoking").startswith(b"HTTP/1.1 200 ")
    (clients.directory / "whole.crl").write_bytes(kept)
    (clients.directory / "whole.crl").rename(good)


def test_a_policy_that_a_reload_brings_holds_for_open_connections(start_edge, clients, joe):
    edge = start_edge(vhosts=[{"host": "later.wild.example.test", "certificate": "site", "backend": "h1"}])
    with connect(edge, "later") as connection:
        assert get(connection, "/before", "later", close=False).startswith(b"HTTP/1.1 200 ")
        edge.daemon.config["vhosts"][-1]["tls"] = {"client": {"mode": "required", "ca_file": clients.file}}
        edge.daemon.write_config()
        edge.daemon.command("reload")
        assert get(connection, "/behind", "later").startswith(b"HTTP/1.1 421 ")
    assert refusal(edge, "later") == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    with connect(edge, "later", joe) as connection:
        assert get(connection, "/with", "later").startswith(b"HTTP/1.1 200 ")
    assert edge.h1.count("/behind") == 0


# ---- towards backends -------------------------------------------------------------------------

class Mesh:
    """A backend that wants a client certificate, and remembers what it was shown."""

    def __init__(self, directory):
        self.authority = Authority(directory, "mesh")
        self.pair = self.authority.issue("server", "URI:spiffe://mesh.test/ns/a/sa/server,DNS:server.mesh.test")
        self.ours = self.authority.issue("edge", "URI:spiffe://mesh.test/ns/edge/sa/edge")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.pair)
        context.load_verify_locations(self.authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
        self.shown = []

        def script(connection, request):
            self.shown.append(connection.sock.getpeercert()["serialNumber"])
            connection.read_body(request)
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n")
            return False
        self.server = RawBackend(script, tls=context)
        self.server.on("/mesh/keep", ok())

    def tls(self, **more):
        return {"endpoints": [self.server.url], "tls": {
            "ca_file": self.authority.file, "certificate_file": self.ours[0], "key_file": self.ours[1],
            "verify_san": "spiffe://mesh.test/ns/a/sa/server", **more}}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, module_cleanup):
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    module_cleanup.callback(mesh.server.close)
    return mesh


@pytest.fixture(scope="module")
def mesh_edge(start_edge, mesh):
    anonymous = mesh.tls()
    del anonymous["tls"]["certificate_file"], anonymous["tls"]["key_file"]
    return start_edge(backends={"mesh": mesh.tls(), "dns": mesh.tls(verify_san="server.mesh.test"),
                                "wrong": mesh.tls(verify_san="spiffe://mesh.test/ns/a/sa/other"), "anonymous": anonymous})


def status_of(edge, path):
    with edge.raw() as client:
        client.request("GET", path, "Connection: close\n")
        return client.read().status


def test_a_backend_is_shown_our_certificate(mesh_edge, mesh):
    assert status_of(mesh_edge, "/mesh") == 200
    assert status_of(mesh_edge, "/dns") == 200
    assert set(mesh.shown) == {serial_of(mesh.ours[0])}


def test_a_backend_with_another_identity_is_refused(mesh_edge):
    assert status_of(mesh_edge, "/wrong") == 503
    wait_until(lambda: "no subject alternative name spiffe://mesh.test/ns/a/sa/other" in mesh_edge.daemon.output(), 10, "the reason")


def test_a_backend_that_wants_a_certificate_gets_none(mesh_edge):
    assert status_of(mesh_edge, "/anonymous") in (502, 503)


def rotate(mesh, name):
    for new, old in zip(mesh.authority.issue(name, "URI:spiffe://mesh.test/ns/edge/sa/edge"), mesh.ours):
        shutil.move(new, old)


def serial_of(certificate):
    done = subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", certificate], capture_output=True, text=True, check=True)
    return done.stdout.strip().split("=")[1]


def test_a_new_certificate_is_shown_by_new_connections(mesh_edge, mesh):
    before = serial_of(mesh.ours[0])
    assert status_of(mesh_edge, "/mesh") == 200 and mesh.shown[-1] == before
    rotate(mesh, "edge2")

    def is_new():
        assert status_of(mesh_edge, "/mesh") == 200
        return mesh.shown[-1] == serial_of(mesh.ours[0])
    wait_until(is_new, 40, "the new certificate")
    assert mesh.shown[-1] != before


def test_connections_go_on_when_our_certificate_changes(mesh_edge, mesh):
    assert status_of(mesh_edge, "/mesh/keep") == 200
    reloads = mesh_edge.daemon.output().count("event=tls.files_reloaded")
    rotate(mesh, "edge3")
    wait_until(lambda: mesh_edge.daemon.output().count("event=tls.files_reloaded") > reloads, 40, "the new files")
    assert status_of(mesh_edge, "/mesh/keep") == 200
    assert [len(c.requests) for c in mesh.server.connections if c.requests and c.requests[0].path == "/mesh/keep"] == [2]
