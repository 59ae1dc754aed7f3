"""conf/kubernetes: what a cluster says to the manifests, and a configuration that changes as a ConfigMap does."""
import json
import os
import re
import subprocess

import pytest

from gatehouse import BINARY, ROOT, free_ports, tls_connect, wait_until

CONF = ROOT / "conf/kubernetes"


# ---- a ConfigMap's volume ---------------------------------------------------------------------

class Volume:
    """A directory as kubelet keeps it: all of it changes at once, by the symlink ..data."""

    def __init__(self, directory):
        self.directory, self.version = directory, 0
        directory.mkdir()

    def fill(self, text):
        self.version += 1
        version = self.directory / f"..{self.version}"
        version.mkdir()
        (version / "gatehouse.yaml").write_text(text)
        os.symlink(version.name, self.directory / "..data_tmp")
        os.rename(self.directory / "..data_tmp", self.directory / "..data")
        if not (self.directory / "gatehouse.yaml").is_symlink():
            os.symlink("..data/gatehouse.yaml", self.directory / "gatehouse.yaml")


def test_a_changed_config_map_is_taken_without_being_asked(tmp_path, start_daemon):
    https, http, admin = free_ports(3)

    def config(body):
        return json.dumps({
            "state": f"{tmp_path}/state", "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
            "admin": {"listen": f"127.0.0.1:{admin}", "socket": f"{tmp_path}/control.sock"},
            "vhosts": [{"host": "localhost", "routes": [{"respond": {"status": 200, "body": body}}]}]})

    def answer():
        with tls_connect(https, "localhost") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            data = b""
            while chunk := connection.recv(4096):
                data += chunk
            return data.split(b"\r\n\r\n")[1].decode()

    volume = Volume(tmp_path / "volume")
    volume.fill(config("first"))
    daemon = start_daemon(json.loads(config("")), path=volume.directory / "gatehouse.yaml")
    assert answer() == "first"
    volume.fill(config("second"))
    wait_until(lambda: answer() == "second", 40, "the reload")
    assert "event=config.volume_changed" in daemon.output()
    # What does not check is refused once, and the next good one is taken again.
    volume.fill("vhosts: {}")
    wait_until(lambda: "event=config.refused" in daemon.output(), 40, "the refusal")
    assert answer() == "second"
    volume.fill(config("third"))
    wait_until(lambda: answer() == "third", 40, "the second reload")
    assert daemon.output().count("event=config.refused") == 1
    daemon.assert_clean()


# ---- the manifests ----------------------------------------------------------------------------

def kubectl(kube, *words, check=True, **options):
    from kube import find_program
    done = subprocess.run([find_program("kubectl", "tests/interop/install-kube"), "--kubeconfig",
                           kube.kubeconfig("admin", **{"client-certificate": "admin.crt", "client-key": "admin.key"}),
                           *map(str, words)], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0 or not check, done.stderr
    return done


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """An apiserver with the namespaces of the manifests. Skips where there is none."""
    kube = pytest.importorskip("kube", reason="no apiserver for tests").Kube(tmp_path_factory.mktemp("kube"))
    kube.namespace("istio-system")
    kube.apply("/api/v1/namespaces/gatehouse", yaml_of(kube, "namespace.yaml"))
    yield kube
    kube.stop()


def yaml_of(kube, name):
    """A manifest of the base as JSON, by kubectl."""
    return json.loads(kubectl(kube, "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", CONF / "base" / name).stdout)


@pytest.mark.parametrize("variant", ["base", "host-network"])
def test_the_apiserver_accepts_all_of_it(cluster, variant):
    done = kubectl(cluster, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", CONF / variant)
    for kind in ("namespace", "serviceaccount", "role.rbac", "rolebinding.rbac", "configmap", "daemonset.apps"):
        assert re.search(rf"^{kind}\S*/\S+ serverside-applied", done.stdout, re.MULTILINE), done.stdout
    assert ("service/gatehouse-metrics" in done.stdout) == (variant == "base")
    assert "Warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("variant, violations", [
    ("base", {"hostPort"}), ("host-network", {"host namespaces", "hostPort", "probe or lifecycle host"})])
