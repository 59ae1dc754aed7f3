"""Several event loops in one process: what is promised of the process holds over all of them."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from backends import RawBackend, answer, ok
from clients import RawClient
from edge import LINE
from gatehouse import (Frozen, accepts, curl, fetch_admin, free_ports, make_certificate, served_serial,
                       tls_connect, wait_until)

WORKERS = 4
HOST = "www.example.test"


@pytest.fixture
def start(start_daemon, site, tmp_path):
    """A daemon with four loops that answers /ping itself, on both ports."""
    def start(routes=(), wait=True, directory=None, **config):
        routes = [*routes, {"match": {"exact": "/ping"}, "respond": {"status": 200, "body": "ok\n"}}]
        return start_daemon({"workers": WORKERS,
                             "certificates": {"site": {"certificate_file": site[0], "key_file": site[1]}},
                             "vhosts": [{"host": HOST, "certificate": "site", "http": "serve", "routes": routes}],
                             **config}, wait=wait, directory=directory)
    return start


def loads(daemon):
    """Connections of each loop."""
    return [worker["connections"] for worker in daemon.status()["workers"]]


def settled(daemon, count):
    """The loads, once all these connections are counted."""
    return wait_until(lambda: sum(now := loads(daemon)) == count and now, 30, f"{count} connections")


def metric(daemon, name):
    """The sum of a metric's series."""
    text = fetch_admin(daemon.admin, "/metrics")[1]
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if re.match(rf"{name}(\{{.*\}})? ", line))


@contextlib.contextmanager
def plain_connections(port, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawClient(port, HOST, tls=False)) for _ in range(count)]


def answers_within(client, seconds, path="/ping"):
    """Whether a request on that connection is answered in time."""
    client.request("GET", path)
    client.sock.settimeout(seconds)
    try:
        return client.read().status == 200
    except (TimeoutError, AssertionError):
        return False
    finally:
        client.sock.settimeout(20)


# ---- connections ------------------------------------------------------------------------------

def test_a_thousand_connections_are_spread_evenly(start):
    daemon = start()
    with plain_connections(daemon.http, 1000) as clients:
        now = settled(daemon, 1000)
        assert len(now) == WORKERS and min(now) > 225 and max(now) < 275, now
        for client in clients[::50]:
            assert client.get("/ping").status == 200
        # Where many left, many come: those who stay do not tip the scales.
        for client in clients[:500]:
            client.sock.close()
        settled(daemon, 500)
        with plain_connections(daemon.http, 500):
            now = settled(daemon, 1000)
            assert min(now) > 225 and max(now) < 275, now
    assert metric(daemon, "gatehouse_connections_accepted_total") == 1500
    settled(daemon, 0)
    daemon.assert_clean()


def test_few_lasting_connections_are_spread_too(start):
    """By the hash of the kernel alone, eight connections leave a loop of four without any as often as not."""
    daemon = start()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(RawClient(daemon.https, HOST))
            assert client.get("/ping").status == 200  # One after the other: none is on its way.
        assert settled(daemon, 8) == [2, 2, 2, 2]
    daemon.assert_clean()


