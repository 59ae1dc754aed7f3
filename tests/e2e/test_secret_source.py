"""Certificates that others keep in Kubernetes Secrets: read from a real apiserver, followed, kept. And whether a gateway
serves what was mirrored."""
import contextlib
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from gatehouse import BINARY, fetch_admin, free_ports, make_certificate, presented, served_serial, wait_until
from kube import openssl

HOST = "www.example.test"
CERT_MANAGER = {"manager": "cert-manager-certificates-issuing", "labels": {"controller.cert-manager.io/fao": "true"},
                "annotations": {"cert-manager.io/certificate-name": "shop"}}


@pytest.fixture(scope="module")
def cluster(kube):
    """The apiserver, with an account that may read some Secrets by name, and write others."""
    kube.account("gatehouse")
    kube.grant("shop", [kube.secrets_rule(*(f"t{i}" for i in range(20)), verbs=("get", "list", "watch"))])
    kube.grant("istio-system", [kube.secrets_rule("copy", "gateway", "slow")])
    kube.grant("many", [kube.secrets_rule(verbs=("get", "list", "watch"))])
    return kube


@pytest.fixture
def pair(tmp_path):
    """Makes certificates as somebody else would: ({tls.crt, tls.key}, serial)."""
    made = []

    def make(*names):
        directory = tmp_path / f"pair{len(made)}"
        directory.mkdir()
        made.append(directory)
        chain, key = make_certificate(directory, list(names) or [HOST])
        serial = ssl_serial(chain)
        return {"tls.crt": pathlib.Path(chain).read_text(), "tls.key": pathlib.Path(key).read_text()}, serial
    return make


def ssl_serial(path):
    return openssl("x509", "-noout", "-serial", "-in", path).decode().strip().split("=")[1].lower()


@pytest.fixture
def reader(cluster, start_daemon):
    """Starts a daemon whose certificate "shop" is read from a Secret."""
    def start(secret, kubeconfig=None, directory=None, log="info", **more):
        return start_daemon({
            "log": {"level": log}, "kubernetes": {"kubeconfig": kubeconfig or cluster.kubeconfig()},
            "certificates": {"shop": {"secret": secret, **more}},
            "vhosts": [{"host": HOST, "certificate": "shop", "backend": "http://127.0.0.1:9"}]}, directory=directory)
    return start


def source(daemon, name="shop"):
    return daemon.certificate(name)["source"]


def wait_source(daemon, state, seconds=20):
    try:
        return wait_until(lambda: (s := source(daemon))["state"] == state and s, seconds, f"a source that is {state}")
    except AssertionError:
        raise AssertionError(f"{source(daemon)}\n{daemon.output()[-3000:]}")


def wait_served(daemon, serial, seconds=10, host=HOST):
    wait_until(lambda: served_serial(daemon.https, host) == serial, seconds, f"serial {serial} in a handshake")


def nowhere(directory):
    """A kubeconfig for an apiserver that is away."""
    port, = free_ports(1)
    path = directory / "nowhere.kubeconfig"
    path.write_text(json.dumps({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                                "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
                                "users": [{"name": "u", "user": {"token": "t"}}]}))
    return str(path)


def in_sync(daemon, secret):
    return re.search(rf'gatehouse_secret_source_in_sync{{secret="{secret}"}} (\d)', fetch_admin(daemon.admin, "/metrics")[1]).group(1)


# ---- reading and swapping

def test_cert_managers_secret_is_served_and_swapped_by_watch_and_never_written(cluster, reader, pair):
    first, serial = pair()
    cluster.put_secret("shop/t0", first, **CERT_MANAGER)
    daemon = reader("shop/t0")
    wait_source(daemon, "synced")
    assert served_serial(daemon.https, HOST) == serial and in_sync(daemon, "shop/t0") == "1"
    entry = daemon.certificate("shop")
    assert entry["kind"] == "secret" and entry["state"] == "valid" and entry["serial"] == serial and not entry["is_temporary"]
    second, newer = pair()
    version = cluster.put_secret("shop/t0", second, **CERT_MANAGER)["metadata"]["resourceVersion"]
    wait_served(daemon, newer, seconds=5)
    assert "read from shop/t0: synced" in daemon.command("certificates", "show", "shop")[1]
    assert cluster.secret("shop/t0")["metadata"]["resourceVersion"] == version
    assert daemon.command("certificates", "export", "shop")[1].strip() == second["tls.crt"].strip()
    daemon.assert_clean()


