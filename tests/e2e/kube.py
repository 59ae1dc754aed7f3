"""A real Kubernetes apiserver with its etcd on loopback: RBAC on, no controllers, no kubelet."""
import base64
import http.client
import json
import os
import pathlib
import shutil
import ssl
import time

import pytest

from authority import Authority, openssl
from gatehouse import INTEROP, Process, free_ports, wait_until

ISSUER = "https://kubernetes.default.svc.cluster.local"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def find_program(name, install):
    """Its path; the test is skipped where there is none."""
    at = INTEROP / name
    found = str(at) if at.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"no {name} here: {install}")
    return found


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Kube:
    """Started by its constructor; stop() and start() are a restart with the data that was there.
    `flags` are more of the apiserver's, `compaction` is etcd's interval."""

    def __init__(self, directory, flags=(), compaction="5m0s"):
        self.apiserver = find_program("kube-apiserver", "tests/interop/install-kube")
        self.etcd = find_program("etcd", "apt-get install etcd-server")
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.flags, self.compaction = list(flags), compaction
        self.port, self.etcd_port, self.peer_port = free_ports(3)
        self.processes = []
        self._make_keys()
        self.start()

    # ---- life

    @property
    def server(self):
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self):
        return str(self.directory / "ca.crt")

    def start(self):
        at = self.directory
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.peer_port))
        etcd = Process([self.etcd, "--name", "t", "--data-dir", at / "etcd", "--unsafe-no-fsync",
                        "--listen-client-urls", client, "--advertise-client-urls", client,
                        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                        "--initial-cluster", f"t={peer}"], at / "etcd.log",
                       env={"ETCD_UNSUPPORTED_ARCH": "arm64"} if os.uname().machine == "aarch64" else {})
        self.processes.append(etcd)
        apiserver = Process([self.apiserver, "--etcd-servers", client, "--bind-address", "127.0.0.1",
                             "--advertise-address", "127.0.0.1", "--secure-port", self.port,
                             "--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.0.0.0/24",
                             "--tls-cert-file", at / "apiserver.crt", "--tls-private-key-file", at / "apiserver.key",
                             "--client-ca-file", at / "ca.crt", "--authorization-mode", "RBAC",
                             "--service-account-issuer", ISSUER, "--service-account-key-file", at / "sa.pub",
                             "--service-account-signing-key-file", at / "sa.key",
                             "--etcd-compaction-interval", self.compaction, "--profiling=false", *self.flags],
                            at / "apiserver.log")
        self.processes.append(apiserver)

        def is_ready():
            assert apiserver.is_running() and etcd.is_running(), apiserver.output()[-3000:] + etcd.output()[-1000:]
            try:
                return self.call("GET", "/readyz")[0] == 200
            except OSError:
                return False
        wait_until(is_ready, 90, "the apiserver's start")

    def stop(self):
        while self.processes:
            process = self.processes.pop()  # the apiserver first
            process.kill() if process.child.args[0] == self.apiserver else process.close()

    def signal(self, number):
        """To the apiserver alone: SIGSTOP makes it one that answers nobody."""
        self.processes[-1].signal(number)

    def _make_keys(self):
        at = self.directory
        if (at / "ca.crt").exists():
            return
        at.chmod(0o700)
        self.authority = Authority(at, "/CN=kube-test-ca")
        self.client_certificate("admin", "system:masters")
        self.authority.sign("apiserver", "/CN=kube-apiserver",
                            "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc")
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", at / "sa.key")
        openssl("pkey", "-in", at / "sa.key", "-pubout", "-out", at / "sa.pub")

    def client_certificate(self, name, group):
        """For somebody outside the cluster: (certificate file, key file)."""
        return self.authority.sign(name, f"/O={group}/CN={name}", "extendedKeyUsage=clientAuth")

    # ---- requests of the administrator, or of a token

    def call(self, method, path, body=None, content_type="application/json", token=None):
        """(status, the JSON of the answer or its text)."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if token is None:
            context.load_cert_chain(self.directory / "admin.crt", self.directory / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        try:
            headers = {"Content-Type": content_type, **({"Authorization": f"Bearer {token}"} if token else {})}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        try:
            return reply.status, json.loads(text)
        except ValueError:
            return reply.status, text

    def must(self, method, path, body=None, content_type="application/json"):
        status, answer = self.call(method, path, body, content_type)
        assert status < 300, (method, path, status, answer)
        return answer

    def apply(self, path, body, manager="administrator"):
        return self.must("PATCH", f"{path}?fieldManager={manager}&force=true", body, APPLY)

    # ---- who may do what

    def namespace(self, name):
        self.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def account(self, namespace, name="gatehouse"):
        self.namespace(namespace)
        self.apply(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
                   {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})

    def grant(self, namespace, rules, account="gatehouse/gatehouse", name="gatehouse"):
        """A Role with these rules, for the account namespace/name. Given again, it replaces the rules."""
        owner_namespace, owner = account.split("/")
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self.namespace(namespace)
        self.apply(f"{base}/roles/{name}", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                                            "metadata": {"name": name, "namespace": namespace}, "rules": rules})
        self.apply(f"{base}/rolebindings/{name}", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": owner, "namespace": owner_namespace}]})

    @staticmethod
    def secrets_rule(*names, verbs=("get", "list", "watch", "create", "update", "patch")):
        """For these Secrets alone; without names for all of the namespace."""
        return {"apiGroups": [""], "resources": ["secrets"], "verbs": list(verbs),
                **({"resourceNames": list(names)} if names else {})}

    @staticmethod
    def leases_rule(*names):
        return {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": list(names),
                "verbs": ["get", "list", "watch", "create", "update", "patch"]}

    def token(self, account="gatehouse/gatehouse", seconds=3600):
        """By TokenRequest: 600 s at least."""
        namespace, name = account.split("/")
        answer = self.must("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
                           {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}})
        return answer["status"]["token"]

    def signed_token(self, seconds, account="gatehouse/gatehouse"):
        """Signed with the issuer's key, for any lifetime; a negative one is over."""
        namespace, name = account.split("/")
        uid = self.must("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")["metadata"]["uid"]
        now = int(time.time())
        begin = min(now, now + seconds - 3600) if seconds < 0 else now
        claims = {"iss": ISSUER, "aud": [ISSUER], "sub": f"system:serviceaccount:{namespace}:{name}", "iat": begin, "nbf": begin,
                  "exp": now + seconds, "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}}
        text = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        return text + "." + base64url(openssl("dgst", "-sha256", "-sign", self.directory / "sa.key", input=text.encode()))

    def kubeconfig(self, name="gatehouse", account="gatehouse/gatehouse", **user):
        """A file for that account by tokenFile, or for what is given ("client-certificate": ...); its path."""
        if not user:
            token_file = self.directory / f"{name}.token"
            replace_file(token_file, self.token(account))
            user = {"tokenFile": token_file.name}
        path = self.directory / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me", "namespace": account.split("/")[0]}}]}))
        return str(path)

    def pod_environment(self, account="gatehouse/gatehouse"):
        """What a pod of that account has: variables, and the files of its service account."""
        at = self.directory / ("serviceaccount-" + account.replace("/", "-"))
        at.mkdir(exist_ok=True)
        replace_file(at / "token", self.token(account))
        shutil.copy(self.ca_file, at / "ca.crt")
        (at / "namespace").write_text(account.split("/")[0])
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port),
                "GATEHOUSE_SERVICE_ACCOUNT": str(at)}

    # ---- Secrets, as the administrator

    @staticmethod
    def secret_path(at):
        namespace, name = at.split("/")
        return f"/api/v1/namespaces/{namespace}/secrets/{name}"

    def secret(self, at):
        """The object, its data decoded; None: there is none."""
        status, answer = self.call("GET", self.secret_path(at))
        if status == 404:
            return None
        assert status == 200, answer
        answer["data"] = {key: base64.b64decode(value).decode(errors="replace") for key, value in answer.get("data", {}).items()}
        return answer

    def put_secret(self, at, data, manager="kubectl-create", kind="kubernetes.io/tls", **metadata):
        """Made, or changed by force, as somebody else would."""
        namespace, name = at.split("/")
        return self.apply(self.secret_path(at), {
            "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name, "namespace": namespace, **metadata},
            "data": {key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode() for key, value in data.items()}},
            manager)

    def delete_secret(self, at):
        self.must("DELETE", self.secret_path(at))

    def compact(self):
        """Forgets every version but the newest: who watches from an old one gets 410 (after a restart, when its cache is gone)."""
        version = self.must("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
        connection = http.client.HTTPConnection("127.0.0.1", self.etcd_port, timeout=30)
        connection.request("POST", "/v3/kv/compaction", json.dumps({"revision": version, "physical": True}))
        assert connection.getresponse().status == 200
        connection.close()


def replace_file(path, text):
    """As kubelet does: nobody ever reads half of it."""
    beside = pathlib.Path(f"{path}.new")
    beside.write_text(text)
    beside.rename(path)
