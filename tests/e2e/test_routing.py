"""Where a request goes: hosts, paths, weights, and the answers that need no backend."""
import pytest

from gatehouse import curl, make_certificate, wait_until


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


# ---- beside the path ----------------------------------------------------------------------------

def lines(fields):
    return "".join(f"{name}: {value}\n" for name, value in fields)


@pytest.fixture(scope="module")
def beside(start_edge):
    """Routes that look at more than the path, and vhosts that look at who asks. Who is behind
    127.0.0.1, a trusted proxy, is what X-Forwarded-For says."""
    matched = [
        {"match": {"path": "/m", "methods": ["POST", "PUT"]}, **respond("methods")},
        {"match": {"path": "/m", "headers": {"X-Beta": "1", "x-two": "b"}}, **respond("headers")},
        {"match": {"path": "/m", "query": {"version": "2", "to": "a b"}}, **respond("query")},
        {"match": {"path": "/m", "sources": ["192.0.2.0/24", "2001:db8::/32"]}, **respond("sources")},
        {"match": {"path": "/m"}, **respond("rest")},
        {"match": {"path": "/small"}, "backend": "h1", "limits": {"body_bytes": "10"}}]
    vhosts = [{"host": "allow.wild.example.test", "certificate": "site", "http": "serve", "allow": ["192.0.2.0/24", "10.0.0.0/8"],
               "deny": ["192.0.2.13"], "routes": [respond("allowed")]},
              {"host": "deny.wild.example.test", "certificate": "site", "deny": ["198.51.100.0/24"], "routes": [respond("not denied")]}]
    return start_edge(routes=matched, vhosts=vhosts, listen={"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]})


@pytest.mark.parametrize("what, method, path, headers", [
    ("methods", "POST", "/m", []), ("methods", "PUT", "/m/x?y", []), ("rest", "DELETE", "/m", []), ("rest", "GET", "/m", []),
    ("headers", "GET", "/m", [("x-beta", "1"), ("x-two", "b")]), ("headers", "GET", "/m", [("x-beta", "0"), ("x-beta", "1"), ("x-two", "b")]),
    ("rest", "GET", "/m", [("x-beta", "1")]), ("rest", "GET", "/m", [("x-beta", "11"), ("x-two", "b")]),
    ("query", "GET", "/m?to=a+b&version=2", []), ("query", "GET", "/m?x&version=%32&to=a%20b", []), ("rest", "GET", "/m?version=2", []),
    ("rest", "GET", "/m?version=2&to=a%2Bb", []),
    ("sources", "GET", "/m", [("x-forwarded-for", "192.0.2.7")]), ("sources", "GET", "/m", [("x-forwarded-for", "203.0.113.1, 2001:db8::5, 10.1.1.1")]),
    ("rest", "GET", "/m", [("x-forwarded-for", "192.0.2.7, 203.0.113.1")])])
def test_a_route_looks_at_more_than_the_path(beside, what, method, path, headers):
    with beside.raw() as client:
        assert client.get(path, lines(headers), method).body.decode() == what
    with beside.h2() as client:
        assert client.get(path, headers, method).body.decode() == what


@pytest.mark.parametrize("host, client_ip, status", [
    ("allow", "192.0.2.7", 200), ("allow", "192.0.2.13", 403), ("allow", "203.0.113.1", 403), ("allow", "192.0.2.7, 203.0.113.1", 403),
    ("allow", None, 403), ("deny", "198.51.100.9", 403), ("deny", "198.51.100.9, 192.0.2.1", 200), ("deny", None, 200)])
def test_a_vhost_allows_and_denies_by_the_clients_address(beside, host, client_ip, status):
    host = f"{host}.wild.example.test"
    headers = [("X-Forwarded-For", client_ip)] if client_ip else []
    with beside.raw(name=host) as client:
        assert client.get("/", lines(headers), host=host).status == status


def test_who_is_denied_is_denied_on_the_plain_port_too_but_challenges_are_answered(beside):
    with beside.raw(tls=False) as client:
        got = client.get("/denied-plain", host="allow.wild.example.test")
        assert (got.status, got.get("location")) == (403, None)
        got = client.get("/denied-redirect", "X-Forwarded-For: 198.51.100.9\n", host="deny.wild.example.test")
        assert (got.status, got.get("location")) == (403, None)
        # A constant 404: the CA comes from anywhere.
        assert client.get("/.well-known/acme-challenge/x", host="allow.wild.example.test").status == 404
    assert beside.logged("/denied-plain")["status"] == "403"


def test_a_route_has_a_body_limit_of_its_own(beside):
    with beside.raw() as client:
        assert client.get("/small", "Content-Length: 10\n", "POST", body=b"1234567890").status == 200
    with beside.raw() as client:
        assert client.get("/small", "Content-Length: 11\n", "POST", body=b"12345678901").status == 413
    with beside.raw() as client:
        assert client.get("/large", "Content-Length: 11\n", "POST", body=b"12345678901").status == 200


# ---- what routes change -------------------------------------------------------------------------

@pytest.fixture(scope="module")
def changing(start_edge):
    request_headers = {
        "set": {"x-client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "x-renamed": "%REQ(x-old)%", "x-asked": "%REQ(:authority)%%REQ(:path)%",
                "user-agent": "edge"},
        "add": {"x-more": "100%% of %PROTOCOL%"}, "remove": ["X-Old", "x-debug"]}
    hsts = {"strict-transport-security": "max-age=63072000"}
    changed = [
        {"match": {"path": "/strip"}, "backend": "h1", "rewrite": {"path": "/"}},
        {"match": {"path": "/prefix"}, "backend": "h1", "rewrite": {"path": "/v2"}},
        {"match": {"exact": "/exact"}, "backend": "h1", "rewrite": {"path": "/whole"}},
        {"match": {"regex": "/shop/([a-z]+)/(.*)"}, "backend": "h1", "rewrite": {"path": "/$2/in/$1"}},
        {"match": {"path": "/host"}, "backend": "h1", "rewrite": {"host": "Internal.example:8080"}},
        {"match": {"path": "/h2chost"}, "backend": "h2c", "rewrite": {"host": "internal.example"}},
        {"match": {"path": "/headers"}, "backend": "h1", "request_headers": request_headers, "response_headers": {
            "set": {**hsts, "x-status": "%RESPONSE_CODE% from %UPSTREAM_HOST%"}, "add": {"x-route": "%ROUTE_NAME%"}, "remove": ["content-type"]}},
        {"match": {"path": "/h2cheaders"}, "backend": "h2c", "request_headers": request_headers},
        {"match": {"path": "/own"}, "respond": {"status": 200, "body": "x"}, "response_headers": {"set": hsts}},
        {"match": {"path": "/refusing"}, "backend": "dead", "response_headers": {"set": hsts}},
        {"match": {"path": "/moved"}, "redirect": {"to": "https://new.example%REST%%QUERY%", "status": 301}, "response_headers": {"set": hsts}},
        {"match": {"path": "/here"}, "redirect": {"to": "%REST%%QUERY%", "status": 302}},
        {"match": {"path": "/port"}, "redirect": {"to": "https://%HOST%:8443%PATH%", "status": 307}},
        {"match": {"regex": "/item-([0-9]+)"}, "redirect": {"to": "/items/$1?from=%REQ(x-from)%"}}]
    return start_edge(routes=changed)


@pytest.mark.parametrize("path, seen", [
    ("/strip/a?b=/strip", "/a?b=/strip"), ("/strip", "/"), ("/strip/", "/"), ("/strip//x", "//x"), ("/prefix/a", "/v2/a"),
    ("/prefix?x", "/v2?x"), ("/x/../prefix/%2F;y", "/v2/%2F;y"), ("/exact?q=1", "/whole?q=1"), ("/shop/eu/a%20b?q", "/a%20b/in/eu?q")])
def test_the_backend_gets_the_rewritten_path_and_the_log_the_one_that_was_asked_for(changing, path, seen):
    with changing.raw() as client:
        assert client.get(path).status == 200
    with changing.h2() as client:
        assert client.get(path).status == 200
    assert [request.target for request in changing.h1.requests[-2:]] == [seen, seen]
    wait_until(lambda: changing.daemon.output().count(f'"GET {path} HTTP/') == 2, 10, "both lines of the access log")


def test_the_backend_gets_the_rewritten_host_and_the_log_the_one_that_was_asked_for(changing):
    with changing.raw() as client:
        assert client.get("/host/1").status == 200
    with changing.h2() as client:
        assert client.get("/host/2").status == 200
        assert client.get("/h2chost").status == 200
    assert [request["host"] for request in changing.h1.requests[-2:]] == ["internal.example:8080"] * 2
    assert changing.h2c.streams[-1][":authority"] == "internal.example"
    assert changing.logged("/host/1")["authority"] == "www.example.test"


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_request_headers_are_edited(changing, version):
    given = [("x-old", "kept"), ("x-debug", "1"), ("x-client", "10.9.9.9"), ("x-more", "one"), ("user-agent", "curl")]
    with (changing.raw() if version == "HTTP/1.1" else changing.h2()) as client:
        assert client.get("/headers/x?y", lines(given) if version == "HTTP/1.1" else given).status == 200
        assert client.get("/h2cheaders/x?y", lines(given) if version == "HTTP/1.1" else given).status == 200
    for request in (changing.h1.requests[-1], changing.h2c.streams[-1]):
        fields = [(name, value) for name, value in request.fields if name in ("x-old", "x-debug", "x-client", "x-more", "x-renamed", "user-agent")]
        assert sorted(fields) == [("user-agent", "edge"), ("x-client", "127.0.0.1"), ("x-more", f"100% of {version}"), ("x-more", "one"),
                                  ("x-renamed", "kept")]
        assert dict(request.fields)["x-asked"].startswith("www.example.test/h")


def test_what_comes_out_empty_is_not_sent_nor_is_what_the_client_made_up(changing):
    with changing.raw() as client:
        assert client.get("/headers", "X-Renamed: made up\n").status == 200
    assert "x-renamed" not in dict(changing.h1.requests[-1].fields)


def test_response_headers_are_edited_also_of_our_own_answers(changing):
    hsts = "max-age=63072000"
    for client in (changing.raw(), changing.h2()):
        with client:
            got = client.get("/headers")
            assert (got["strict-transport-security"], got.get("content-type")) == (hsts, None)
            assert got["x-status"].startswith("200 from 127.0.0.1:") and got["x-route"] == "www.example.test/6"
            for path, status in (("/own", 200), ("/refusing", 503), ("/moved", 301)):
                got = client.get(path)
                assert (got.status, got.get("strict-transport-security")) == (status, hsts)
            assert client.get("/strip").get("strict-transport-security") is None


@pytest.mark.parametrize("path, status, location", [
    ("/moved", 301, "https://new.example"), ("/moved/a/b?c=d", 301, "https://new.example/a/b?c=d"), ("/moved//evil.example", 301, "https://new.example//evil.example"),
    ("/here//evil.example/x", 302, "/evil.example/x"), ("/here", 302, "/"), ("/port/x", 307, "https://www.example.test:8443/port/x"),
    ("/item-12", 308, "/items/12?from=a%20b?"), ("/x/../moved/y", 301, "https://new.example/y")])
def test_a_redirect_is_put_together_from_the_request(changing, path, status, location):
    with changing.raw() as client:
        got = client.get(path, "X-From: a b?\n")
        assert (got.status, got["location"]) == (status, location)
    with changing.h2() as client:
        got = client.get(path, [("x-from", "a b?")])
        assert (got.status, got["location"]) == (status, location)
