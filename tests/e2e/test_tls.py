"""Handshakes: versions, names, ALPN, tickets, deadlines; and TLS towards backends."""
import socket
import ssl
import subprocess
import time

import pytest

from backends import H2Backend, RawBackend
from gatehouse import make_certificate, tls_connect

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def edge(start_edge):
    return start_edge(limits={"handshake_timeout": "1s"}, vhosts=[
        {"host": "*.wild.example.test", "certificate": "site", "backend": "h1"},
        {"host": "127.0.0.1", "certificate": "site", "backend": "h1"}])


def alert_of(port, name, **options):
    """The alert by which a handshake is refused, as OpenSSL names it."""
    with pytest.raises(ssl.SSLError) as refused:
        tls_connect(port, name, **options).close()
    return refused.value.reason


def s_client(edge, *options):
    """What OpenSSL's own client says of a handshake."""
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.daemon.https}", "-servername", "www.example.test",
                           *options], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)


def test_a_client_that_changes_its_keys_is_answered_with_changed_ones(edge):
    """KeyUpdate with update_requested (RFC 8446 section 4.6.3), twice, before the request: a line that is K asks s_client for it."""
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.daemon.https}", "-servername", "www.example.test", "-tls1_3"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        for words in (b"K\n", b"GET /large HTTP/1.1\r\nHost: www.example.test\r\n\r\n", b"K\n", b"GET /last HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n"):
            time.sleep(0.5)  # It looks for K at the beginning of what it reads at once.
            client.stdin.write(words)
            client.stdin.flush()
        said = client.stdout.read()  # To the end of the connection; the end of stdin would be the end of s_client.
    assert said.count(b"KEYUPDATE") == 2, said
    assert said.count(b"HTTP/1.1 200") == 2, said


def get(connection, path="/"):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
    return answer


# ---- versions ---------------------------------------------------------------------------------

@pytest.mark.parametrize("version, name", [(V12, "TLSv1.2"), (V13, "TLSv1.3")])
def test_both_versions_of_tls_are_spoken(edge, version, name):
    with tls_connect(edge.daemon.https, "www.example.test", version=version) as connection:
        assert connection.version() == name
        assert get(connection).startswith(b"HTTP/1.1 200 ")


def test_the_modern_profile_refuses_tls_12(start_edge):
    edge = start_edge(tls={"profile": "modern"})
    assert alert_of(edge.daemon.https, "www.example.test", version=V12) == "TLSV1_ALERT_PROTOCOL_VERSION"
    with tls_connect(edge.daemon.https, "www.example.test", version=V13) as connection:
        assert get(connection).startswith(b"HTTP/1.1 200 ")


def test_tls_11_and_weak_ciphers_are_refused(edge):
    assert "alert protocol version" in s_client(edge, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0").stderr
    assert "alert handshake failure" in s_client(edge, "-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:@SECLEVEL=0").stderr


# ---- names ------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["www.example.test", "a.wild.example.test", "WWW.Example.Test"])
def test_a_name_gets_its_certificate(edge, name):
    with tls_connect(edge.daemon.https, name, ca_file=edge.certificate) as connection:
        assert ("DNS", "www.example.test") in connection.getpeercert()["subjectAltName"]


@pytest.mark.parametrize("name", ["nobody.test", "a.b.wild.example.test", "wild.example.test"])
@pytest.mark.parametrize("version", [V12, V13])
def test_an_unknown_name_gets_the_alert_and_no_certificate(edge, name, version):
    assert alert_of(edge.daemon.https, name, version=version) == "TLSV1_UNRECOGNIZED_NAME"


def test_no_name_means_the_local_address(edge):
    with tls_connect(edge.daemon.https, None, ca_file=None) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_no_name_means_the_catch_all_else(start_edge):
    edge = start_edge(vhosts=[{"host": "*", "certificate": "site", "routes": [{"respond": {"status": 200, "body": "all"}}]}])
    with tls_connect(edge.daemon.https, None) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_no_name_and_nobody_for_it_gets_the_alert(start_edge):
    assert alert_of(start_edge().daemon.https, None) == "TLSV1_UNRECOGNIZED_NAME"


def test_nonsense_instead_of_a_hello_ends_the_connection(edge):
    with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: www.example.test\r\n\r\n")
        answer = b""
        try:
            while piece := connection.recv(4096):
                answer += piece
        except ConnectionResetError:
            pass
        assert not answer.startswith(b"HTTP")


# ---- ALPN -------------------------------------------------------------------------------------

@pytest.mark.parametrize("offer, chosen", [
    (("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), (("http/1.0",), "http/1.0"),
    (("spdy/3", "http/1.1"), "http/1.1")])
def test_alpn_chooses_the_best_that_both_speak(edge, offer, chosen):
    with tls_connect(edge.daemon.https, "www.example.test", alpn=offer) as connection:
        assert connection.selected_alpn_protocol() == chosen


def test_alpn_without_overlap_gets_the_alert(edge):
    assert "alert no application protocol" in s_client(edge, "-alpn", "spdy/3").stderr


def test_no_alpn_means_http1(edge):
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=5) as raw, \
            context.wrap_socket(raw, server_hostname="www.example.test") as connection:
        assert get(connection).startswith(b"HTTP/1.1 200 ")


def test_acme_tls_without_a_challenge_is_refused(edge):
    assert "unrecognized name" in s_client(edge, "-alpn", "acme-tls/1").stderr
    # Not the only one: not a validation, and there is nothing else to talk about.
    assert "alert no application protocol" in s_client(edge, "-alpn", "acme-tls/1,foo").stderr


# ---- sessions ---------------------------------------------------------------------------------

def resumable(edge, context, name, session=None):
    with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=5) as raw, \
            context.wrap_socket(raw, server_hostname=name, session=session) as connection:
        get(connection)
        return connection.session_reused, connection.session


@pytest.mark.parametrize("version", [V12, V13])
def test_a_ticket_resumes_a_session_under_its_own_name_only(edge, version):
    context = ssl._create_unverified_context()
    context.minimum_version = context.maximum_version = version
    reused, session = resumable(edge, context, "www.example.test")
    assert not reused
    assert resumable(edge, context, "www.example.test", session)[0]
    assert not resumable(edge, context, "a.wild.example.test", session)[0]


def test_openssl_reconnects_with_its_ticket(edge):
    done = s_client(edge, "-tls1_2", "-reconnect")
    assert (done.stdout.count("New, TLSv1.2"), done.stdout.count("Reused, TLSv1.2")) == (1, 5)


# ---- deadlines --------------------------------------------------------------------------------

def closes_after(connection):
    began = time.monotonic()
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


def test_a_client_that_says_nothing_is_closed_at_the_deadline(edge):
    with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=8) as silent:
        assert 0.9 < closes_after(silent) < 3


