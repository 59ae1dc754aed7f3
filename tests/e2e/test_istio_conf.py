"""conf/istio: each example before a real Envoy that is configured as Istio's is."""
import re
import shutil
import signal
import socket
import subprocess

import pytest

from authority import Authority, openssl
from backends import RawBackend
from clients import RawClient
from envoy import Envoy
from gatehouse import BINARY, ROOT, free_ports, served_serial, wait_until

WWW, MOBILE = "www.localhost", "mobile.localhost"  # Names of the built-in CA.
OURS, THEIRS, ANOTHER = (f"spiffe://cluster.local/ns/{who}" for who in (
    "gatehouse/sa/gatehouse", "default/sa/helloworld", "default/sa/another"))


@pytest.fixture(scope="module")
def program(module_cleanup):
    """The workload behind Envoy; it keeps the heads that it was sent."""
    backend = RawBackend()
    module_cleanup.callback(backend.close)
    return backend


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    """The directory of certificates that the mesh's CA has signed, and one that it has not."""
    directory = tmp_path_factory.mktemp("mesh")
    authority, stranger = Authority(directory, "/O=cluster.local"), Authority(directory / "strangers", "/O=cluster.local")
    for name, identity in (("ours", OURS), ("renewed", OURS), ("theirs", THEIRS), ("another", ANOTHER)):
        authority.sign(name, "/O=workload", f"subjectAltName=critical,URI:{identity}\nextendedKeyUsage=clientAuth,serverAuth")
    for path in stranger.sign("stranger", "/O=workload", f"subjectAltName=URI:{OURS}"):
        shutil.copy(path, directory)
    return directory


@pytest.fixture(scope="module")
def envoy(tmp_path_factory, module_cleanup, program, mesh):
    envoy = Envoy(tmp_path_factory.mktemp("envoy"), program.port)
    module_cleanup.callback(envoy.close)
    envoy.add("http", [WWW, MOBILE], trusted_hops=1)
    envoy.add("http-untrusting", [WWW, MOBILE])
    envoy.add("https", [WWW], tls=envoy.from_secret("www-mydomain-com"), trusted_hops=1)
    envoy.add("proxied", [WWW], proxy_protocol=True, trusted_hops=1)
    envoy.add("proxied-untrusting", [WWW], proxy_protocol=True)
    for name in ("theirs", "another"):
        envoy.add(name, ["*"], tls=Envoy.mutual(f"{mesh}/{name}.crt", f"{mesh}/{name}.key", f"{mesh}/ca.crt"), is_sidecar=True)
    envoy.deliver("www-mydomain-com", (mesh / "another.crt").read_text(), (mesh / "another.key").read_text())
    envoy.start()
    return envoy


@pytest.fixture
def start_example(tmp_path, start_daemon):
    """Starts a daemon with a file of conf/istio, only hosts, addresses and paths replaced."""
    def start(name, port, **options):
        https, http, admin = free_ports(3)
        text = example(name, port)
        text += f"""
state: {tmp_path}/state
listen: {{https: ["127.0.0.1:{https}"], http: ["127.0.0.1:{http}"]}}
admin: {{listen: "127.0.0.1:{admin}", socket: {tmp_path}/control.sock}}
"""
        ports = {"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
                 "admin": {"listen": f"127.0.0.1:{admin}", "socket": f"{tmp_path}/control.sock"}}
        return start_daemon(ports, text=text, **options)
    return start


def example(name, port):
    text = (ROOT / "conf/istio" / name).read_text()
    text, count = re.subn(r"(https?://)[a-z.-]+\.svc\.cluster\.local:\d+", rf"\g<1>127.0.0.1:{port}", text)
    assert count == 1
    return text.replace("www.mydomain.com", WWW).replace("mobile.mydomain.com", MOBILE)


def get(daemon, path, host=WWW, source="127.0.0.1"):
    """The answer to a request of a visitor at an address."""
    visitor = socket.create_connection(("127.0.0.1", daemon.https), timeout=20, source_address=(source, 0))
    with RawClient(daemon.https, host, over=visitor) as client:
        return client.get(path, host=host)


# ---- the ingress gateway ------------------------------------------------------------------------

def test_h2c_arrives_with_what_is_known_of_the_client(envoy, program, start_example):
    daemon = start_example("h2c.yaml", envoy.ports["http"])
    for host in (WWW, MOBILE):
        path = f"/h2c-{host}"
        assert get(daemon, path, host, "127.0.0.7").status == 200
        seen = program.request(path)
        assert seen["host"] == host and seen["x-seen-protocol"] == "HTTP/2"
        assert seen["x-forwarded-proto"] == "https"
        assert seen["x-forwarded-for"].startswith("127.0.0.7,")  # Envoy appends whom it sees.
        assert not seen.all("x-forwarded-client-cert")
    daemon.assert_clean()


