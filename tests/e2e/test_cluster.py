"""Many nodes as one: a real apiserver, a real CA that asks any of them, one certificate for all."""
import concurrent.futures
import json
import pathlib
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from authority import Authority
from gatehouse import FULL, Daemon, Pebble, fetch_admin, free_ports, served_serial, wait_until
from test_kill import has_kill_points

NODES, NAMES = (8, 50) if FULL else (3, 8)
NAMESPACE = "gatehouse"
CLUSTER = {"namespace": NAMESPACE, "lease": "gatehouse", "state_secret": "gatehouse-state", "secret_prefix": "gatehouse-"}


class AnyNode:
    """Where the CA connects to: each connection goes to a node at random, as with anycast or DNS."""

    def __init__(self):
        self.ports, self.sent = [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(visitor,), daemon=True).start()

    def _join(self, visitor):
        port = random.choice(self.ports)
        self.sent.append(port)
        try:
            node = socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            visitor.close()
            return

        def copy(source, target):
            try:
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        other = threading.Thread(target=copy, args=(node, visitor), daemon=True)
        other.start()
        copy(visitor, node)
        other.join()
        for end in (visitor, node):
            end.close()

    def close(self):
        self.listener.close()


class Fleet:
    """Nodes over one namespace of an apiserver, and the CA that they all use."""

    def __init__(self, directory, kube, cleanup, names, lease="gatehouse"):
        self.directory, self.kube, self.cleanup = directory, kube, cleanup
        self.names = list(names)
        self.cluster = {**CLUSTER, "lease": lease, "state_secret": f"{lease}-state", "secret_prefix": f"{lease}-"}
        kube.account(NAMESPACE)
        kube.grant(NAMESPACE, [kube.secrets_rule(), kube.leases_rule(lease)], name=lease)
        self.entry = AnyNode()
        cleanup.callback(self.entry.close)
        self._sign_api(directory / "pebble")
        self.pebble = Pebble(directory / "pebble", self.entry.port, free_ports(1)[0], env={"PEBBLE_VA_NOSLEEP": "1"})
        cleanup.callback(self.pebble.stop)
        self.nodes = []

    @staticmethod
    def _sign_api(directory):
        """What the CA's own API shows, and what nodes trust: not younger than a clock that is behind."""
        authority = Authority(directory / "api", "/CN=pebble-api-ca")
        certificate, key = authority.sign("api", "/CN=pebble", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        chain = pathlib.Path(certificate).read_text() + (directory / "api/ca.crt").read_text()
        (directory / "pebble-ca.pem").write_text(chain)
        shutil.copy(key, directory / "pebble-key.pem")

    def config(self):
        return {"issuers": {"pebble": self.pebble.issuer()},
                "kubernetes": {"kubeconfig": self.kube.kubeconfig(), "cluster": self.cluster},
                "vhosts": [{"host": name, "routes": [{"respond": {"status": 200, "body": "ok\n"}}]} for name in self.names]}

    def add(self, env=None, wait=True, name=None):
        directory = self.directory / (name or f"node{len(self.nodes)}")
        directory.mkdir(exist_ok=True)
        node = Daemon(directory, self.config(), env=env, wait=wait)
        self.cleanup.callback(node.close)
        self.nodes.append(node)
        self.entry.ports.append(node.http)
        return node

    def restart(self, node):
        """With what is left in its directory."""
        again = Daemon(node.directory, node.config, env=node.env)
        self.cleanup.callback(again.close)
        self.nodes[self.nodes.index(node)] = again
        return again

    def view(self, node):
        return node.status()["cluster"]

    def lease(self):
        status, answer = self.kube.call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{self.cluster['lease']}")
        return answer["spec"] if status == 200 else {}

    def holder(self, seconds=60, other_than=None):
        """The node that issues."""
        def found():
            for node in self.nodes:
                if node is not other_than and node.is_running() and self.view(node)["may_issue"]:
                    return node
        return wait_until(found, seconds, "a node that issues")

    def want(self, names):
        """More names, on all nodes that can hear of it."""
        self.names += names
        vhosts = self.config()["vhosts"]
        for node in self.nodes:
            node.config["vhosts"] = vhosts
            node.write_config()
            if node.is_running():
                node.signal(signal.SIGHUP)

    def serials(self, name, nodes=None):
        return {served_serial(node.https, name) for node in nodes or self.nodes}

    def wait_issued(self, names=None, nodes=None, seconds=180):
        def are_there():
            for node in nodes or self.nodes:
                states = {one["name"]: one["state"] for one in node.status()["certificates"]}
                if any(states.get(name) != "valid" for name in names or self.names):
                    return False
            return True
        wait_until(are_there, seconds, "certificates on all nodes")

    def orders(self):
        return self.pebble.log().count("Added order")

    def secret(self, name):
        return self.kube.secret(f"{NAMESPACE}/{self.cluster['secret_prefix']}{name}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, module_cleanup, kube):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), kube, module_cleanup, [f"n{i}.cluster.test" for i in range(NAMES)])
    for _ in range(NODES):
        fleet.add()
    fleet.wait_issued()
    return fleet


@pytest.fixture
def small(tmp_path, cleanup, kube):
    """A fleet of its own, without nodes."""
    lease = f"small-{secrets.token_hex(4)}"
    return Fleet(tmp_path, kube, cleanup, [f"{part}.{lease}.test" for part in ("a", "b", "c")], lease)


def ask(node, host, token):
    """What a node answers to a CA: (status, headers, body)."""
    with socket.create_connection(("127.0.0.1", node.http), timeout=10) as connection:
        connection.sendall(f"GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, body = answer.decode(errors="replace").split("\r\n\r\n", 1)
    return int(head.split()[1]), head.lower(), body


# ---- one certificate for all --------------------------------------------------------------------

def test_each_certificate_is_ordered_once_and_served_everywhere(fleet):
    assert fleet.orders() == NAMES
    assert fleet.pebble.issued() == NAMES
    for name in fleet.names:
        assert len(fleet.serials(name)) == 1, name
    with_account = [node for node in fleet.nodes if "event=acme.account_registered" in node.output()]
    assert len(with_account) == 1


def test_all_nodes_know_the_holder(fleet):
    holder = fleet.holder()
    view = fleet.view(holder)
    assert fleet.lease()["holderIdentity"] == view["node"] == view["holder"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fleet.lease()["renewTime"])
    for node in fleet.nodes:
        theirs = fleet.view(node)
        assert theirs["holder"] == view["node"] and theirs["sync"] == "synced"
        assert theirs["certificates"] == NAMES and theirs["unshared"] == 0
        assert f"gatehouse_cluster_holder {1 if node is holder else 0}" in fetch_admin(node.admin, "/metrics")[1]
        assert view["node"] in node.command("status")[1]


def test_secrets_are_what_kubernetes_expects(fleet):
    secret = fleet.secret("n0.cluster.test")
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "gatehouse", "gatehouse/cluster": "gatehouse"}
    assert secret["metadata"]["annotations"]["gatehouse/certificate"] == "n0.cluster.test"
    state = fleet.kube.secret(f"{NAMESPACE}/gatehouse-state")
    assert len(json.loads(state["data"]["accounts.json"])) == 1
    wait_until(lambda: json.loads(fleet.kube.secret(f"{NAMESPACE}/gatehouse-state")["data"]["orders.json"]) == [], 30,
               "the end of all orders")


def test_every_node_answers_any_token_of_our_hosts(fleet):
    thumbprints = set()

    def validate(_):
        node, name, token = random.choice(fleet.nodes), random.choice(fleet.names), secrets.token_urlsafe(32)
        status, head, body = ask(node, name, token)
        assert status == 200 and body.startswith(token + "."), (status, body)
        assert "content-type: application/octet-stream" in head and "x-content-type-options: nosniff" in head
        thumbprints.add(body.split(".")[1])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(validate, range(1000)))
    assert len(thumbprints) == 1
    for node in fleet.nodes:
        assert ask(node, "stranger.test", "abc")[0] == 404
        for token in ("a.b", "a" * 129, "%3Ca%3E", "a/b", ""):
            assert ask(node, fleet.names[0], token)[0] == 404, token


def test_another_node_says_who_renews(fleet):
    holder = fleet.holder()
    other = next(node for node in fleet.nodes if node is not holder)
    status, _, error = other.command("certificates", "renew", fleet.names[0], check=False)
    assert status == 1 and fleet.view(holder)["node"] in error


def test_a_new_certificate_is_on_all_nodes_within_two_seconds(fleet, tmp_path):
    name = "n1.cluster.test"
    old = fleet.secret(name)
    key, pem = tmp_path / "key.pem", tmp_path / "pem.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", pem],
                   check=True, capture_output=True)
    before = fleet.serials(name)
    metadata = {part: old["metadata"][part] for part in ("labels", "annotations")}
    fleet.kube.put_secret(f"{NAMESPACE}/gatehouse-{name}", {"tls.crt": pem.read_text(), "tls.key": key.read_text()},
                          manager="gatehouse", **metadata)
    changed = time.monotonic()
    wait_until(lambda: len(now := fleet.serials(name)) == 1 and not now & before, 10, "the new certificate on all nodes")
    took = time.monotonic() - changed
    print(f"swap lag over {len(fleet.nodes)} nodes: {took * 1000:.0f} ms")
    assert took < 2


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_ticket_of_one_node_is_good_on_all(fleet, tmp_path, version):
    session, name = tmp_path / "session", fleet.names[0]

    def visit(node, *words):
        request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{node.https}", "-servername", name, version,
                               "-ign_eof", *map(str, words)], input=request, capture_output=True, text=True, timeout=30)
        return done.stdout
    assert "HTTP/1.1 200" in visit(fleet.nodes[0], "-sess_out", session)
    for node in fleet.nodes[1:]:
        assert "Reused, TLSv1" in visit(node, "-sess_in", session), node.directory