def test_a_hello_that_drips_does_not_move_the_deadline(edge):
    with socket.create_connection(("127.0.0.1", edge.daemon.https), timeout=8) as dripping:
        began = time.monotonic()
        dripping.sendall(b"\x16\x03\x01\x02\x00\x01")
        try:
            while time.monotonic() - began < 6:
                time.sleep(0.2)
                dripping.sendall(b"\x00")
        except OSError:
            pass
        assert time.monotonic() - began < 3


def test_the_default_deadline_is_five_seconds(start_edge):
    with socket.create_connection(("127.0.0.1", start_edge().daemon.https), timeout=15) as silent:
        assert 4.9 < closes_after(silent) < 7


# ---- TLS towards backends ---------------------------------------------------------------------

@pytest.fixture(scope="module")
def secured(start_edge, tmp_path_factory):
    """HTTPS backends, with the right and with wrong expectations of them."""
    directory = tmp_path_factory.mktemp("backends")
    certificate, key = make_certificate(directory, ["inner.test"], "inner")
    other, _ = make_certificate(directory, ["inner.test"], "other")
    contexts = {}
    for protocol in ("http/1.1", "h2"):
        contexts[protocol] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[protocol].load_cert_chain(certificate, key)
        contexts[protocol].set_alpn_protocols([protocol])
    servers = {"http/1.1": RawBackend(tls=contexts["http/1.1"]), "h2": H2Backend(tls=contexts["h2"])}

    def backend(which, protocol=None, name="inner.test", ca_file=certificate):
        return {"endpoints": [servers[which].url], "tls": {"server_name": name, "ca_file": ca_file},
                **({"protocol": protocol} if protocol else {})}
    edge = start_edge(backends={
        "right": backend("http/1.1"), "right-h2": backend("h2"), "told-h2": backend("h2", "h2"), "told-http1": backend("http/1.1", "http1"),
        "wrong-name": backend("http/1.1", name="outer.test"), "wrong-ca": backend("http/1.1", ca_file=other),
        "no-h2": backend("http/1.1", "h2"), "system-roots": {"endpoints": [servers["http/1.1"].url], "tls": {"server_name": "inner.test"}}})
    edge.servers = servers
    yield edge
    for server in servers.values():
        server.close()


@pytest.mark.parametrize("path, protocol", [("/right", "http/1.1"), ("/right-h2", "h2"), ("/told-h2", "h2"), ("/told-http1", "http/1.1")])
def test_a_backend_by_https_is_verified_and_asked(secured, path, protocol):
    with secured.raw() as client:
        client.request("POST", path, "Content-Length: 4\n", b"body")
        assert client.read().body == b"ok\n"
    assert secured.servers[protocol].request(path).body == b"body"


@pytest.mark.parametrize("path", ["/wrong-name", "/wrong-ca", "/no-h2", "/system-roots"])
def test_a_backend_that_is_not_who_it_should_be_gets_nothing(secured, path):
    with secured.raw() as client:
        assert client.get(path).status == 503
    assert secured.servers["http/1.1"].count(path) == 0
    assert secured.logged(path)["flags"] == "UF"