def test_a_gateway_without_trusted_proxies_makes_http_of_it(envoy, program, start_example):
    daemon = start_example("h2c.yaml", envoy.ports["http-untrusting"])  # What the file and `check` warn of.
    assert get(daemon, "/untrusting").status == 200
    assert program.request("/untrusting")["x-forwarded-proto"] == "http"
    done = subprocess.run([BINARY, "check", "--config", ROOT / "conf/istio/h2c.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "numTrustedProxies" in done.stderr


def test_the_gateway_learns_the_address_by_the_proxy_protocol(envoy, program, start_example):
    daemon = start_example("proxy-protocol.yaml", envoy.ports["proxied"])
    for number, source in enumerate(("127.0.0.8", "127.0.0.9", "127.0.0.8")):
        assert get(daemon, f"/proxied{number}", source=source).status == 200
        seen = program.request(f"/proxied{number}")
        assert seen["x-forwarded-for"].startswith(source + ",")
        assert seen["host"] == WWW and seen["x-forwarded-proto"] == "https"
    daemon.assert_clean()
    # By the header alone, where X-Forwarded-For is nobody's word.
    daemon = start_example("proxy-protocol.yaml", envoy.ports["proxied-untrusting"])
    for number, source in enumerate(("127.0.0.8", "127.0.0.9", "127.0.0.8")):
        assert get(daemon, f"/alone{number}", source=source).status == 200
        assert program.request(f"/alone{number}")["x-seen-from"] == source
    daemon.assert_clean()


def test_a_gateway_that_does_not_expect_the_proxy_protocol_answers_nobody(envoy, program, start_example):
    daemon = start_example("proxy-protocol.yaml", envoy.ports["http"])
    assert get(daemon, "/unexpected").status in (400, 502, 503)
    assert program.count("/unexpected") == 0


def test_tls_to_the_gateway_with_the_mirrored_certificate(envoy, program, kube, tmp_path, start_example):
    at = "istio-system/www-mydomain-com"
    kube.account("istio-system")
    kube.grant("istio-system", [kube.secrets_rule("www-mydomain-com")], "istio-system/gatehouse")
    daemon = start_example("tls.yaml", envoy.ports["https"], env=kube.pod_environment("istio-system/gatehouse"))
    secret = wait_until(lambda: kube.secret(at), 30, "the Secret")
    envoy.deliver("www-mydomain-com", secret["data"]["tls.crt"], secret["data"]["tls.key"])
    serial = served_serial(daemon.https, WWW)
    wait_until(lambda: served_serial(envoy.ports["https"], WWW) == serial, 20, "the gateway's certificate")
    # It is trusted by the system's roots, and those are not ours yet.
    assert get(daemon, "/distrusted").status == 503 and program.count("/distrusted") == 0
    root = tmp_path / "root.pem"
    root.write_text(daemon.command("certificates", "export", "--root")[1])
    daemon.assert_clean()
    daemon = start_example("tls.yaml", envoy.ports["https"],
                           env={**kube.pod_environment("istio-system/gatehouse"), "SSL_CERT_FILE": str(root)})
    assert get(daemon, "/tls", source="127.0.0.7").status == 200
    seen = program.request("/tls")
    assert seen["x-seen-protocol"] == "HTTP/2" and seen["x-seen-sni"] == seen["host"] == WWW
    assert seen["x-forwarded-proto"] == "https" and seen["x-forwarded-for"].startswith("127.0.0.7,")
    daemon.assert_clean()


# ---- straight to a workload ---------------------------------------------------------------------

def replace_pair(directory, mesh, name):
    for ending, target in (("key", "key.pem"), ("crt", "cert-chain.pem")):
        beside = directory / f"{target}.new"
        shutil.copy(mesh / f"{name}.{ending}", beside)
        beside.rename(directory / target)


@pytest.fixture
def tls_files(tmp_path, mesh):
    """Beside the configuration, as an agent of the mesh keeps them."""
    directory = tmp_path / "tls"
    directory.mkdir()
    shutil.copy(mesh / "ca.crt", directory / "root-cert.pem")
    replace_pair(directory, mesh, "ours")
    return directory


def serial_of(certificate):
    return openssl("x509", "-noout", "-serial", "-in", certificate).decode().strip().split("=")[1].lower()


def test_the_workload_knows_us_by_our_certificate_also_when_it_changes(envoy, program, mesh, tls_files, start_example):
    daemon = start_example("mesh-mtls.yaml", envoy.ports["theirs"])
    assert get(daemon, "/mutual").status == 200
    seen = program.request("/mutual")
    assert seen["host"] == WWW and seen["x-forwarded-proto"] == "https"
    parts = dict(part.split("=", 1) for part in seen["x-forwarded-client-cert"].split(";"))
    assert parts["URI"] == OURS and parts["By"] == THEIRS
    assert seen["x-seen-serial"] == serial_of(mesh / "ours.crt")

    replace_pair(tls_files, mesh, "renewed")
    paths = iter(f"/renewed-{number}" for number in range(10**6))

    def is_renewed():
        path = next(paths)
        assert get(daemon, path).status == 200
        return program.request(path)["x-seen-serial"] == serial_of(mesh / "renewed.crt")
    wait_until(is_renewed, 60, "the renewed certificate")
    daemon.assert_clean()


def test_a_workload_of_another_identity_gets_nothing(envoy, program, tls_files, start_example):
    daemon = start_example("mesh-mtls.yaml", envoy.ports["another"])
    assert get(daemon, "/another").status == 503
    assert program.count("/another") == 0
    # It was its name alone.
    daemon.text = daemon.text.replace(THEIRS, ANOTHER)
    daemon.write_config()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "event=config.reloaded" in daemon.output(), 20, "the reload")
    assert get(daemon, "/another").status == 200
    daemon.assert_clean()


def test_a_workload_refuses_a_certificate_of_another_authority(envoy, program, mesh, tls_files, start_example):
    replace_pair(tls_files, mesh, "stranger")
    daemon = start_example("mesh-mtls.yaml", envoy.ports["theirs"])
    assert get(daemon, "/stranger").status in (502, 503)  # Under TLS 1.3 it is known only when an answer is due.
    assert program.count("/stranger") == 0
    daemon.assert_clean()
