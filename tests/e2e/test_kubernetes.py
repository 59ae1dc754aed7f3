"""Certificates in Kubernetes Secrets: a real apiserver with RBAC, and what it does to us."""
import json
import re
import shutil
import signal
import threading
import time

import pytest

from gatehouse import fetch_admin, free_ports, make_certificate, served_serial, wait_until
from kube import replace_file

TARGET = "istio-system/istio-ingress-certs"


@pytest.fixture(scope="module")
def cluster(kube):
    """The apiserver, with an account that may touch the Secrets of these tests."""
    kube.account("gatehouse")
    kube.grant("istio-system", [kube.secrets_rule("istio-ingress-certs", "second", "third")])
    kube.grant("shop", [kube.secrets_rule(*(f"s{i}" for i in range(20)))])
    return kube


@pytest.fixture
def mirror(cluster, start_daemon, start_hello, tmp_path):
    """Starts a daemon that mirrors a file certificate, or one of the built-in CA, into a Secret."""
    def start(secret, kube=cluster, files=True, env=None, kubeconfig=True, wait=True, directory=None, **options):
        directory = directory or tmp_path
        directory.mkdir(parents=True, exist_ok=True)
        certificate = {"secrets": secret if isinstance(secret, list) else [secret], **options}
        if files:
            names = ["www.example.test"]
            certificate["certificate_file"], certificate["key_file"] = make_certificate(directory, names)
        else:
            certificate.update(names=["www.example.test"], issuer="internal")
        config = {"certificates": {"shop": certificate},
                  "vhosts": [{"host": "www.example.test", "certificate": "shop", "backend": "http://127.0.0.1:9"}]}
        if kubeconfig:
            config["kubernetes"] = {"kubeconfig": kubeconfig if isinstance(kubeconfig, str) else kube.kubeconfig()}
        daemon = start_daemon(config, directory=directory, env=env)
        if wait:
            wait_state(daemon, "synced", secret if isinstance(secret, str) else secret[0])
        return daemon
    return start


def state(daemon, secret=TARGET):
    for entry in daemon.certificate("shop").get("secrets", []):
        if entry["name"] == secret:
            return entry
    return None


def wait_state(daemon, wanted, secret=TARGET, seconds=20):
    try:
        return wait_until(lambda: (s := state(daemon, secret)) and s["state"] == wanted and s, seconds, f"{secret} {wanted}")
    except AssertionError:
        raise AssertionError(f"{state(daemon, secret)}\n{daemon.output()[-3000:]}")


def pem(path):
    return open(path).read()


def renew_files(daemon, directory):
    """Another certificate in the same files; the daemon is told."""
    make_certificate(directory, ["www.example.test"])
    daemon.command("reload")
    return pem(directory / "site.pem")


# ---- creation, update, drift

def test_a_certificate_is_in_its_secret_within_seconds_with_type_labels_and_no_ca(cluster, mirror, tmp_path):
    daemon = mirror("shop/s0", labels={"team": "edge"}, annotations={"example.com/why": "because"})
    secret = cluster.secret("shop/s0")
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["data"]["tls.crt"] == pem(tmp_path / "site.pem") and set(secret["data"]) == {"tls.crt", "tls.key"}
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "gatehouse", "team": "edge"}
    annotations = secret["metadata"]["annotations"]
    assert annotations["gatehouse/certificate"] == "shop" and annotations["example.com/why"] == "because"
    assert len(annotations["gatehouse/sha256"]) == 64
    version = secret["metadata"]["resourceVersion"]
    # A new certificate follows; the same one is not written again, not even by a new process.
    new = renew_files(daemon, tmp_path)
    wait_until(lambda: cluster.secret("shop/s0")["data"]["tls.crt"] == new, 10, "the new certificate in the Secret")
    assert cluster.secret("shop/s0")["metadata"]["resourceVersion"] != version
    version = cluster.secret("shop/s0")["metadata"]["resourceVersion"]
    wait_state(daemon, "synced", "shop/s0")
    assert 'gatehouse_secret_in_sync{secret="shop/s0"} 1' in fetch_admin(daemon.admin, "/metrics")[1]
    daemon.assert_clean()


