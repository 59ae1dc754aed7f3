"""Active checks: by HTTP, gRPC and TCP, in the backend's protocol and with its TLS."""
import ssl

import pytest

from backends import H2Backend, RawBackend, answer, ok
from gatehouse import fetch_admin, make_certificate, wait_until
from test_balance import world  # noqa: F401 (a fixture)

FAST = {"interval": "100ms", "timeout": "2s", "unhealthy_after": 2, "healthy_after": 2}


def states(daemon, backend="b"):
    found = [entry for entry in daemon.status()["backends"] if entry["name"] == backend]
    return {host["address"]: host["state"] for host in found[0]["hosts"]} if found else {}


def state_of(daemon, address):
    return states(daemon).get(address)


def unhealthy(connection, request):
    return answer("HTTP/1.1 503 Not now\ncontent-length: 0\n")(connection, request)


def test_a_host_that_fails_its_checks_gets_nothing_until_it_passes_again(world):
    w = world(3)
    w.start({"health": {"path": "/healthz", **FAST}})
    wait_until(lambda: all(host.count("/healthz") >= 2 for host in w.hosts.values()), 20, "the first checks")
    assert w.counts(6) == {0: 2, 1: 2, 2: 2}
    w.hosts[1].on("/healthz", unhealthy)
    address = f"{w.address(1)}:{w.port}"
    wait_until(lambda: state_of(w.daemon, address) == "unhealthy", 20, "the bad news")
    assert w.counts(6) == {0: 3, 2: 3}
    text = w.daemon.command("status")[1]
    assert "2 of 3 usable" in text and f"{address}" in text and "status 503" in text
    metrics = fetch_admin(w.daemon.admin, "/metrics")[1]
    assert 'gatehouse_backend_hosts_usable{backend="b"} 2' in metrics
    w.hosts[1].on("/healthz", ok())
    wait_until(lambda: state_of(w.daemon, address) == "healthy", 20, "the good news")
    assert w.counts(6) == {0: 2, 1: 2, 2: 2}
    log = w.daemon.output()
    assert log.count("event=backend.unhealthy") == 1 and log.count("event=backend.healthy") == 1


def test_a_check_is_a_request_like_any_other(world):
    w = world(1)
    w.start({"health": {"path": "/healthz?deep=1", **FAST}})
    wait_until(lambda: w.hosts[0].count("/healthz"), 20, "a check")
    request = next(r for r in w.hosts[0].requests if r.path == "/healthz")
    assert (request.method, request.target) == ("GET", "/healthz?deep=1")
    assert request["host"] == f"{w.address(0)}:{w.port}"
    assert request["user-agent"] == "gatehouse-health"


def test_without_a_healthy_host_it_is_503_uh(world):
    w = world(2)
    for host in w.hosts.values():
        host.on("/healthz", unhealthy)
    w.start({"health": {"path": "/healthz", **FAST}})
    wait_until(lambda: set(states(w.daemon).values()) == {"unhealthy"}, 20, "the bad news")
    status, body, _ = w.get("/uh")
    assert (status, body.strip()) == (503, "no healthy upstream")
    wait_until(lambda: '"GET /uh HTTP/1.1" 503 UH' in w.daemon.output(), 10, "the log line")


def test_in_a_panic_health_is_ignored(world):
    w = world(2)
    for host in w.hosts.values():
        host.on("/healthz", unhealthy)
    w.start({"health": {"path": "/healthz", **FAST}, "panic": "50%"})
    wait_until(lambda: set(states(w.daemon).values()) == {"unhealthy"}, 20, "the bad news")
    assert w.counts(4) == {0: 2, 1: 2}
    assert "health is ignored" in w.daemon.command("status")[1]


def test_a_check_that_takes_too_long_has_failed(world):
    w = world(2)
    w.hosts[1].on("/healthz", lambda connection, request: connection.is_closed_within(20) and False)
    w.start({"health": {"path": "/healthz", **FAST, "timeout": "300ms"}})
    wait_until(lambda: state_of(w.daemon, f"{w.address(1)}:{w.port}") == "unhealthy", 20, "the bad news")
    assert w.counts(4) == {0: 4}


def test_without_path_and_grpc_a_connection_is_enough(world):
    w = world(2)
    w.start({"health": FAST})
    wait_until(lambda: set(states(w.daemon).values()) == {"healthy"}, 20, "the good news")
    w.kill_host(1)
    address = f"{w.address(1)}:{w.port}"
    wait_until(lambda: state_of(w.daemon, address) == "unhealthy", 20, "the bad news")
    assert w.counts(4) == {0: 4}
    w.start_host(1)
    wait_until(lambda: state_of(w.daemon, address) == "healthy", 20, "the good news")
    assert w.counts(4) == {0: 2, 1: 2}
    assert not w.hosts[1].count("/healthz")