# ---- nodes come and go --------------------------------------------------------------------------

def test_a_node_that_lost_its_disk_orders_nothing(fleet):
    holder = fleet.holder()
    node = next(node for node in fleet.nodes if node is not holder)
    orders = fleet.orders()
    assert node.stop() == 0, node.output()[-3000:]
    shutil.rmtree(node.config["state"])
    again = fleet.restart(node)
    fleet.wait_issued(nodes=[again], seconds=20)
    for name in fleet.names:
        assert len(fleet.serials(name)) == 1
    assert fleet.orders() == orders


def test_a_holder_that_stops_gives_the_lease_back(fleet):
    holder = fleet.holder()
    begun = time.monotonic()
    assert holder.stop() == 0, holder.output()[-3000:]
    assert "event=lease.released" in holder.output()
    fleet.holder(12, other_than=holder)  # Well before the lease's 15 s.
    print(f"handed over within {time.monotonic() - begun:.1f} s")
    fleet.restart(holder)


def test_a_paused_holder_changes_nothing_any_more(fleet):
    holder = fleet.holder()
    more = [f"paused{i}.cluster.test" for i in range(4)]
    orders, issued = fleet.orders(), fleet.pebble.issued()
    placed = holder.output().count('step="placing the order"')
    fleet.want(more)
    wait_until(lambda: holder.output().count('step="placing the order"') > placed, 30, "an order")
    holder.signal(signal.SIGSTOP)
    begun = time.monotonic()
    try:
        fleet.entry.ports.remove(holder.http)  # A CA finds nobody there.
        others = [node for node in fleet.nodes if node is not holder]
        fleet.holder(40, other_than=holder)
        fleet.wait_issued(more, others, 60)
        wait_until(lambda: time.monotonic() - begun > (60 if FULL else 20), 90, "the pause")
    finally:
        holder.signal(signal.SIGCONT)
    fleet.entry.ports.append(holder.http)
    wait_until(lambda: "event=lease.lost" in holder.output(), 10, "the holder's insight")
    fleet.wait_issued(more)
    for name in more:
        assert len(fleet.serials(name)) == 1
    assert fleet.pebble.issued() - issued == len(more)
    assert fleet.orders() - orders <= len(more) + 4  # One each whose URL the paused one had not shared yet.


