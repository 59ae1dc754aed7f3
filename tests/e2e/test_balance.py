"""Several hosts behind one backend: who gets which request, and what happens when hosts come, go and
fail. Hosts are addresses of loopback (127.0.0.2, .3, ...) that share a port."""
import collections
import http.client
import re
import socket
import threading

import pytest

from backends import RawBackend, answer, ok
from fake_dns import FakeDns
from gatehouse import wait_until
from test_send_proxy_protocol import read_header


def shared_port(count):
    """A port that is free on each of the first addresses of 127.0.0.2 and following."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", 0))
            port = probe.getsockname()[1]
        sockets = []
        try:
            for i in range(count):
                sockets.append(socket.create_server((f"127.0.0.{i + 2}", port)))
            return port
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
    raise AssertionError("no port is free everywhere")


class ToldBackend(RawBackend):
    """Behind PROXY headers, which it skips."""

    def serve(self, sock):
        sock.settimeout(20)
        read_header(sock)
        super().serve(sock)


class World:
    """A daemon before hosts that say who they are."""

    def __init__(self, start_daemon, count=3, kind=RawBackend):
        self.start_daemon, self.count, self.kind = start_daemon, count, kind
        self.port = shared_port(count + 1)
        self.dns = FakeDns()
        self.hosts = {}
        for i in range(count):
            self.start_host(i)

    def address(self, i):
        return f"127.0.0.{i + 2}"

    def start_host(self, i):
        self.hosts[i] = self.kind(ok(str(i).encode()), at=(self.address(i), self.port))
        return self.hosts[i]

    def kill_host(self, i):
        """Its port is closed, and so are its connections: also those that threads wait on."""
        host = self.hosts[i]
        host.listener.shutdown(socket.SHUT_RDWR)
        host.listener.close()
        for connection in host.connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def literals(self):
        return [f"http://{self.address(i)}:{self.port}" for i in range(self.count)]

    def start(self, backend=None, vhost=None, **config):
        backend = {"endpoints": self.literals(), **(backend or {})}
        self.daemon = self.start_daemon({
            "backends": {"b": backend}, "vhosts": [{"host": "127.0.0.1", "http": "serve", **(vhost or {"backend": "b"})}],
            **config}, env=self.dns.env)
        return self.daemon

    def get(self, path="/", headers=None):
        """(status, body, headers) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.http, timeout=20)
        try:
            connection.request("GET", path, headers=headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read().decode(), reply.headers
        finally:
            connection.close()

    def who(self, **more):
        status, body, _ = self.get(**more)
        assert status == 200, (status, body)
        return int(body)

    def counts(self, requests, **more):
        return collections.Counter(self.who(**more) for _ in range(requests))

    def hang(self, i):
        """From now on that host answers /hang only when the returned event is set."""
        release, arrived = threading.Event(), []

        def script(connection, request):
            arrived.append(request)
            release.wait(20)
            return ok(str(i).encode())(connection, request)
        self.hosts[i].on("/hang", script)
        return release, arrived

    def in_background(self, path):
        """A request in a thread; join() it for (status, body, headers)."""
        thread = threading.Thread(target=lambda: setattr(thread, "got", self.get(path)), daemon=True)
        thread.start()
        return thread


@pytest.fixture
def world(start_daemon, cleanup):
    def make(count=3, kind=RawBackend):
        made = World(start_daemon, count, kind)
        cleanup.callback(made.dns.close)
        return made
    return make


def flags_of(daemon, path):
    def find():
        return re.findall(rf'"GET {path} HTTP/1.1" (\d+) (\S+) .* "([^"]*)"\n', daemon.output())
    return wait_until(find, 10, f"a log line for {path}")


# ---- hosts by DNS -----------------------------------------------------------------------------

def test_each_address_of_a_name_is_a_host(world):
    w = world()
    w.dns.zones["web.test"] = [w.address(i) for i in range(3)]
    w.start({"endpoints": [f"http://web.test:{w.port}"]})
    assert w.counts(9) == {0: 3, 1: 3, 2: 3}
    assert flags_of(w.daemon, "/")[0][2].endswith(f":{w.port}"), "the log names the address"


def test_hosts_join_and_leave_as_dns_says_and_open_requests_finish(world):
    w = world()
    w.dns.zones["web.test"] = [w.address(0), w.address(1)]
    w.start({"endpoints": [f"http://web.test:{w.port}"]})
    assert w.counts(4) == {0: 2, 1: 2}
    release, arrived = w.hang(0)
    open_request = w.in_background("/hang")
    while not arrived:  # It goes to one of the two; only host 0 lets it hang.
        open_request.join(0.05)
        if not open_request.is_alive():
            open_request = w.in_background("/hang")
    w.dns.zones["web.test"] = [w.address(1), w.address(2)]
    wait_until(lambda: w.who() == 2, 15, "the new host")
    assert w.counts(20) == {1: 10, 2: 10}
    release.set()
    open_request.join(20)
    assert open_request.got[:2] == (200, "0")
    wait_until(lambda: all(c.sock.fileno() < 0 for c in w.hosts[0].connections), 15, "the old host's connections to be closed")
    assert "event=backend.host_joined" in w.daemon.output() and "event=backend.host_left" in w.daemon.output()


class Crowded:
    """One host, of whose only connection a request makes long use while another waits for it; and then
    DNS says something else."""

    def __init__(self, w, **backend):
        self.w = w
        w.dns.zones["web.test"] = [w.address(0)]
        w.start({"endpoints": [f"http://web.test:{w.port}"], "limits": {"connections": 1}, **backend})
        self.release, arrived = w.hang(0)
        self.busy = w.in_background("/hang")
        wait_until(lambda: arrived, 10, "the request")
        self.waiting = [w.in_background("/waits")]
        w.dns.zones["web.test"] = [w.address(1)]
        wait_until(self.has_left, 20, "the host to go")

    def has_left(self):
        self.waiting.append(self.w.in_background("/waits"))  # DNS is asked again while there are requests.
        return "event=backend.host_left" in self.w.daemon.output()

    def answers(self):
        for thread in self.waiting:
            thread.join(20)
            assert not thread.is_alive()
        return {thread.got[:2] for thread in self.waiting}


def test_who_waits_for_a_host_that_leaves_goes_to_another(world):
    w = world(2)
    crowded = Crowded(w)
    assert crowded.answers() == {(200, "1")}
    assert crowded.busy.is_alive()
    crowded.release.set()
    crowded.busy.join(20)
    assert crowded.busy.got[:2] == (200, "0")


def test_who_waits_with_a_connection_of_its_own_goes_to_another_host_when_there_is_room(world):
    w = world(2, ToldBackend)
    crowded = Crowded(w, send_proxy_protocol="v1")
    crowded.release.set()
    assert crowded.answers() == {(200, "1")}
    crowded.busy.join(20)
    assert crowded.busy.got[:2] == (200, "0")


def test_each_of_those_who_wait_with_connections_of_their_own_gets_a_place(world):
    w = world(1, ToldBackend)
    w.start({"limits": {"connections": 1}, "send_proxy_protocol": "v1"})
    release, arrived = w.hang(0)
    threads = [w.in_background("/hang")]
    wait_until(lambda: arrived, 10, "the request")
    threads += [w.in_background("/waits") for _ in range(3)]
    wait_until(lambda: w.daemon.status()["backends"][0]["hosts"][0]["requests"] == 4, 10, "the others to wait")
    release.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive() and thread.got[:2] == (200, "0")


def test_who_waits_is_served_when_a_reload_takes_the_host_away(world):
    w = world(2)
    w.start({"endpoints": w.literals()[:1], "limits": {"connections": 1}})
    release, arrived = w.hang(0)
    threads = [w.in_background("/hang")]
    wait_until(lambda: arrived, 10, "the request")
    threads.append(w.in_background("/waits"))
    wait_until(lambda: w.daemon.status()["backends"][0]["hosts"][0]["requests"] == 2, 10, "the other one to wait")
    w.daemon.config["backends"]["b"]["endpoints"] = w.literals()[1:]
    w.daemon.write_config()
    w.daemon.command("reload")
    assert w.who() == 1
    release.set()
    for thread in threads:
        thread.join(20)
        assert thread.got[:2] == (200, "0")


def test_hosts_stay_while_dns_fails(world):
    w = world(2)
    w.dns.zones["web.test"] = [w.address(0), w.address(1)]
    w.start({"endpoints": [f"http://web.test:{w.port}"]})
    assert w.counts(4) == {0: 2, 1: 2}
    w.dns.is_broken = True
    def failed():
        w.who()
        return "event=backend.resolve_failed" in w.daemon.output()
    wait_until(failed, 20, "DNS to be asked again")
    assert w.counts(4) == {0: 2, 1: 2}


def test_a_name_that_nobody_knows_yet_does_not_hold_up_the_start(world):
    w = world(1)
    w.start({"endpoints": [f"http://later.test:{w.port}"]})
    status, body, _ = w.get("/unknown")
    assert status == 503
    assert flags_of(w.daemon, "/unknown")[0][:2] == ("503", "DF")
    w.dns.zones["later.test"] = [w.address(0)]
    wait_until(lambda: w.get()[0] == 200, 30, "the name to be found")


def test_a_request_waits_for_dns_no_longer_than_for_a_connection(world):
    w = world(1)
    w.dns.is_silent = True
    w.start({"endpoints": [f"http://slow.test:{w.port}"], "timeouts": {"connect": "500ms"}})
    waiting = w.in_background("/slow")
    waiting.join(15)
    assert waiting.got[0] == 503
    assert flags_of(w.daemon, "/slow")[0][:2] == ("503", "DF")


def test_requests_wait_for_the_first_answer(world):
    w = world(1)
    w.dns.is_silent = True
    w.start({"endpoints": [f"http://web.test:{w.port}"], "timeouts": {"connect": "15s"}})
    waiting = [w.in_background(f"/wait{i}") for i in range(3)]
    wait_until(lambda: w.dns.asked, 10, "the question")
    w.dns.zones["web.test"] = [w.address(0)]
    w.dns.is_silent = False
    for thread in waiting:
        thread.join(20)
        assert thread.got[:2] == (200, "0")


def test_srv_records_say_ports_weights_and_priorities(world, cleanup):
    w = world(3)
    w.dns.zones["_http._tcp.web.test"] = [(10, 30, w.port, "a.web.test"), (10, 10, w.port, "b.web.test"),
                                          (20, 10, w.port, "c.web.test")]
    for i, name in enumerate("abc"):
        w.dns.zones[f"{name}.web.test"] = [w.address(i)]
    w.start({"endpoints": ["srv+http://_http._tcp.web.test"]})
    assert w.counts(40) == {0: 30, 1: 10}


# ---- policies ---------------------------------------------------------------------------------

def test_a_round_begins_anywhere(world):
    w = world(3)
    w.start()
    first = {w.who()}
    for number in range(15):  # A changed backend begins anew.
        w.daemon.config["backends"]["b"]["timeouts"] = {"connect": f"{number + 10}s"}
        w.daemon.write_config()
        w.daemon.command("reload")
        first.add(w.who())
    assert len(first) > 1  # Else by chance, once in five million.


def test_least_requests_leaves_a_busy_host_alone(world):
    w = world(2)
    w.start({"balance": "least_requests"})
    release, arrived = w.hang(0)
    threads = []
    while len(arrived) < 1:
        threads.append(w.in_background("/hang"))
        threads[-1].join(0.2)
    assert w.counts(20)[1] == 20
    release.set()
    for thread in threads:
        thread.join(20)


@pytest.mark.parametrize("form, header", [("hash:header:x-user", "X-User"), ("hash:cookie:sid", None)])
def test_a_hash_keeps_each_key_with_one_host_and_spreads_keys(world, form, header):
    w = world(3)
    w.start({"balance": form})

    def headers(key):
        return {header: key} if header else {"Cookie": f"a=b; sid={key}"}
    homes = {f"user-{i}": w.who(headers=headers(f"user-{i}")) for i in range(30)}
    assert set(homes.values()) == {0, 1, 2}
    assert all(w.who(headers=headers(key)) == home for key, home in homes.items())
    # Keys of a host that is lost go elsewhere, all others stay.
    w.kill_host(1)
    for key, home in homes.items():
        got = w.who(headers=headers(key))
        assert got == home if home != 1 else got != 1


def test_a_hash_of_the_source_keeps_a_client_with_one_host(world):
    w = world(3)
    w.start({"balance": "hash:source"})
    assert len(w.counts(12)) == 1


def test_a_sticky_cookie_keeps_a_client_with_its_host_until_that_is_gone(world):
    w = world(3)
    w.start({"sticky": {"cookie": "edge"}})
    status, first, headers = w.get()
    cookie = headers["set-cookie"]
    assert re.fullmatch(r"edge=[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax", cookie)
    back = {"Cookie": f"x=y; {cookie.partition(';')[0]}"}
    for _ in range(6):
        status, body, headers = w.get(headers=back)
        assert (status, body, headers["set-cookie"]) == (200, first, None)
    w.kill_host(int(first))
    status, body, headers = w.get(headers=back)
    assert status == 200 and body != first
    assert headers["set-cookie"].startswith("edge=") and headers["set-cookie"] != cookie
    assert w.get(headers={"Cookie": "edge=nonsense"})[2]["set-cookie"]


def test_the_sticky_cookie_is_the_same_on_every_node(world, tmp_path):
    w = world(3)
    cookies = []
    for node in ("one", "two"):
        (tmp_path / node).mkdir()
        made = {}
        w.daemon = w.start_daemon({"backends": {"b": {"endpoints": w.literals(), "sticky": {"cookie": "edge"}}},
                                   "vhosts": [{"host": "127.0.0.1", "http": "serve", "backend": "b"}]}, directory=tmp_path / node)
        for _ in range(3):
            _, body, headers = w.get()
            made[body] = headers["set-cookie"]
        cookies.append(made)
    assert cookies[0] == cookies[1] and len(cookies[0]) == 3


def test_a_canary_gets_its_share(world):
    w = world(2)
    first, second = w.literals()
    w.start(backend={"endpoints": [first]}, vhost={"routes": [
        {"split": [{"backend": "b", "weight": 90}, {"backend": second, "weight": 10}]}]})
    assert 10 <= w.counts(300)[1] <= 55  # 30 expected; beyond it with a chance below 1e-5


# ---- failures ---------------------------------------------------------------------------------

def test_a_dead_host_costs_nobody_a_request_and_comes_back(world):
    w = world(3)
    w.start()
    assert w.counts(6) == {0: 2, 1: 2, 2: 2}
    w.kill_host(1)
    assert set(w.counts(12)) == {0, 2}
    w.start_host(1)
    wait_until(lambda: w.who() == 1, 20, "the host that is back")


def reset(connection, request):
    connection.reset()


def test_a_host_that_fails_on_and_on_is_ejected_and_returns(world):
    w = world(3)
    w.start({"eject": {"consecutive_errors": 3, "for": "2s", "at_most": "50%"}})
    w.hosts[1].on("/bad", reset)
    def ejected():
        w.get("/bad")
        return "event=backend.ejected" in w.daemon.output()
    wait_until(ejected, 20, "the ejection")
    assert set(w.counts(12)) == {0, 2}
    wait_until(lambda: "event=backend.returned" in w.daemon.output(), 20, "its return")
    assert w.counts(12)[1] == 4


def test_an_ejection_survives_a_reload_that_changes_something_else(world):
    w = world(3)
    w.start({"eject": {"consecutive_errors": 3, "for": "60s", "at_most": "50%"}})
    w.hosts[1].on("/bad", reset)
    def ejected():
        w.get("/bad")
        return "event=backend.ejected" in w.daemon.output()
    wait_until(ejected, 20, "the ejection")
    connections = len(w.hosts[0].connections)
    w.daemon.config["limits"] = {"header_fields": 90}
    w.daemon.write_config()
    w.daemon.command("reload")
    assert set(w.counts(12)) == {0, 2}
    assert len(w.hosts[0].connections) == connections, "the pool went on, too"


def test_a_500_ejects_nobody(world):
    w = world(2)
    w.start({"eject": {"consecutive_errors": 1, "for": "60s", "at_most": "50%"}})
    w.hosts[1].on("/500", answer("HTTP/1.1 500 Oops\ncontent-length: 0\n"))
    for _ in range(8):
        w.get("/500")
    assert w.counts(6) == {0: 3, 1: 3}


# ---- limits -----------------------------------------------------------------------------------

def test_requests_beyond_the_limit_of_a_backend_overflow(world):
    w = world(2)
    w.start({"limits": {"requests": 2}})
    releases = [w.hang(0), w.hang(1)]
    threads = [w.in_background("/hang") for _ in range(2)]
    wait_until(lambda: all(arrived for _, arrived in releases), 10, "both requests")
    assert w.get("/over")[0] == 503
    assert flags_of(w.daemon, "/over")[0][:2] == ("503", "UO")
    for release, _ in releases:
        release.set()
    for thread in threads:
        thread.join(20)
        assert thread.got[0] == 200
    assert w.get("/fine")[0] == 200


def test_connections_and_pending_are_caps_of_the_whole_backend(world):
    w = world(2)
    w.start({"limits": {"connections": 2, "pending": 2}})
    releases = [w.hang(0), w.hang(1)]
    threads = [w.in_background("/hang") for _ in range(2)]
    wait_until(lambda: all(arrived for _, arrived in releases), 10, "both requests")
    waiting = [w.in_background(f"/wait{i}") for i in range(3)]
    wait_until(lambda: any(not thread.is_alive() for thread in waiting), 15, "the overflow")
    refused = [i for i, thread in enumerate(waiting) if not thread.is_alive()]
    assert len(refused) == 1 and waiting[refused[0]].got[0] == 503
    assert flags_of(w.daemon, f"/wait{refused[0]}")[0][:2] == ("503", "UO")
    del waiting[refused[0]]
    assert [len(w.hosts[i].connections) for i in range(2)] == [1, 1]
    for release, _ in releases:
        release.set()
    for thread in threads + waiting:
        thread.join(20)
        assert thread.got[0] == 200