def test_the_same_certificate_is_not_written_again_by_a_new_process(cluster, mirror, start_daemon, tmp_path):
    daemon = mirror("shop/s1")
    version = cluster.secret("shop/s1")["metadata"]["resourceVersion"]
    daemon.assert_clean()
    again = start_daemon(daemon.config)
    wait_state(again, "synced", "shop/s1")
    assert cluster.secret("shop/s1")["metadata"]["resourceVersion"] == version
    assert "gatehouse_secret_writes_total" not in fetch_admin(again.admin, "/metrics")[1]


def test_a_private_ca_gives_its_root_along(cluster, mirror):
    daemon = mirror("shop/s2", files=False)
    secret = cluster.secret("shop/s2")
    root = daemon.command("certificates", "export", "--root")[1]
    assert secret["data"]["ca.crt"] == root
    assert secret["data"]["tls.crt"].startswith("-----BEGIN CERTIFICATE-----")


def test_drift_is_repaired_once_and_a_fight_is_not_fought(cluster, mirror, tmp_path):
    daemon = mirror("shop/s3")
    good = pem(tmp_path / "site.pem")
    cluster.put_secret("shop/s3", {"tls.crt": "garbage", "tls.key": "garbage"}, manager="kubectl-edit")
    wait_until(lambda: cluster.secret("shop/s3")["data"]["tls.crt"] == good, 10, "the repair")
    wait_until(lambda: re.search(r"level=warn event=secret\.repaired.*kubectl-edit", daemon.output()), 10, "the warning")  # Behind the answer.
    cluster.put_secret("shop/s3", {"tls.crt": "garbage again", "tls.key": "garbage"}, manager="kubectl-edit")
    entry = wait_state(daemon, "overwritten", "shop/s3")
    assert entry["owner"] == "kubectl-edit"
    assert "level=error event=secret.overwritten" in daemon.output()
    assert 'gatehouse_secret_in_sync{secret="shop/s3"} 0' in fetch_admin(daemon.admin, "/metrics")[1]
    assert "kubectl-edit" in daemon.command("status")[1]
    time.sleep(2)  # What does not happen cannot be awaited.
    assert cluster.secret("shop/s3")["data"]["tls.crt"] == "garbage again"


def test_a_secret_that_is_deleted_under_us_comes_back(cluster, mirror, tmp_path):
    daemon = mirror("shop/s4")
    for _ in range(2):
        cluster.delete_secret("shop/s4")
        wait_until(lambda: cluster.secret("shop/s4"), 10, "the Secret's return")
        assert cluster.secret("shop/s4")["data"]["tls.crt"] == pem(tmp_path / "site.pem")
    daemon.assert_clean()


# ---- what is not ours

def test_a_foreign_secret_is_left_alone_and_its_owner_named(cluster, mirror):
    cluster.put_secret("shop/s5", {"tls.crt": "theirs", "tls.key": "theirs"}, manager="helm")
    daemon = mirror("shop/s5", wait=False)
    entry = wait_state(daemon, "foreign", "shop/s5")
    assert entry["owner"] == "helm" and "adopt" in entry["reason"]
    assert cluster.secret("shop/s5")["data"]["tls.crt"] == "theirs"


def test_adoption_takes_a_secret_over_once(cluster, mirror, tmp_path):
    cluster.put_secret("shop/s6", {"tls.crt": "theirs", "tls.key": "theirs"}, manager="helm", labels={"kept": "yes"})
    daemon = mirror("shop/s6", adopt=True)
    secret = cluster.secret("shop/s6")
    assert secret["data"]["tls.crt"] == pem(tmp_path / "site.pem")
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "gatehouse", "kept": "yes"}
    assert re.search(r"event=secret\.adopted.*helm", daemon.output())


def test_cert_managers_secrets_are_never_written_even_with_adopt(cluster, mirror):
    cluster.put_secret("shop/s7", {"tls.crt": "theirs", "tls.key": "theirs"}, manager="cert-manager-certificates-issuing",
                       labels={"controller.cert-manager.io/fao": "true"}, annotations={"cert-manager.io/certificate-name": "shop"})
    daemon = mirror("shop/s7", wait=False, adopt=True)
    entry = wait_state(daemon, "foreign", "shop/s7")
    assert entry["owner"] == "cert-manager (Certificate shop)"
    assert cluster.secret("shop/s7")["data"]["tls.crt"] == "theirs"