def test_only_host_ports_are_against_pod_security(cluster, variant, violations):
    kubectl(cluster, "label", "--overwrite", "namespace", "gatehouse", "pod-security.kubernetes.io/warn=restricted")
    try:
        done = kubectl(cluster, "apply", "--server-side", "--dry-run=server", "-k", CONF / variant)
        found = re.search(r'would violate PodSecurity "restricted:latest": (.*)', done.stderr)
        assert found, done.stderr
        assert {violation.strip() for violation in re.findall(r"([\w ]+) \(", found[1])} == violations
    finally:
        kubectl(cluster, "label", "namespace", "gatehouse", "pod-security.kubernetes.io/warn-")


def pod_of(cluster):
    """What the DaemonSet's controller would make of the base."""
    manifest = kubectl(cluster, "kustomize", CONF / "base").stdout
    document, = (part for part in manifest.split("---\n") if "kind: DaemonSet" in part)
    daemon_set = json.loads(kubectl(cluster, "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-",
                                    input=document).stdout)
    template = daemon_set["spec"]["template"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gatehouse-x", **template["metadata"]}, "spec": template["spec"]}


def test_its_pods_are_admitted_in_its_own_namespace_only(cluster):
    pod = pod_of(cluster)
    cluster.account("gatehouse")
    status, answer = cluster.call("POST", "/api/v1/namespaces/gatehouse/pods?dryRun=All", pod)
    assert status == 201, answer
    cluster.account("strict")
    kubectl(cluster, "label", "--overwrite", "namespace", "strict", "pod-security.kubernetes.io/enforce=baseline")
    status, answer = cluster.call("POST", "/api/v1/namespaces/strict/pods?dryRun=All", pod)
    assert status == 403 and "hostPort" in answer["message"], answer
    for container in pod["spec"]["containers"]:  # Without them it passes the strictest.
        for port in container["ports"]:
            port.pop("hostPort", None)
    kubectl(cluster, "label", "--overwrite", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    status, answer = cluster.call("POST", "/api/v1/namespaces/strict/pods?dryRun=All", pod)
    assert status == 201, answer


def test_its_account_may_do_what_it_needs_and_no_more(cluster):
    cluster.account("gatehouse")
    kubectl(cluster, "apply", "--server-side", "-k", CONF / "base")

    def may(verb, resource, namespace):
        done = kubectl(cluster, "auth", "can-i", verb, resource, "-n", namespace, "--as", "system:serviceaccount:gatehouse:gatehouse",
                       check=False)
        return done.stdout.strip() == "yes"
    for verb in ("get", "list", "watch", "create", "update", "patch"):
        assert may(verb, "secrets/istio-ingress-certs", "istio-system"), verb
        assert may(verb, "secrets/gatehouse-state", "gatehouse"), verb
        assert may(verb, "leases.coordination.k8s.io/gatehouse", "gatehouse"), verb
        assert not may(verb, "secrets/another", "istio-system"), verb
        assert not may(verb, "secrets", "default"), verb
    assert not may("list", "secrets", "istio-system")
    for resource, namespace in (("secrets/istio-ingress-certs", "istio-system"), ("secrets/gatehouse-state", "gatehouse"),
                                ("leases.coordination.k8s.io/gatehouse", "gatehouse")):
        assert not may("delete", resource, namespace)


@pytest.mark.parametrize("variant", ["base", "host-network"])
def test_its_configuration_checks_and_agrees_with_the_ports(variant):
    config = CONF / variant / "gatehouse.yaml"
    done = subprocess.run([BINARY, "check", "--config", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ports = {"base": ("8443", "8080"), "host-network": ("443", "80")}[variant]
    manifest = (CONF / variant / "daemonset.yaml").read_text()
    for port in ports:
        assert f'"[::]:{port}"' in config.read_text() and re.search(rf"containerPort: {port},", manifest)