def test_a_unix_socket_feeds_all_loops(start, tmp_path):
    path = tmp_path / "edge.sock"
    https, = free_ports(1)
    daemon = start(listen={"https": [f"127.0.0.1:{https}"], "http": [f"unix:{path}"]})
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))
            client.sendall(f"GET /ping HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert settled(daemon, 40) == [10, 10, 10, 10]
    daemon.assert_clean()
    assert not path.exists()


def test_the_limit_of_connections_is_the_processs(start):
    backend, may_answer = RawBackend(), threading.Event()

    def held(connection, request):
        may_answer.wait(30)
        answer("HTTP/1.1 200 OK\nContent-Length: 3\n", b"ok\n")(connection, request)

    backend.on("/held", held)
    daemon = start([{"match": {"path": "/held"}, "backend": backend.url}], limits={"connections": 6})
    with contextlib.ExitStack() as stack:
        for count in range(1, 6):  # With the sixth, idle ones are closed to make room.
            client = stack.enter_context(RawClient(daemon.http, HOST, tls=False))
            client.request("GET", "/held")
            wait_until(lambda: backend.count("/held") == count, 20, "the request at the backend")
        for _ in range(5):  # On whatever loop they arrive, one at a time has a place.
            with plain_connections(daemon.http, 10):
                for _ in range(5):
                    assert sum(loads(daemon)) <= 6
        may_answer.set()
    settled(daemon, 0)
    with plain_connections(daemon.http, 3) as clients:  # And no loop has stopped for good.
        for client in clients:
            assert client.get("/ping").status == 200
    daemon.assert_clean()
    backend.close()


def test_the_limit_of_a_source_is_the_processs(start):
    daemon = start(limits={"connections_per_source": 5})
    with plain_connections(daemon.http, 20) as clients:
        assert sum(answers_within(client, 10) for client in clients) == 5
        assert sum(settled(daemon, 5)) == 5
    settled(daemon, 0)
    with plain_connections(daemon.http, 1) as (client,):
        assert client.get("/ping").status == 200
    assert metric(daemon, "gatehouse_connections_refused_total") == 15
    daemon.assert_clean()


def test_a_port_is_not_shared_with_another_daemon(start, tmp_path):
    """The loops share the port by SO_REUSEPORT; a second daemon of the same user must not slip in."""
    daemon = start()
    other = start(wait=False, directory=tmp_path / "other", listen=daemon.config["listen"])
    assert other.child.wait(20) == 1
    assert "in use" in other.output()
    daemon.assert_clean()


def test_sessions_are_resumed_on_every_loop(start, tmp_path):
    daemon = start()
    ticket = tmp_path / "ticket"
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.https}", "-servername", HOST, "-ign_eof"]
    request = f"GET /ping HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    first = subprocess.run([*words, "-tls1_2", "-sess_out", str(ticket)], input=request, capture_output=True, text=True,
                           timeout=30)
    assert "\nNew, " in first.stdout, first.stdout
    with contextlib.ExitStack() as held:
        for _ in range(2 * WORKERS):  # Connections that stay make each handshake another loop's.
            held.enter_context(RawClient(daemon.http, HOST, tls=False)).get("/ping")
            again = subprocess.run([*words, "-tls1_2", "-sess_in", str(ticket)], input=request, capture_output=True,
                                   text=True, timeout=30)
            assert "\nReused, " in again.stdout, again.stdout
    daemon.assert_clean()


# ---- snapshots --------------------------------------------------------------------------------

def test_a_reload_under_load_loses_nothing_and_is_taken_by_all(start):
    daemon = start()
    failures, done, stop = [], [0], threading.Event()

    def visit():
        while not stop.is_set():
            with RawClient(daemon.http, HOST, tls=False) as client:
                for _ in range(20):
                    got = client.get("/ping")
                    if got.status != 200 or got.body not in (b"ok\n", b"new\n"):
                        failures.append((got.status, got.body))
                    done[0] += 1

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    routes = daemon.config["vhosts"][0]["routes"]
    for turn in range(6):
        routes[-1]["respond"]["body"] = ["new\n", "ok\n"][turn % 2]
        daemon.write_config()
        daemon.command("reload")
        # From the moment that the command is done, on whatever loop.
        with plain_connections(daemon.http, 2 * WORKERS) as clients:
            assert {client.get("/ping").body for client in clients} == {routes[-1]["respond"]["body"].encode()}
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:5]
    assert done[0] > 100
    daemon.assert_clean()