STEPS = ["placing the order", "waiting for validation", "finalizing the order", "waiting for the certificate",
         "downloading the certificate", "saving"]


def steps_of(node, names):
    """{name: its order's last step}, by a node's log."""
    return {name: step for name, step in re.findall(r'event=order\.step name=(\S+) .*step="?([a-z ]+)', node.output())
            if name in names}


@pytest.mark.parametrize("step", STEPS if FULL else ["waiting for the certificate"])
def test_a_holder_killed_in_the_middle_of_orders_leaves_one_certificate_for_each_name(fleet, step):
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    count, jitter = chance.randint(2, NAMES // 2), chance.uniform(0, 0.3)
    print(f"seed {seed}: {jitter * 1000:.0f} ms after {count} orders were at '{step}' or later")
    holder = fleet.holder()
    others = [node for node in fleet.nodes if node is not holder]
    more = [f"killed{STEPS.index(step)}-{i}.cluster.test" for i in range(NAMES)]
    orders, issued = fleet.orders(), fleet.pebble.issued()
    fleet.want(more)
    later = STEPS[STEPS.index(step):]
    wait_until(lambda: sum(at in later for at in steps_of(holder, more).values()) >= count, 60, f"orders at '{step}'")
    time.sleep(jitter)
    holder.kill()  # SIGKILL
    fleet.entry.ports.remove(holder.http)
    begun = time.monotonic()
    at_end = steps_of(holder, more)
    shared = set(re.findall(r"event=certificate\.shared name=(\S+)", holder.output()))
    fleet.holder(60, other_than=holder)
    taken_over = time.monotonic() - begun
    fleet.wait_issued(more, others)
    print(f"{len(shared & set(more))} shared, all at", {one: list(at_end.values()).count(one) for one in set(at_end.values())},
          f"; another issues after {taken_over:.1f} s, all are there after {time.monotonic() - begun:.1f} s;",
          f"{fleet.orders() - orders} orders, {fleet.pebble.issued() - issued} certificates for {len(more)} names")
    served = {name: fleet.serials(name, others) for name in more}
    assert all(len(serials) == 1 for serials in served.values()), served
    assert fleet.pebble.issued() - issued == len(more)
    # What the CA may have signed for the dead one is fetched, not ordered again.
    placed_again = {name for node in others for name, step in
                    re.findall(r'event=order\.step name=(\S+) .*step="(placing the order)"', node.output())}
    assert not placed_again & {name for name, at in at_end.items() if at in STEPS[2:]}
    # One that was placed and not shared yet has no successor, and those are what the CA has too much.
    assert len(more) <= fleet.orders() - orders <= 2 * len(more)

    orders = fleet.orders()
    again = fleet.restart(holder)
    fleet.entry.ports.append(again.http)
    fleet.wait_issued(nodes=[again])
    wait_until(lambda: fleet.view(again)["sync"] == "synced" and fleet.view(again)["unshared"] == 0, 30, "the watch")
    for name in more:
        assert fleet.serials(name) == served[name]
    assert fleet.orders() == orders and fleet.pebble.issued() - issued == len(more)


# What the dead one had placed and shared is gone on with; one whose URL was not shared is lost.
@pytest.mark.skipif(not has_kill_points(), reason="this binary has no kill points: build the debug preset")
@pytest.mark.parametrize("step", ["answers.after", "challenge.after", "finalize.after", "finish.after"] if FULL else
                         ["challenge.after", "finalize.after"])
def test_an_order_of_a_killed_holder_is_ended_by_another(small, step):
    dead = small.add(env={"GATEHOUSE_KILL_AT": f"acme.order.{step}"})
    wait_until(lambda: not dead.is_running(), 60, f"the end at {step}")
    small.nodes.remove(dead)
    small.entry.ports.remove(dead.http)
    for _ in range(2):
        small.add()
    small.wait_issued()
    for name in small.names:
        assert len(small.serials(name)) == 1
    assert small.pebble.issued() == len(small.names)
    # Each job of the dead one was somewhere between its order and the sharing of it.
    assert len(small.names) <= small.orders() <= 2 * len(small.names)
    taken = sum(int(count) for node in small.nodes for count in re.findall(r"event=cluster\.ready_to_issue .*orders=(\d+)", node.output()))
    assert taken >= 1, "an order was left"


def faketime():
    for path in pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"):
        return str(path)
    pytest.skip("no libfaketime here: apt-get install faketime")


def test_clocks_that_differ_by_minutes_do_not_matter(small):
    library = faketime()
    first, *more = small.names
    small.names = [first]
    holder = None
    for skew in ("-5m", "+0", "+5m"):  # Each is the one that issues for a while.
        node = small.add(env={"LD_PRELOAD": library, "FAKETIME": skew, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                              "ASAN_OPTIONS": "verify_asan_link_order=0:exitcode=99"})
        if holder:
            small.wait_issued(nodes=[node])
            assert holder.stop() == 0, holder.output()[-3000:]
            small.entry.ports.remove(holder.http)
            small.holder(other_than=holder)
            small.want([more.pop(0)])
        small.wait_issued(nodes=[node])
        if not holder:  # Pebble's begin when they are signed: this one is shared and served before that, by its clock.
            facts = node.certificate(first)
            assert facts["issued"] < facts["not_before"]
        holder = node
    for node in small.nodes[:-1]:
        small.entry.ports.append(small.restart(node).http)
    small.wait_issued()
    assert small.orders() == small.pebble.issued() == len(small.names) == 3
    for name in small.names:
        assert len(small.serials(name)) == 1
    changes = sum(node.output().count("event=lease.acquired") for node in small.nodes)
    time.sleep(60 if FULL else 20)  # Longer than a lease: it is the absence of changes that counts.
    # Whoever looked at wall clocks would take it at each try. One change a busy machine may cause.
    assert sum(node.output().count("event=lease.acquired") for node in small.nodes) <= changes + 1


def test_nodes_start_and_serve_without_the_apiserver(fleet):
    fleet.kube.stop()
    try:
        node = fleet.nodes[-1]
        assert node.stop() == 0
        again = fleet.restart(node)
        assert fetch_admin(again.admin, "/readyz")[0] == 200
        for name in random.sample(fleet.names, NAMES):
            assert len(fleet.serials(name)) == 1
        assert ask(again, fleet.names[0], "token")[2].startswith("token.")
        wait_until(lambda: fleet.view(again)["error"], 30, "an error in the status")
    finally:
        fleet.kube.start()
    wait_until(lambda: all(fleet.view(node)["sync"] == "synced" for node in fleet.nodes), 100, "the watch")
    fleet.holder()


def test_the_end_is_clean(fleet):
    for node in fleet.nodes:
        node.assert_clean()
