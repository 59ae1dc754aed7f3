"""Where a request goes: hosts, paths, weights, and the answers that need no backend."""
import pytest

from gatehouse import curl, make_certificate


def respond(text):
    return {"respond": {"status": 200, "body": text}}


@pytest.fixture(scope="module")
def edge(start_edge, tmp_path_factory):
    # One certificate for all, so that the host alone decides.
    certificate, key = make_certificate(tmp_path_factory.mktemp("wide"),
                                        ["plain.example.test", "serve.example.test", "refuse.example.test", "*.wild.example.test",
                                         "exact.wild.example.test", "elsewhere.test"], "wide")
    vhosts = [
        {"host": "serve.example.test", "certificate": "wide", "http": "serve", "routes": [respond("served")]},
        {"host": "refuse.example.test", "certificate": "wide", "http": "refuse", "routes": [respond("refused")]},
        {"host": "plain.example.test", "certificate": "wide", "routes": [
            {"match": {"path": "/api"}, **respond("prefix")},
            {"match": {"exact": "/exact"}, **respond("exact")},
            {"match": {"regex": "/v[0-9]+/.*"}, **respond("regex")},
            {"match": {"path": "/moved"}, "redirect": {"to": "https://elsewhere.test/new?x=1", "status": 301}},
            {"match": {"path": "/gone"}, "respond": {"status": 410, "body": "gone\n"}},
            {"match": {"path": "/nothing"}, "respond": {"status": 204}},
            {"match": {"path": "/split"}, "split": [{"backend": "h1", "weight": 90}, {"backend": "h2c", "weight": 10}]}]},
        {"host": "*.wild.example.test", "certificate": "wide", "routes": [respond("wildcard")]},
        {"host": "exact.wild.example.test", "certificate": "wide", "routes": [respond("exact name")]},
        {"host": "*", "certificate": "wide", "http": "serve", "routes": [respond("default")]}]
    return start_edge(vhosts=vhosts, certificates={"wide": {"certificate_file": certificate, "key_file": key}})


@pytest.mark.parametrize("path, what", [
    ("/api", "prefix"), ("/api/", "prefix"), ("/api/x?y", "prefix"), ("/api?x", "prefix"), ("/apix", 404),
    ("/exact", "exact"), ("/exact?q=1", "exact"), ("/exact/", 404), ("/Exact", 404),
    ("/v1/x", "regex"), ("/v22/", "regex"), ("/v/x", 404), ("/x/v1/x", 404),
    ("/x/../api/y", "prefix"), ("/x/%2e%2E/api", "prefix"), ("/./api", "prefix"), ("/api/..", 404), ("/../../api", "prefix"),
    ("//api", 404), ("/%61pi", 404), ("/api%2Fx", 404), ("/gone", 410), ("/", 404)])
def test_a_path_chooses_its_route(edge, path, what):
    for client in (edge.raw(name="plain.example.test"), edge.h2("plain.example.test")):
        with client:
            got = client.get(path, host="plain.example.test") if hasattr(client, "request") else client.get(path)
            assert (got.status if isinstance(what, int) else got.body.decode()) == what


@pytest.mark.parametrize("path, seen", [
    ("/pass/a/../b", "/pass/b"), ("/pass/%2e%2e/pass/c?d=/../e", "/pass/c?d=/../e"), ("/pass/%2F//x;y=%zz", "/pass/%2F//x;y=%zz"),
    ("/pass/...", "/pass/..."), ("/pass/.", "/pass/"), ("/pass/%41", "/pass/%41")])
def test_dot_segments_go_and_every_other_byte_stays(edge, path, seen):
    with edge.raw() as client:
        assert client.get(path).status == 200
    with edge.h2() as client:
        assert client.get(path).status == 200
    assert [request.target for request in edge.h1.requests[-2:]] == [seen, seen]


def test_a_backslash_in_a_path_is_refused(edge):
    with edge.raw() as client:
        assert client.get("/back\\slash").status == 400
    with edge.h2() as client:
        assert client.get("/back\\slash").status == 400
    assert not any("back" in request.target for request in edge.h1.requests)