def test_a_reload_that_cannot_listen_changes_no_loop(start):
    daemon = start()
    free, = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        old = daemon.config["listen"]["http"]
        daemon.config["listen"]["http"] = [*old, f"127.0.0.1:{free}", f"127.0.0.1:{taken.getsockname()[1]}"]
        daemon.config["vhosts"][0]["routes"][-1]["respond"]["body"] = "new\n"
        daemon.write_config()
        status, _, error = daemon.command("reload", check=False)
        assert status == 1 and "in use" in error, error
    assert not accepts(free)
    port = int(old[0].rsplit(":", 1)[1])
    with plain_connections(port, 2 * WORKERS) as clients:
        assert {client.get("/ping").body for client in clients} == {b"ok\n"}
    daemon.command("reload")  # Nobody has that port any more.
    with plain_connections(free, 2 * WORKERS) as clients:
        assert {client.get("/ping").body for client in clients} == {b"new\n"}
        assert min(loads(daemon)) >= 2
    daemon.config["listen"]["http"] = old
    daemon.write_config()
    daemon.command("reload")
    assert not accepts(free)
    daemon.assert_clean()


def test_another_number_of_workers_needs_a_restart(start):
    daemon = start()
    daemon.config["workers"] = 2
    daemon.write_config()
    status, _, error = daemon.command("reload", check=False)
    assert status == 2 and "restart" in error, error
    assert len(loads(daemon)) == WORKERS
    daemon.assert_clean()


def test_auto_is_one_per_core(start):
    daemon = start(workers="auto")
    assert len(loads(daemon)) == min(64, len(os.sched_getaffinity(0)))
    daemon.assert_clean()


def test_a_changed_certificate_is_served_by_all_loops(start, tmp_path, site):
    daemon = start()
    before = served_serial(daemon.https, HOST)
    (tmp_path / "new").mkdir()
    new = make_certificate(tmp_path / "new", [HOST])
    for source, target in zip(new, site):
        os.replace(source, target)
    wait_until(lambda: served_serial(daemon.https, HOST) != before, 30, "the new certificate")
    with contextlib.ExitStack() as held:
        serials = set()
        for _ in range(2 * WORKERS):
            held.enter_context(tls_connect(daemon.https, HOST))
            serials.add(served_serial(daemon.https, HOST))
    assert len(serials) == 1 and before not in serials
    daemon.assert_clean()


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_challenge_is_answered_by_whichever_loop_is_asked(start_daemon, start_pebble, cleanup, challenge):
    https, http = free_ports(2)
    pebble = start_pebble(http, https)
    names = [f"{label}.mydomain.test" for label in ("one", "two", "three", "four", "five", "six")]
    daemon = start_daemon({
        "workers": WORKERS,
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {"pebble": pebble.issuer(challenges=[challenge])},
        "vhosts": [{"host": name, "routes": [{"respond": {"status": 200, "body": "ok\n"}}]} for name in names]})
    # Unevenly loaded loops: the CA's questions come to all of them.
    for name in names:
        daemon.wait_valid(name, 120)
    assert "certificate.failed" not in daemon.output()
    root = pebble.root()
    for name in names:
        tls_connect(https, name, ca_file=root).close()
    daemon.assert_clean()


# ---- backends: their hosts and caps are the process's -----------------------------------------

class Host(RawBackend):
    """A host that says its name, and knows how many requests it had at once."""

    def __init__(self, name="ok", pause=0):
        self.name, self.pause = name.encode(), pause
        self.guard, self.now, self.most = threading.Lock(), 0, 0
        super().__init__(self.work)

    def work(self, connection, request):
        with self.guard:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.pause)  # It has something to do.
        with self.guard:
            self.now -= 1
        return ok(self.name)(connection, request)


@pytest.fixture
def hosts(cleanup):
    def make(*names, **more):
        made = [Host(name, **more) for name in names]
        for host in made:
            cleanup.callback(host.close)
        return made
    return make


