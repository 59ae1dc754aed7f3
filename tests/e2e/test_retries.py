"""Attempts beyond the first: what a route's `retries` and `timeout` do, by what the backends saw."""
import threading
import time

import pytest

from backends import Closed, RawBackend, answer, ok
from gatehouse import fetch_admin, free_ports, wait_until

BUSY = answer("HTTP/1.1 503 Service Unavailable\ncontent-length: 4\n", b"busy")


def times(count, script, then=ok(b"at last\n")):
    """A script that is another one for the first requests."""
    calls = []

    def both(connection, request):
        calls.append(request)
        return (script if len(calls) <= count else then)(connection, request)
    both.calls = calls
    return both


def drop(connection, request):
    connection.read_body(request)
    connection.reset()
    return False


def silent(connection, request):
    connection.read_body(request)
    connection.is_closed_within(10)
    return False


@pytest.fixture(scope="module")
def pair():
    backends = RawBackend(BUSY), RawBackend()
    yield backends
    for backend in backends:
        backend.close()


@pytest.fixture(scope="module")
def edge(start_edge, pair):
    first, second = pair
    dead, = free_ports(1)

    def route(name, backend="h1", **retries):
        return {"match": {"path": f"/{name}"}, "backend": backend, "retries": retries}
    return start_edge(
        backends={"pair": {"endpoints": [first.url, second.url]}, "nobody": {"endpoints": [f"http://127.0.0.1:{dead}"]}},
        routes=[route("status", on=[503]), route("class", on=["5xx"], attempts=1), route("reset", on=["reset"]),
                route("try", on=["reset"], per_try="400ms", attempts=1), route("connect", "nobody", on=["connect"]),
                route("default"), route("other", "pair", on=[503], attempts=1), route("budget", on=[503], attempts=10, budget="0%"),
                {"match": {"path": "/timeout"}, "backend": "h1", "timeout": "600ms"}])


def test_a_listed_status_is_tried_again_whatever_the_method(edge):
    for method in ("GET", "POST"):
        path = f"/status/{method}"
        script = times(2, BUSY)
        edge.h1.on(path, script)
        with edge.h2() as client:
            got = client.get(path) if method == "GET" else client.post(path, b"body")
            assert (got.status, got.body) == (200, b"at last\n")
        assert [request.body for request in script.calls] == [b"" if method == "GET" else b"body"] * 3
        line = edge.logged(path)
        assert (line["status"], line["flags"]) == ("200", "-")


def test_the_last_answer_is_passed_on_when_no_attempt_is_left(edge):
    edge.h1.on("/class/always", BUSY)
    with edge.raw() as client:
        got = client.get("/class/always")
        assert (got.status, got.body) == (503, b"busy")
    assert edge.h1.count("/class/always") == 2
    assert edge.logged("/class/always")["flags"] == "URX"


def test_another_status_is_not_tried_again(edge):
    edge.h1.on("/status/500", answer("HTTP/1.1 500 Oops\ncontent-length: 0\n"))
    with edge.raw() as client:
        assert client.get("/status/500").status == 500
    assert edge.h1.count("/status/500") == 1


def test_a_reset_repeats_what_has_no_effects_alone(edge):
    script = times(1, drop)
    edge.h1.on("/reset/get", script)
    edge.h1.on("/reset/post", drop)
    with edge.h2() as client:
        assert client.get("/reset/get").body == b"at last\n"
        assert client.post("/reset/post", b"pay once").status == 502
    assert len(script.calls) == 2
    assert edge.h1.count("/reset/post") == 1


def test_without_conditions_connect_and_reset_are_meant(edge):
    edge.h1.on("/default/get", times(1, drop))
    edge.h1.on("/default/503", BUSY)
    with edge.h2() as client:
        assert client.get("/default/get").status == 200
        assert client.get("/default/503").status == 503
    assert edge.h1.count("/default/503") == 1


def test_a_body_beyond_the_buffer_is_not_sent_twice(edge):
    for size, status, count in ((64 * 1024, 200, 2), (64 * 1024 + 1, 503, 1)):
        path = f"/status/body-{size}"
        script = times(1, BUSY)
        edge.h1.on(path, script)
        with edge.h2() as client:
            assert client.post(path, b"x" * size).status == status
        assert [len(request.body) for request in script.calls] == [size] * count


def test_one_try_has_its_own_time(edge):
    script = times(1, silent)
    edge.h1.on("/try/once", script)
    edge.h1.on("/try/always", silent)
    edge.h1.on("/try/post", silent)
    with edge.h2() as client:
        assert client.get("/try/once").body == b"at last\n"
        began = time.monotonic()
        assert client.get("/try/always").status == 504
        assert 0.8 <= time.monotonic() - began < 5
        assert client.post("/try/post", b"x").status == 504
    assert edge.h1.count("/try/always") == 2
    assert edge.h1.count("/try/post") == 1
    assert edge.logged("/try/always")["flags"] == "UT,URX"


def test_a_backend_that_cannot_be_reached_is_tried_again(edge):
    with edge.h2() as client:
        assert client.get("/connect/get").status == 503
    assert edge.logged("/connect/get")["flags"] == "UF,URX"
    assert 'gatehouse_backend_retries_total{reason="connect"} 2' in fetch_admin(edge.daemon.admin, "/metrics")[1]


def test_another_endpoint_is_asked_when_there_is_one(edge, pair):
    with edge.h2() as client:
        for number in range(10):
            assert client.get(f"/other/{number}").status == 200
    assert pair[0].requests and len(pair[1].requests) == 10


def test_a_budget_bounds_retries_at_once(edge):
    """Three at once are always granted; of many failing requests the others get their first answer."""
    edge.h1.on("/budget/busy", BUSY)
    statuses = []

    def ask():
        with edge.h2() as client:
            statuses.append(client.get("/budget/busy").status)
    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [503] * 12
    assert edge.h1.count("/budget/busy") < 12 * 11
    assert any("/budget/busy" in line and " 503 UO " in line for line in edge.daemon.output().splitlines())


def test_a_route_has_a_time_for_the_whole_response(edge):
    edge.h1.on("/timeout/silent", silent)

    def trickle(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            while True:
                connection.send(b"x")
                if connection.is_closed_within(0.1):
                    return False
        except (OSError, Closed):
            return False
    edge.h1.on("/timeout/trickle", trickle)
    with edge.h2() as client:
        assert client.get("/timeout/silent").status == 504
        got = client.get("/timeout/trickle")
        assert (got.status, got.is_whole, got.reset_code) == (200, False, 2)
    for path, status in (("/timeout/silent", "504"), ("/timeout/trickle", "200")):
        line = edge.logged(path)
        assert (line["status"], line["flags"]) == (status, "UT")
        assert 600 <= int(line["duration"]) < 5000


def test_a_client_that_goes_ends_the_attempts(edge):
    edge.h1.on("/budget/gone", BUSY)
    with edge.h2() as client:
        stream = client.start("GET", "/budget/gone")
        wait_until(lambda: edge.h1.count("/budget/gone") >= 2, 10, "a second attempt")
        client.state.reset_stream(stream, 8)
        client.flush()
        edge.logged("/budget/gone")
        seen = edge.h1.count("/budget/gone")
        assert client.get("/after-gone").status == 200
    assert edge.h1.count("/budget/gone") == seen