def test_garbage_and_deletion_leave_what_is_served_and_are_told_once(cluster, reader, pair):
    good, serial = pair()
    other, _ = pair()
    cluster.put_secret("shop/t1", good)
    daemon = reader("shop/t1")
    wait_source(daemon, "synced")
    for data, reason in (({**good, "tls.key": other["tls.key"]}, "key"), ({**good, "tls.crt": "garbage"}, "tls.crt"),
                         ({**good, "tls.key": ""}, "tls.key"), (pair("other.example.test")[0], f"does not cover {HOST}")):
        cluster.put_secret("shop/t1", data)
        wait_until(lambda: reason in source(daemon).get("reason", ""), 10, f"{reason} in the status")
        assert source(daemon)["state"] == "unusable" and served_serial(daemon.https, HOST) == serial
    assert f"read from shop/t1: unusable, the certificate does not cover {HOST}" in daemon.command("status")[1]
    cluster.delete_secret("shop/t1")
    wait_source(daemon, "missing")
    assert served_serial(daemon.https, HOST) == serial and in_sync(daemon, "shop/t1") == "0"
    assert daemon.output().count("event=secret_source.unusable") == 4
    assert daemon.output().count("event=secret_source.missing") == 1
    assert fetch_admin(daemon.admin, "/readyz")[0] == 200
    # Of another type, which needs another Secret: the same.
    cluster.put_secret("shop/t1", good, kind="Opaque")
    wait_until(lambda: "type Opaque" in source(daemon)["reason"], 10, "the type in the status")
    cluster.delete_secret("shop/t1")
    newest, newer = pair()
    cluster.put_secret("shop/t1", newest)
    wait_served(daemon, newer)
    assert "BEGIN PRIVATE KEY" not in daemon.output()
    daemon.assert_clean()


def test_it_starts_and_serves_from_its_database_without_the_apiserver(cluster, reader, pair, tmp_path):
    good, serial = pair()
    cluster.put_secret("shop/t2", good)
    daemon = reader("shop/t2")
    wait_source(daemon, "synced")
    wait_until(lambda: daemon.rows("SELECT count(*) FROM certificates") == [(1,)], 10, "the row")
    daemon.assert_clean()
    again = reader("shop/t2", kubeconfig=nowhere(tmp_path))
    assert served_serial(again.https, HOST) == serial and fetch_admin(again.admin, "/readyz")[0] == 200
    assert wait_source(again, "stale")["reason"]
    assert again.certificate("shop")["state"] == "valid"
    again.assert_clean()


def test_a_first_start_without_a_secret_serves_a_temporary_one_until_it_comes(cluster, reader, pair):
    daemon = reader("shop/t3")
    wait_source(daemon, "missing")
    assert "Gatehouse temporary" in presented(daemon.https, HOST) and daemon.certificate("shop")["is_temporary"]
    assert fetch_admin(daemon.admin, "/readyz")[0] == 200
    good, serial = pair()
    cluster.put_secret("shop/t3", good)
    wait_served(daemon, serial)
    daemon.assert_clean()


def test_a_role_that_is_missing_is_said(cluster, reader):
    daemon = reader("elsewhere/tls")
    assert "cannot list resource" in wait_source(daemon, "denied")["reason"]
    assert "read from elsewhere/tls: denied" in daemon.command("status")[1]


def test_what_is_read_may_be_mirrored_further(cluster, reader, pair):
    good, _ = pair()
    cluster.put_secret("shop/t4", good, **CERT_MANAGER)
    daemon = reader("shop/t4", secrets=["istio-system/copy"])
    wait_until(lambda: (c := cluster.secret("istio-system/copy")) and c["data"]["tls.crt"] == good["tls.crt"], 20, "the copy")
    newer, _ = pair()
    cluster.put_secret("shop/t4", newer, **CERT_MANAGER)
    wait_until(lambda: cluster.secret("istio-system/copy")["data"]["tls.crt"] == newer["tls.crt"], 20, "the newer copy")
    assert cluster.secret("shop/t4")["metadata"]["labels"] == CERT_MANAGER["labels"]
    daemon.assert_clean()


def test_many_of_a_namespace_share_one_watch(cluster, start_daemon, pair):
    names = [f"m{i}" for i in range(40)]
    data, serial = pair(*(f"{name}.example.test" for name in names))
    for name in names:
        cluster.put_secret(f"many/{name}", data)
    daemon = start_daemon({
        "kubernetes": {"kubeconfig": cluster.kubeconfig()},
        "certificates": {name: {"secret": f"many/{name}"} for name in names},
        "vhosts": [{"host": f"{name}.example.test", "certificate": name, "backend": "http://127.0.0.1:9"} for name in names]})
    wait_until(lambda: all(c["source"]["state"] == "synced" for c in daemon.status()["certificates"]), 20, "all of them")
    assert daemon.output().count("event=kubernetes.watching") == 1
    newer, serial2 = pair("m7.example.test")
    cluster.put_secret("many/m7", newer)
    wait_served(daemon, serial2, host="m7.example.test")
    assert served_serial(daemon.https, "m8.example.test") == serial
    daemon.assert_clean()