def start_before(start, hosts, backend, **more):
    return start([{"match": {"exact": path}, "backend": "b"} for path in ("/", "/held")],
                 backends={"b": {"endpoints": [host.url for host in hosts], **backend}}, **more)


@contextlib.contextmanager
def one_on_each_loop(daemon):
    """A client for each loop. New connections go to the loop that has fewest."""
    with plain_connections(daemon.http, WORKERS) as clients:
        for client in clients:
            assert client.get("/ping").status == 200
        assert settled(daemon, WORKERS) == [1] * WORKERS
        yield clients


def state_of(daemon, host):
    found = daemon.status()["backends"][0]["hosts"]
    return next(entry["state"] for entry in found if entry["address"] == f"127.0.0.1:{host.port}")


def answers(clients, rounds):
    """Who has answered each client, that many times."""
    return [{client.get("/").body.decode() for _ in range(rounds)} for client in clients]


CHECKS = {"path": "/healthz", "interval": "100ms", "timeout": "2s", "unhealthy_after": 2, "healthy_after": 2}


def test_a_host_is_checked_by_one_loop_alone(start, hosts):
    host, = hosts("a")
    times = []

    def healthz(connection, request):
        times.append(time.monotonic())
        return ok()(connection, request)

    host.on("/healthz", healthz)
    daemon = start_before(start, [host], {"health": {**CHECKS, "interval": "200ms"}})
    wait_until(lambda: len(times) >= 11, 30, "eleven checks")
    assert times[10] - times[0] > 10 * 0.2 * 0.85, "an interval has 10% jitter; four loops would take a quarter of it"
    daemon.assert_clean()


def test_what_a_check_finds_out_holds_on_every_loop(start, hosts):
    a, b = hosts("a", "b")
    b.on("/healthz", answer("HTTP/1.1 503 Not now\ncontent-length: 0\n"))
    daemon = start_before(start, [a, b], {"health": CHECKS})
    with one_on_each_loop(daemon) as clients:
        wait_until(lambda: state_of(daemon, b) == "unhealthy", 20, "the bad news")
        wait_until(lambda: answers(clients, 2) == [{"a"}] * WORKERS, 20, "the bad news on every loop")
        assert answers(clients, 5) == [{"a"}] * WORKERS
        assert metric(daemon, "gatehouse_backend_hosts_usable") == 1
        # A reload that does not touch the backend keeps it, on every loop.
        daemon.config["limits"] = {"header_fields": 90}
        daemon.write_config()
        daemon.command("reload")
        assert answers(clients, 2) == [{"a"}] * WORKERS
        b.on("/healthz", ok())
        wait_until(lambda: answers(clients, 2) == [{"a", "b"}] * WORKERS, 20, "the good news on every loop")
    log = daemon.output()
    assert log.count("event=backend.unhealthy") == 1 and log.count("event=backend.healthy") == 1, "it is said once"
    daemon.assert_clean()


def eject_by_one(daemon, client):
    """That client alone asks until a host is ejected."""
    for _ in range(20):
        client.get("/")
        if "event=backend.ejected" in daemon.output():
            return
    wait_until(lambda: "event=backend.ejected" in daemon.output(), 10, "the ejection")


def reset(connection, request):
    connection.reset()


def test_what_one_loop_ejects_is_ejected_on_all(start, hosts):
    good, bad = hosts("good", "bad")
    bad.on("/", reset)
    daemon = start_before(start, [good, bad], {"eject": {"consecutive_errors": 3, "for": "60s"}})
    with one_on_each_loop(daemon) as clients:
        eject_by_one(daemon, clients[2])
        assert bad.count("/") == 3
        wait_until(lambda: state_of(daemon, bad) == "ejected", 20, "the news on the first loop")
        before = bad.count("/")
        assert answers(clients, 5) == [{"good"}] * WORKERS
        assert bad.count("/") == before
        assert metric(daemon, "gatehouse_backend_hosts_usable") == 1
        assert metric(daemon, "gatehouse_backend_ejections_total") == 1
    assert daemon.output().count("event=backend.ejected") == 1
    daemon.assert_clean()