@pytest.mark.parametrize("host, text", [
    ("a.wild.example.test", "wildcard"), ("exact.wild.example.test", "exact name"), ("EXACT.Wild.Example.Test", "exact name"),
    ("elsewhere.test", "default")])
def test_a_host_chooses_its_vhost(edge, host, text):
    with edge.raw(name=host) as client:
        assert client.get("/", host=host).body.decode() == text
        assert client.get("/", host=f"{host}:{edge.daemon.https}").body.decode() == text


def test_a_wildcard_is_for_one_label(edge):
    with edge.raw(tls=False) as client:
        assert client.get("/", host="a.b.wild.example.test").body == b"default"
        assert client.get("/", host="wild.example.test").body == b"default"


def test_weights_are_roughly_right(edge):
    with edge.h2("plain.example.test") as client:
        for _ in range(6):
            for stream in [client.start("GET", "/split") for _ in range(50)]:
                assert client.wait(stream).status == 200
    first, second = edge.h1.count("/split"), sum(stream.path == "/split" for stream in edge.h2c.streams)
    assert first + second == 300
    assert 10 <= second <= 60  # Expected 30, standard deviation 5.2.


def test_a_route_redirects(edge):
    with edge.raw(name="plain.example.test") as client:
        got = client.get("/moved/on", host="plain.example.test")
        assert (got.status, got["location"], got.body) == (301, "https://elsewhere.test/new?x=1", b"")


def test_a_route_responds_without_a_body_too(edge):
    with edge.raw(name="plain.example.test") as client:
        got = client.get("/nothing", host="plain.example.test")
        assert (got.status, got.get("content-length")) == (204, None)
        got = client.get("/api", method="HEAD", host="plain.example.test")
        assert (got.status, got["content-length"]) == (200, "6")
        assert client.get("/api", host="plain.example.test").body == b"prefix"


# ---- the plain port ---------------------------------------------------------------------------

@pytest.mark.parametrize("target", ["/", "/a/b?c=d&e", "/a/../b", "/%2e%2e/x"])
def test_the_plain_port_redirects_with_path_and_query_unchanged(edge, target):
    with edge.raw(tls=False) as client:
        got = client.get(target, host=f"www.example.test:{edge.daemon.http}")
        assert (got.status, got["location"]) == (308, f"https://www.example.test{target}")
        assert client.get(target, host="www.example.test", method="HEAD").status == 308


def test_the_plain_port_serves_where_it_is_told_to(edge):
    with edge.raw(tls=False) as client:
        assert client.get("/", host="serve.example.test").body == b"served"


def test_the_plain_port_refuses_where_it_is_told_to(edge):
    with edge.raw(tls=False) as client:
        got = client.get("/refused-here", host="refuse.example.test")
        assert got.status == 404 and b"refused" not in got.body
    with edge.raw(name="refuse.example.test") as client:
        assert client.get("/", host="refuse.example.test").body == b"refused"


def test_an_unknown_host_is_not_found_on_both_ports(start_edge):
    edge = start_edge()
    with edge.raw(tls=False) as client:
        assert client.get("/unknown-plain", host="nobody.example.test").status == 404
    assert edge.logged("/unknown-plain")["flags"] == "NR"
    with edge.raw() as client:  # Covered by the certificate, but no vhost.
        assert client.get("/unknown", host="a.wild.example.test").status == 404


def test_a_challenge_path_is_never_forwarded(edge):
    for host in ("www.example.test", "serve.example.test", "refuse.example.test", "stranger.test"):
        with edge.raw(tls=False) as client:
            got = client.get("/.well-known/acme-challenge/some-token", host=host)
            assert (got.status, got.get("location")) == (404, None)
    assert not any("acme-challenge" in request.target for request in edge.h1.requests)


def test_curl_follows_the_redirect_of_the_plain_port(edge):
    # Port 443 of the redirect leads to the daemon.
    status, out, error = curl("-L", "-k", "--http2", "--connect-to", f"www.example.test:443:127.0.0.1:{edge.daemon.https}",
                              "--connect-to", f"www.example.test:80:127.0.0.1:{edge.daemon.http}", "-w", "%{http_code}",
                              "http://www.example.test/followed")
    assert (status, out) == (0, "ok\n200"), error