def test_a_reload_changes_where_a_certificate_comes_from_without_a_gap(cluster, reader, pair, tmp_path):
    good, serial = pair()
    cluster.put_secret("shop/t5", good)
    daemon = reader("shop/t5")
    wait_source(daemon, "synced")
    # To one of the built-in CA: what was read is served on until then, and it needs no new one.
    daemon.config["certificates"]["shop"] = {"names": [HOST], "issuer": "internal"}
    daemon.write_config()
    daemon.command("reload")
    assert daemon.certificate("shop")["kind"] == "managed"
    assert served_serial(daemon.https, HOST) == serial or "Gatehouse temporary" not in presented(daemon.https, HOST)
    # And back, to a Secret that is not there yet.
    before = daemon.wait_valid("shop")["serial"]
    daemon.config["certificates"]["shop"] = {"secret": "shop/t6"}
    daemon.write_config()
    daemon.command("reload")
    wait_source(daemon, "missing")
    assert "Gatehouse temporary" not in presented(daemon.https, HOST), before
    newest, newer = pair()
    cluster.put_secret("shop/t6", newest)
    wait_served(daemon, newer)
    daemon.assert_clean()


def test_what_the_import_cannot_issue_is_read_and_served(cluster, start_daemon, pair, tmp_path):
    (tmp_path / "manifests.yaml").write_text("""
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: vault}
spec: {vault: {server: "https://vault.example"}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: web, namespace: shop}
spec: {secretName: t7, issuerRef: {name: vault, kind: ClusterIssuer}, dnsNames: [www.example.test]}
""")
    done = subprocess.run([BINARY, "import", tmp_path / "manifests.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "secret: shop/t7" in done.stdout, done.stdout + done.stderr
    https, http, admin = free_ports(3)
    ours = {"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]}, "state": f"{tmp_path}/state",
            "admin": {"listen": f"127.0.0.1:{admin}", "socket": f"{tmp_path}/control.sock"},
            "kubernetes": {"kubeconfig": cluster.kubeconfig()}}
    good, serial = pair()
    cluster.put_secret("shop/t7", good, **CERT_MANAGER)
    daemon = start_daemon(ours, text=done.stdout + "".join(f"{key}: {json.dumps(value)}\n" for key, value in ours.items()))
    assert daemon.command("check")[0] == 0
    wait_served(daemon, serial)
    assert daemon.certificate("web")["source"] == {"name": "shop/t7", "state": "synced", "read": daemon.certificate("web")["source"]["read"]}
    daemon.assert_clean()


# ---- versions that are gone

class Wire:
    """A way to a port that can be cut."""

    def __init__(self, port):
        self.port_behind, self.is_cut, self.open = port, False, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                ends = [self.listener.accept()[0]]
            except OSError:
                return
            try:
                if self.is_cut:
                    raise OSError("cut")
                ends.append(socket.create_connection(("127.0.0.1", self.port_behind), timeout=10))
                ends[1].settimeout(None)
            except OSError:
                ends[0].close()
                continue
            self.open += ends
            for source, target in (ends, ends[::-1]):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.is_cut = True
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self.is_cut = False

    def close(self):
        self.listener.close()
        self.cut()


def test_after_410_it_lists_again_and_misses_nothing(start_kube, reader, pair, cleanup):
    kube = start_kube()
    wire = Wire(kube.port)
    cleanup.callback(wire.close)
    kube.account("gatehouse")
    kube.grant("shop", [kube.secrets_rule("t0", verbs=("get", "list", "watch"))])
    good, serial = pair()
    kube.put_secret("shop/t0", good)
    config = pathlib.Path(kube.kubeconfig())
    config.write_text(config.read_text().replace(f":{kube.port}", f":{wire.port}"))
    daemon = reader("shop/t0", kubeconfig=str(config), log="debug")
    wait_served(daemon, serial)
    # While it cannot look, the Secret changes, that version is forgotten, and the server's memory with it.
    wire.cut()
    newer, serial2 = pair()
    kube.put_secret("shop/t0", newer)
    for number in range(3):
        kube.namespace(f"later{number}")
    kube.compact()
    kube.stop()
    kube.start()
    assert served_serial(daemon.https, HOST) == serial
    wire.mend()
    wait_served(daemon, serial2, seconds=60)
    assert "event=kubernetes.watch_expired" in daemon.output(), daemon.output()[-3000:]
    # And from there on it follows.
    newest, serial3 = pair()
    kube.put_secret("shop/t0", newest)
    wait_served(daemon, serial3, seconds=10)
    daemon.assert_clean()


# ---- whether the gateway serves it

class Gateway:
    """A TLS server that shows what it was last given, for every name."""

    def __init__(self, chain, key):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.names = []
        self.load(chain, key)
        threading.Thread(target=self._serve, daemon=True).start()

    def load(self, chain, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        context.sni_callback = lambda connection, name, _: self.names.append(name)
        self.context = context

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                connection.settimeout(5)
                self.context.wrap_socket(connection, server_side=True).close()
            except OSError:
                pass

    def close(self):
        self.listener.close()


@pytest.fixture
def mirror(cluster, start_daemon, tmp_path):
    """Starts a daemon that mirrors a file certificate, and looks for it at a gateway."""
    def start(secret, port, **verify):
        directory = tmp_path / "mirror"
        directory.mkdir()
        chain, key = make_certificate(directory, ["*.wild.example.test", HOST])
        return start_daemon({
            "kubernetes": {"kubeconfig": cluster.kubeconfig()},
            "certificates": {"shop": {"certificate_file": chain, "key_file": key, "secrets": [secret],
                                      "verify": {"address": f"localhost:{port}", **verify}}},
            "vhosts": [{"host": HOST, "certificate": "shop", "backend": "http://127.0.0.1:9"}]}, directory=directory)
    return start


def gateway_state(daemon):
    return daemon.certificate("shop")["gateway"]


def wait_gateway(daemon, state, seconds):
    try:
        return wait_until(lambda: (g := gateway_state(daemon))["state"] == state and g, seconds, f"a gateway that is {state}")
    except AssertionError:
        raise AssertionError(f"{gateway_state(daemon)}\n{daemon.output()[-3000:]}")


def test_a_gateway_that_reads_the_secret_is_proven_to_serve_it(cluster, mirror, start_daemon, tmp_path):
    behind = tmp_path / "gateway"
    behind.mkdir()
    gateway = start_daemon({
        "kubernetes": {"kubeconfig": cluster.kubeconfig()}, "certificates": {"shop": {"secret": "istio-system/gateway"}},
        "vhosts": [{"host": HOST, "certificate": "shop", "backend": "http://127.0.0.1:9"}]}, directory=behind)
    daemon = mirror("istio-system/gateway", gateway.https)
    found = wait_gateway(daemon, "served", 20)
    assert found["server_name"] == HOST and found["shown_serial"] == found["serial"] and found["lag_ms"] < 10000
    make_certificate(tmp_path / "mirror", [HOST])
    daemon.command("reload")
    newer = wait_until(lambda: (g := gateway_state(daemon))["state"] == "served" and g["serial"] != found["serial"] and g, 20,
                       "the newer certificate at the gateway")
    assert served_serial(gateway.https, HOST) == newer["serial"]
    metrics = fetch_admin(daemon.admin, "/metrics")[1]
    assert 'gatehouse_gateway_in_time{certificate="shop"} 1' in metrics and "gatehouse_gateway_lag_seconds" in metrics
    assert "gateway localhost:" in daemon.command("certificates", "show", "shop")[1]
    daemon.assert_clean()
    gateway.assert_clean()


def test_a_gateway_that_is_late_raises_the_alarm_until_it_serves(cluster, mirror, cleanup, tmp_path):
    old = make_certificate(tmp_path, [HOST])
    gateway = Gateway(*old)
    cleanup.callback(gateway.close)
    daemon = mirror("istio-system/slow", gateway.port, within="2s")
    late = wait_gateway(daemon, "late", 20)
    assert late["shown_serial"] == ssl_serial(old[0]) and late["shown_serial"] in late["reason"]
    assert re.search(r"level=error event=gateway\.late certificate=shop .*reason=\"it shows the serial", daemon.output())
    assert 'gatehouse_gateway_in_time{certificate="shop"} 0' in fetch_admin(daemon.admin, "/metrics")[1]
    assert "gateway localhost:" in daemon.command("status")[1] and set(gateway.names) == {HOST}
    secret = cluster.secret("istio-system/slow")["data"]
    loaded = tmp_path / "loaded"
    loaded.mkdir()
    for key, name in (("tls.crt", "chain.pem"), ("tls.key", "key.pem")):
        (loaded / name).write_text(secret[key])
    gateway.load(loaded / "chain.pem", loaded / "key.pem")
    served = wait_gateway(daemon, "served", 60)
    assert served["lag_ms"] > 2000 and 'gatehouse_gateway_in_time{certificate="shop"} 1' in fetch_admin(daemon.admin, "/metrics")[1]
    assert daemon.output().count("event=gateway.late") == 1
    count = len(gateway.names)
    shutil.rmtree(loaded)
    wait_until(lambda: daemon.certificate("shop")["secrets"][0]["state"] == "synced", 10, "the Secret")
    assert len(gateway.names) == count  # Proven is proven.
    daemon.assert_clean()