def test_a_secret_of_another_type_or_immutable_is_reported(cluster, mirror):
    cluster.put_secret("shop/s8", {"x": "y"}, kind="Opaque")
    daemon = mirror("shop/s8", wait=False, adopt=True)
    assert "type Opaque" in wait_state(daemon, "foreign", "shop/s8")["reason"]


# ---- the apiserver says no, or nothing

def test_a_missing_role_is_said_and_when_it_comes_the_secret_is_written(cluster, mirror):
    daemon = mirror("denied/shop", wait=False)
    entry = wait_state(daemon, "denied", "denied/shop")
    assert "cannot get resource" in entry["reason"]
    assert fetch_admin(daemon.admin, "/readyz")[0] == 200
    cluster.grant("denied", [cluster.secrets_rule("shop")])
    wait_state(daemon, "synced", "denied/shop", seconds=150)
    assert cluster.secret("denied/shop")


def test_an_expired_token_is_said_and_a_new_one_is_taken_from_its_file(cluster, mirror, tmp_path):
    path = tmp_path / "token"
    replace_file(path, cluster.signed_token(-120))
    daemon = mirror("shop/s9", wait=False, kubeconfig=cluster.kubeconfig("expired", tokenFile=str(path)))
    assert "Unauthorized" in wait_state(daemon, "failed", "shop/s9")["reason"]
    replace_file(path, cluster.signed_token(3600))
    wait_state(daemon, "synced", "shop/s9", seconds=90)
    assert cluster.signed_token(0)[:20] not in daemon.output()


def test_a_pod_finds_the_apiserver_by_its_service_account(cluster, mirror):
    mirror("shop/s10", kubeconfig=None, env=cluster.pod_environment())
    assert cluster.secret("shop/s10")


def test_a_client_certificate_is_an_identity_too(cluster, mirror):
    certificate, key = cluster.client_certificate("edge-node", "system:masters")
    mirror("shop/s11", kubeconfig=cluster.kubeconfig("edge", **{"client-certificate": certificate, "client-key": key}))
    assert cluster.secret("shop/s11")


# ---- restore

@pytest.fixture
def issued(cluster, start_daemon, start_pebble, tmp_path):
    """Starts a daemon whose certificate comes from pebble and goes into a Secret."""
    https, http = free_ports(2)
    pebble = start_pebble(http, https)

    def start(secret, kubeconfig=None, wipe=False):
        if wipe:
            shutil.rmtree(tmp_path / "state")
        daemon = start_daemon({
            "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
            "issuers": {"ca": pebble.issuer()}, "default_issuer": "ca",
            "kubernetes": {"kubeconfig": kubeconfig or cluster.kubeconfig()},
            "certificates": {"shop": {"names": ["www.example.test"], "secrets": [secret]}},
            "vhosts": [{"host": "www.example.test", "certificate": "shop", "backend": "http://127.0.0.1:9"}]})
        daemon.pebble = pebble
        return daemon
    return start


def test_after_a_lost_disk_the_certificate_comes_from_its_secret_without_an_order(cluster, issued):
    daemon = issued("shop/s13")
    wait_state(daemon, "synced", "shop/s13", seconds=90)
    serial = served_serial(daemon.https, "www.example.test")
    version = cluster.secret("shop/s13")["metadata"]["resourceVersion"]
    daemon.assert_clean()
    again = issued("shop/s13", wipe=True)
    entry = again.wait_valid("shop", 20)
    assert entry["issuer"] == "ca" and served_serial(again.https, "www.example.test") == serial
    wait_state(again, "synced", "shop/s13")
    assert again.rows("SELECT count(*) FROM certificates") == [(1,)]
    assert again.pebble.issued() == 1 and again.rows("SELECT count(*) FROM accounts") == [(0,)]
    assert cluster.secret("shop/s13")["metadata"]["resourceVersion"] == version
    again.assert_clean()