def test_health_survives_a_reload_and_ends_with_its_backend(world):
    w = world(2)
    w.hosts[1].on("/healthz", unhealthy)
    w.start({"health": {"path": "/healthz", **FAST, "interval": "30s"}})
    address = f"{w.address(1)}:{w.port}"
    wait_until(lambda: state_of(w.daemon, address) == "unhealthy", 20, "the bad news")
    w.daemon.config["limits"] = {"header_fields": 90}
    w.daemon.write_config()
    w.daemon.command("reload")
    assert state_of(w.daemon, address) == "unhealthy"
    w.daemon.config["backends"]["b"]["health"] = {"path": "/other", **FAST}
    w.daemon.write_config()
    w.daemon.command("reload")
    wait_until(lambda: w.hosts[0].count("/other") >= 3, 20, "the new checks")
    assert set(states(w.daemon).values()) == {"healthy"}
    assert w.hosts[0].count("/healthz") == 1
    del w.daemon.config["backends"]["b"]["health"]
    w.daemon.write_config()
    w.daemon.command("reload")
    assert "gatehouse_backend_hosts" not in fetch_admin(w.daemon.admin, "/metrics")[1]


# ---- gRPC -------------------------------------------------------------------------------------

SERVING, NOT_SERVING = b"\0\0\0\0\2\x08\1", b"\0\0\0\0\2\x08\2"


def says(message, status="0"):
    def script(stream):
        stream.send([(":status", "200"), ("content-type", "application/grpc")], message, [("grpc-status", status)])
    return script


def test_grpc_health_is_asked_over_h2(start_daemon, cleanup):
    hosts = [H2Backend(), H2Backend()]
    check = "/grpc.health.v1.Health/Check"
    for host in hosts:
        cleanup.callback(host.close)
        host.on(check, says(SERVING))
    daemon = start_daemon({
        "backends": {"b": {"endpoints": [host.url for host in hosts], "protocol": "h2", "health": {"grpc": "shop.Cart", **FAST}}},
        "vhosts": [{"host": "127.0.0.1", "http": "serve", "backend": "b"}]})
    wait_until(lambda: all(len(host.streams) >= 2 for host in hosts), 20, "the first checks")
    stream = hosts[0].streams[0]
    assert (stream[":method"], stream[":path"], stream["content-type"], stream["te"]) == ("POST", check, "application/grpc", "trailers")
    assert stream.body == b"\0\0\0\0\x0b\x0a\x09shop.Cart"
    assert set(states(daemon).values()) == {"healthy"}
    address = f"127.0.0.1:{hosts[1].port}"
    for script in (says(NOT_SERVING), says(b"", "5")):  # Or NOT_FOUND: no such service.
        hosts[1].on(check, script)
        wait_until(lambda: state_of(daemon, address) == "unhealthy", 20, "the bad news")
        hosts[1].on(check, says(SERVING))
        wait_until(lambda: state_of(daemon, address) == "healthy", 20, "the good news")


def test_a_real_grpc_server_is_found_healthy(start_daemon, cleanup):
    grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed: apt install python3-grpcio")
    from concurrent import futures
    server = grpc.server(futures.ThreadPoolExecutor(2))
    cleanup.callback(server.stop, None)
    answers = [b"\x08\1"]
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
        "Check": grpc.unary_unary_rpc_method_handler(lambda request, context: answers[0])})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    daemon = start_daemon({
        "backends": {"b": {"endpoints": [f"http://127.0.0.1:{port}"], "protocol": "h2", "health": {"grpc": "", **FAST}}},
        "vhosts": [{"host": "127.0.0.1", "http": "serve", "backend": "b"}]})
    wait_until(lambda: set(states(daemon).values()) == {"healthy"}, 20, "the good news")
    answers[0] = b"\x08\2"
    wait_until(lambda: set(states(daemon).values()) == {"unhealthy"}, 20, "the bad news")
    answers[0] = b"\x08\1"
    wait_until(lambda: set(states(daemon).values()) == {"healthy"}, 20, "the good news again")


# ---- TLS --------------------------------------------------------------------------------------

def test_a_check_verifies_as_requests_do(start_daemon, cleanup, tmp_path):
    certificate, key = make_certificate(tmp_path, ["mesh.test"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host = RawBackend(tls=context)
    cleanup.callback(host.close)
    backend = {"endpoints": [host.url], "protocol": "http1", "health": {"path": "/healthz", **FAST}}
    daemon = start_daemon({
        "backends": {"good": {**backend, "tls": {"ca_file": certificate, "server_name": "mesh.test"}},
                     "bad": {**backend, "tls": {"ca_file": certificate, "server_name": "other.test"}}},
        "vhosts": [{"host": "127.0.0.1", "http": "serve", "routes": [
            {"match": {"path": "/bad"}, "backend": "bad"}, {"backend": "good"}]}]})
    wait_until(lambda: set(states(daemon, "bad").values()) == {"unhealthy"}, 20, "the bad news")
    wait_until(lambda: host.count("/healthz") >= 2, 20, "checks")
    assert set(states(daemon, "good").values()) == {"healthy"}
    assert next(r for r in host.requests if r.path == "/healthz")["host"] == "mesh.test"