def test_an_ejected_host_comes_back_on_all_loops(start, hosts):
    good, bad = hosts("good", "bad")
    bad.on("/", reset)
    daemon = start_before(start, [good, bad], {"eject": {"consecutive_errors": 3, "for": "1s"}})
    with one_on_each_loop(daemon) as clients:
        eject_by_one(daemon, clients[1])
        bad.on("/", ok(b"bad"))
        wait_until(lambda: answers(clients, 2) == [{"good", "bad"}] * WORKERS, 20, "its return on every loop")
    wait_until(lambda: "event=backend.returned" in daemon.output(), 10, "the line")
    assert daemon.output().count("event=backend.returned") == 1, "it is said once"
    daemon.assert_clean()


def test_loops_together_eject_no_more_than_may_be(start, hosts):
    bad = hosts("a", "b", "c", "d")
    for host in bad:
        host.on("/", reset)
    daemon = start_before(start, bad, {"eject": {"consecutive_errors": 2, "for": "60s", "at_most": "50%"}})

    def visit():
        with RawClient(daemon.http, HOST, tls=False) as client:
            for _ in range(40):
                client.get("/")

    threads = [threading.Thread(target=visit) for _ in range(2 * WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: sorted(state_of(daemon, host) for host in bad) == ["ejected"] * 2 + ["healthy"] * 2, 10, "two")
    assert daemon.output().count("event=backend.ejected") == 2
    daemon.assert_clean()


@pytest.mark.parametrize("most", [2, 5])
def test_a_backends_connections_are_capped_over_all_loops(start, hosts, most):
    """With fewer than there are loops a connection is handed on; with more each loop keeps one."""
    host, = hosts("a", pause=0.002)
    daemon = start_before(start, [host], {"limits": {"connections": most}, "timeouts": {"connect": "20s"}})
    failures = []

    def visit():
        with RawClient(daemon.http, HOST, tls=False) as client:
            for _ in range(25):
                got = client.get("/")
                if got.status != 200:
                    failures.append((got.status, got.body))

    threads = [threading.Thread(target=visit) for _ in range(4 * WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert host.most == most
    assert metric(daemon, "gatehouse_backend_overflows_total") == 0
    daemon.assert_clean()


def test_an_idle_connection_makes_room_for_another_loop(start, hosts):
    host, = hosts("a")
    daemon = start_before(start, [host], {"limits": {"connections": 1}})
    with one_on_each_loop(daemon) as clients:
        for _ in range(3):
            for client in clients:  # Each finds the place taken by a connection of the loop before.
                assert client.get("/").body == b"a"
    assert host.most == 1
    daemon.assert_clean()


def held(host):
    """From now on that host answers /held when the returned event is set."""
    may_answer = threading.Event()

    def script(connection, request):
        may_answer.wait(30)
        return ok(b"held")(connection, request)
    host.on("/held", script)
    return may_answer


@pytest.mark.parametrize("limits, served", [({"requests": 2}, 2), ({"connections": 1, "pending": 2}, 3)])
def test_a_backends_requests_and_queue_are_capped_over_all_loops(start, hosts, limits, served):
    host, = hosts("a")
    may_answer = held(host)
    daemon = start_before(start, [host], {"limits": limits, "timeouts": {"connect": "20s"}})
    with one_on_each_loop(daemon) as clients:
        for client in clients:
            client.request("GET", "/held")
            # The first one, too, is pending until its connection is there.
            wait_until(lambda: host.count("/held") > 0, 20, "the first request at the host")
        wait_until(lambda: metric(daemon, "gatehouse_backend_overflows_total") == WORKERS - served, 20, "the overflow")
        may_answer.set()
        assert sorted(client.read().status for client in clients) == [200] * served + [503] * (WORKERS - served)
        for client in clients:  # And there is room again, on every loop.
            assert client.get("/").status == 200
    daemon.assert_clean()


def test_status_adds_up_what_loops_say_of_a_host(start, hosts):
    host, = hosts("a")
    may_answer = held(host)
    daemon = start_before(start, [host], {})
    with one_on_each_loop(daemon) as clients:
        for client in clients:
            client.request("GET", "/held")
        wait_until(lambda: host.count("/held") == WORKERS, 20, "the requests at the host")
        told = daemon.status()["backends"][0]
        assert (told["usable"], len(told["hosts"])) == (1, 1)
        assert (told["hosts"][0]["requests"], told["hosts"][0]["connections"]) == (WORKERS, WORKERS)
        may_answer.set()
        for client in clients:
            assert client.read().body == b"held"
    assert metric(daemon, "gatehouse_backend_connects_total") == WORKERS
    daemon.assert_clean()


def test_a_reload_of_a_backend_under_load_loses_nothing(start, hosts):
    a, b = hosts("a", "b")
    daemon = start_before(start, [a], {"health": CHECKS, "limits": {"connections": 3}, "timeouts": {"connect": "20s"}})
    failures, stop = [], threading.Event()

    def visit():
        while not stop.is_set():
            with RawClient(daemon.http, HOST, tls=False) as client:
                for _ in range(20):
                    got = client.get("/")
                    if got.status != 200 or got.body not in (b"a", b"b"):
                        failures.append((got.status, got.body))

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for turn in range(6):
        host = (b, a)[turn % 2]
        daemon.config["backends"]["b"].update(endpoints=[host.url], limits={"connections": 3 + turn % 3})
        daemon.write_config()
        daemon.command("reload")
        with plain_connections(daemon.http, 2 * WORKERS) as clients:
            assert {client.get("/").body.decode() for client in clients} == {host.name.decode()}
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:5]
    daemon.assert_clean()


# ---- the end ----------------------------------------------------------------------------------

def test_draining_lets_the_requests_of_all_loops_finish(start):
    backend, may_answer = RawBackend(), threading.Event()

    def late(connection, request):
        may_answer.wait(20)
        answer("HTTP/1.1 200 OK\nContent-Length: 5\n", b"late\n")(connection, request)

    backend.on("/late", late)
    daemon = start([{"match": {"path": "/late"}, "backend": backend.url}])
    with plain_connections(daemon.http, 4 * WORKERS) as clients, plain_connections(daemon.http, WORKERS) as idle:
        assert min(settled(daemon, 5 * WORKERS)) >= 4
        for client in clients:
            client.request("GET", "/late")
        wait_until(lambda: backend.count("/late") == len(clients), 20, "the requests at the backend")
        daemon.signal(signal.SIGTERM)
        for client in idle:  # They are told at once, on every loop.
            assert client.read_head() is None
        assert not accepts(daemon.http) and not accepts(daemon.https)
        assert fetch_admin(daemon.admin, "/readyz")[0] == 503
        assert daemon.is_running()
        may_answer.set()
        for client in clients:
            assert client.read().body == b"late\n"
        assert daemon.child.wait(20) == 0
    daemon.assert_clean()
    backend.close()


def test_the_drain_deadline_holds_on_every_loop(start):
    daemon = start(limits={"drain_timeout": "1500ms", "header_timeout": "60s"})
    with plain_connections(daemon.http, 2 * WORKERS) as clients:
        for client in clients:
            client.send("GET /ping HTTP/1.1\r\n")  # A head that never ends.
        settled(daemon, 2 * WORKERS)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 15
    daemon.assert_clean()


def test_kill_9_leaves_the_ports_free_for_the_next(start):
    daemon = start()
    with plain_connections(daemon.http, 20) as clients:
        for client in clients:
            assert client.get("/ping").status == 200
        daemon.kill()
    again = start(listen=daemon.config["listen"])
    with plain_connections(again.http, 20) as clients:
        for client in clients:
            assert client.get("/ping").status == 200
        assert settled(again, 20) == [5, 5, 5, 5]
    again.assert_clean()


# ---- what is seen of it -----------------------------------------------------------------------

def test_metrics_are_the_sum_of_all_loops(start):
    daemon = start()
    with plain_connections(daemon.http, 40) as clients:
        for client in clients:
            for _ in range(5):
                assert client.get("/ping").status == 200
        assert metric(daemon, "gatehouse_requests_total") == 200
        assert metric(daemon, "gatehouse_request_duration_seconds_count") == 200
        assert metric(daemon, "gatehouse_connections") == 40
    settled(daemon, 0)
    assert metric(daemon, "gatehouse_connections") == 0
    text = fetch_admin(daemon.admin, "/metrics")[1]
    names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    assert "workers: 4   connections of each: 0 0 0 0" in daemon.command("status")[1]
    daemon.assert_clean()


def visit_with_long_paths(daemon, count):
    """Lines of up to 6 KiB, which no pipe takes in one piece, from connections on all loops."""
    def visit(number):
        with RawClient(daemon.http, HOST, tls=False) as client:
            for turn in range(count):
                path = f"/ping?{number}-{turn}-" + "x" * (7 * (number + turn * 53) % 6000)
                client.request("GET", path)
                assert client.read().status == 200
    threads = [threading.Thread(target=visit, args=(number,)) for number in range(2 * WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def assert_whole(text, count):
    found = [m["path"].split("-x")[0] for m in LINE.finditer(text)]
    lines = [line for line in text.splitlines() if "/ping?" in line or "xxx" in line]
    assert len(lines) == len(found), [line[:80] for line in lines if not LINE.match(line)][:3]
    assert len(found) == len(set(found)) == count


def test_access_log_lines_are_whole_in_a_file_that_is_moved(start, tmp_path):
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    daemon = start(log={"access": {"path": str(path)}})
    visit_with_long_paths(daemon, 40)
    path.rename(moved)
    daemon.signal(signal.SIGUSR1)
    wait_until(path.exists, 10, "the new file")
    visit_with_long_paths(daemon, 30)
    daemon.assert_clean()
    assert_whole(moved.read_text(), 2 * WORKERS * 40)
    # A line that was waiting when the signal came went to the old file; none is lost or twice.
    assert_whole(path.read_text(), 2 * WORKERS * 30)


def test_access_log_lines_are_whole_in_a_pipe(start, tmp_path):
    path = tmp_path / "access.fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    text = []

    def read():
        while piece := os.read(reader, 65536):
            text.append(piece)

    # While nobody writes a read would find the end: this end keeps it open until the daemon has gone.
    writer = os.open(path, os.O_WRONLY)
    thread = threading.Thread(target=read)
    thread.start()
    daemon = start(log={"access": {"path": str(path)}})
    visit_with_long_paths(daemon, 20)
    # A reader that is held up does not hold up the end: what a full pipe does not take then is lost.
    wait_until(lambda: b"".join(text).count(b"\n") >= 2 * WORKERS * 20, 60, "all lines")
    daemon.assert_clean()
    os.close(writer)
    thread.join()
    os.close(reader)
    assert_whole(b"".join(text).decode(), 2 * WORKERS * 20)


# ---- a loop that does not turn ----------------------------------------------------------------

def test_a_loop_that_does_not_turn_is_noticed(start):
    daemon = start()
    assert fetch_admin(daemon.admin, "/livez") == (200, "alive\n")
    with Frozen(daemon.pid, "gatehouse-2"):
        for _ in range(2):
            assert fetch_admin(daemon.admin, "/livez") == (503, "worker 2 does not turn\n")
    assert fetch_admin(daemon.admin, "/livez") == (200, "alive\n")
    daemon.assert_clean()