def test_garbage_in_a_secret_is_not_restored_but_ordered_anew(cluster, issued, tmp_path):
    cluster.put_secret("shop/s14", {"tls.crt": "garbage", "tls.key": "garbage"}, manager="gatehouse",
                       labels={"app.kubernetes.io/managed-by": "gatehouse"})
    daemon = issued("shop/s14")
    wait_state(daemon, "synced", "shop/s14", seconds=90)
    assert "event=secret.unusable" in daemon.output() and daemon.pebble.issued() == 1
    assert cluster.secret("shop/s14")["data"]["tls.crt"].startswith("-----BEGIN")


def test_an_apiserver_that_is_away_holds_a_first_order_back_for_a_minute_only(issued, tmp_path):
    nobody, = free_ports(1)
    config = tmp_path / "nowhere.kubeconfig"
    config.write_text(json.dumps({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                                  "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{nobody}"}}],
                                  "users": [{"name": "u", "user": {"token": "t"}}]}))
    begun = time.monotonic()
    daemon = issued("shop/s15", kubeconfig=str(config))
    assert "Secrets are read first" in daemon.certificate("shop")["next_reason"]
    daemon.wait_valid("shop", 120)
    assert 55 < time.monotonic() - begun < 120


# ---- last, since it takes the apiserver away from under the others

def test_without_an_apiserver_it_serves_and_goes_on_when_it_is_back(cluster, mirror, tmp_path):
    daemon = mirror("shop/s12")
    old = pem(tmp_path / "site.pem")
    cluster.compact()
    cluster.stop()
    new = renew_files(daemon, tmp_path)
    assert new != old
    wait_state(daemon, "failed", "shop/s12")
    assert fetch_admin(daemon.admin, "/readyz")[0] == 200
    cluster.start()
    wait_until(lambda: cluster.secret("shop/s12")["data"]["tls.crt"] == new, 90, "the new certificate in the Secret")
    # The watch goes on, too: its version is gone, so it has listed again.
    wait_state(daemon, "synced", "shop/s12")
    cluster.delete_secret("shop/s12")
    wait_until(lambda: cluster.secret("shop/s12"), 70, "the Secret's return")
    cluster.signal(signal.SIGSTOP)
    try:
        renew_files(daemon, tmp_path)
        assert fetch_admin(daemon.admin, "/livez")[0] == 200
    finally:
        cluster.signal(signal.SIGCONT)
    wait_until(lambda: cluster.secret("shop/s12")["data"]["tls.crt"] == pem(tmp_path / "site.pem"), 90, "what it missed")
    daemon.assert_clean()


def test_an_apiserver_that_is_too_busy_is_asked_again_when_it_says(start_kube, start_daemon, tmp_path):
    busy = start_kube(flags=["--enable-priority-and-fairness=false", "--max-requests-inflight=1", "--max-mutating-requests-inflight=1"])
    busy.account("gatehouse")
    names = [f"s{number}" for number in range(8)]
    busy.grant("shop", [busy.secrets_rule(*names)])
    certificate, key = make_certificate(tmp_path, ["www.example.test"])
    config = {"kubernetes": {"kubeconfig": busy.kubeconfig()}, "log": {"level": "debug"},
              "certificates": {"shop": {"secrets": [f"shop/{name}" for name in names], "certificate_file": certificate, "key_file": key}},
              "vhosts": [{"host": "www.example.test", "certificate": "shop", "backend": "http://127.0.0.1:9"}]}
    over = threading.Event()

    def ask():
        while not over.is_set():
            try:
                busy.call("GET", "/api/v1/secrets")
            except OSError:
                pass
    crowd = [threading.Thread(target=ask) for _ in range(20)]
    for one in crowd:
        one.start()
    try:
        daemon = start_daemon(config)
        wait_until(lambda: "event=kubernetes.told_to_wait" in daemon.output(), 20, "a request that has to wait")
    finally:
        over.set()
        for one in crowd:
            one.join(40)
    for name in names:
        wait_state(daemon, "synced", f"shop/{name}")
        assert busy.secret(f"shop/{name}")["data"]["tls.crt"] == pem(certificate)
    assert re.search(r"event=kubernetes\.told_to_wait request=.* status=429 wait_ms=1000", daemon.output())
    daemon.assert_clean()
