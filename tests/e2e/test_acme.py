"""Certificates from nothing: pebble, with its rejected nonces and random sleeps, and the internal CA."""
import re
import ssl
import subprocess

import pytest

from gatehouse import (Daemon, Pebble, curl, fetch_admin, free_ports, presented, served_serial, tls_connect,
                       wait_until)

TOKEN = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


@pytest.fixture(scope="module")
def world(tmp_path_factory, module_cleanup, module_hello):
    """One daemon that gets everything from one pebble; the tests look at it from all sides."""
    directory = tmp_path_factory.mktemp("acme")
    https, http = free_ports(2)
    pebble = Pebble(directory / "pebble", http, https)
    module_cleanup.callback(pebble.stop)
    hello = f"http://127.0.0.1:{module_hello('v1')}"
    # Nobody listens at the port of this one.
    nobody, = free_ports(1)
    config = {
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {
            "by-http": pebble.issuer(challenges=["http-01"]),
            "by-tls": pebble.issuer(challenges=["tls-alpn-01"], email="me@mydomain.test"),
            "down": {"directory": f"https://127.0.0.1:{nobody}/dir", "ca_file": pebble.ca_file},
            "offline": {"internal": True},
        },
        "default_issuer": "by-http",
        "certificates": {
            "several": {"names": ["one.mydomain.test", "two.mydomain.test", "three.mydomain.test"],
                        "issuer": "by-tls", "key": "rsa-2048"},
        },
        "vhosts": [
            {"host": "http.mydomain.test", "backend": hello},
            {"host": "tls.mydomain.test", "issuer": "by-tls", "backend": hello},
            {"hosts": ["one.mydomain.test", "two.mydomain.test"], "certificate": "several",
             "backend": hello},
            {"host": "three.mydomain.test", "certificate": "several", "http": "serve",
             "backend": hello},
            {"host": "localhost", "backend": hello, "http": "serve"},
            {"host": "127.0.0.1", "backend": hello},
            {"host": "inside.mydomain.test", "issuer": "offline", "backend": hello},
            {"host": "failover.mydomain.test", "issuer": "down", "backend": hello, "http": "refuse"},
        ],
    }
    daemon = Daemon(directory, config)
    module_cleanup.callback(daemon.close)
    daemon.pebble = pebble
    return daemon


def verify(daemon, name, root):
    """A TLS connection that trusts that root alone; the certificate."""
    with tls_connect(daemon.https, name, ca_file=root) as connection:
        return connection.getpeercert()


def names_of(certificate):
    return sorted(value for _, value in certificate["subjectAltName"])


# ---- before the first issue; these come first, while pebble is still busy ---------------------

def test_before_the_first_issue_a_temporary_certificate_is_served_and_said(world):
    # This one has no CA that answers: it stays as it is.
    text = presented(world.https, "failover.mydomain.test")
    assert "CN=Gatehouse temporary certificate" in text.replace("CN = ", "CN=")  # OpenSSL 3.5 has no spaces.
    assert "DNS:failover.mydomain.test" in text
    entry = world.certificate("failover.mydomain.test")
    assert entry["is_temporary"] and entry["state"] != "valid"
    assert "temporary" in world.command("status")[1]
    assert re.search(r"certificate\.temporary.*failover\.mydomain\.test", world.output())
    with pytest.raises(ssl.SSLCertVerificationError):
        verify(world, "failover.mydomain.test", world.pebble.ca_file)


# ---- one by each challenge type ---------------------------------------------------------------

def test_http_01_brings_a_certificate_that_pebbles_root_verifies(world):
    world.wait_valid("http.mydomain.test", 100)
    assert names_of(verify(world, "http.mydomain.test", world.pebble.root())) == ["http.mydomain.test"]
    code, body, error = curl("--cacert", world.pebble.root(), "--resolve", f"*:{world.https}:127.0.0.1",
                             f"https://http.mydomain.test:{world.https}/hello")
    assert code == 0 and body.startswith("Hello version: v1"), error


def test_tls_alpn_01_brings_a_certificate_that_pebbles_root_verifies(world):
    world.wait_valid("tls.mydomain.test", 100)
    assert names_of(verify(world, "tls.mydomain.test", world.pebble.root())) == ["tls.mydomain.test"]


def test_each_challenge_type_was_the_one_that_was_validated(world):
    world.wait_valid("tls.mydomain.test", 100)
    world.wait_valid("http.mydomain.test", 100)
    log = world.pebble.log()
    # Pebble asks the plain port for http-01 only, and the plain port is asked for nothing else.
    fetched = set(re.findall(r"Attempting to validate.*?Identifier:?[^\n]*?(\w+\.mydomain\.test)", log))
    asked = set(re.findall(r"http://(\w+\.mydomain\.test):\d+/\.well-known/acme-challenge/", log))
    assert "http.mydomain.test" in asked | fetched, log[-3000:]
    assert "tls.mydomain.test" not in asked, log[-3000:]


def test_the_ca_rejected_nonces_and_nobody_noticed(world):
    world.wait_valid("several", 100)
    assert world.certificate("several")["failures"] == 0


def test_several_names_share_a_certificate(world):
    world.wait_valid("several", 100)
    names = ["one.mydomain.test", "three.mydomain.test", "two.mydomain.test"]
    root = world.pebble.root()
    for name in names:
        assert names_of(verify(world, name, root)) == names
    assert len({served_serial(world.https, name) for name in names}) == 1
    assert world.certificate("several")["key"] == "rsa-2048"
    assert world.certificate("two.mydomain.test") is None  # only by its own name in the list
    assert "several" in world.command("certificates", "show", "two.mydomain.test")[1]


def test_accounts_are_one_for_each_directory_and_email(world):
    """The issuer that is down has a key by now, but no account."""
    world.wait_valid("several", 100)
    world.wait_valid("http.mydomain.test", 100)
    rows = world.rows("SELECT directory, email, url FROM accounts WHERE url != '' ORDER BY email")
    assert [row[:2] for row in rows] == [(world.pebble.url, ""), (world.pebble.url, "me@mydomain.test")]
    assert len({row[2] for row in rows}) == 2


# ---- the challenge path -----------------------------------------------------------------------

@pytest.mark.parametrize("host", ["http.mydomain.test", "three.mydomain.test", "failover.mydomain.test",
                                  "unknown.mydomain.test", "localhost"])
def test_other_tokens_are_a_constant_404_that_no_backend_sees(world, host):
    """Redirected, served, refused and unknown hosts alike."""
    code, head, _ = curl("-i", "-H", f"Host: {host}",
                         f"http://127.0.0.1:{world.http}/.well-known/acme-challenge/{TOKEN}")
    assert code == 0 and head.startswith("HTTP/1.1 404 "), head
    assert "Hello version" not in head and "location" not in head.lower()
    code, other, _ = curl("-i", "-H", "Host: else.mydomain.test",
                          f"http://127.0.0.1:{world.http}/.well-known/acme-challenge/x")
    varying = re.compile(r"(?mi)^(date|x-request-id|connection):.*\r\n")
    assert varying.sub("", head) == varying.sub("", other)


def test_a_redirected_host_redirects_all_else(world):
    code, head, _ = curl("-i", "-H", "Host: http.mydomain.test", f"http://127.0.0.1:{world.http}/a?b=c")
    assert code == 0 and head.startswith("HTTP/1.1 308 ")
    assert re.search(r"(?mi)^location: https://http\.mydomain\.test/a\?b=c\r$", head)


def test_a_running_order_is_answered_before_redirects_and_catch_alls(tmp_path, start_daemon, start_pebble,
                                                                   start_hello):
    """The plain port of the host redirects, and a catch-all takes what is left: pebble still gets in."""
    https, http = free_ports(2)
    pebble = start_pebble(http, https, env={"PEBBLE_VA_NOSLEEP": "1"})
    hello = f"http://127.0.0.1:{start_hello()}"
    daemon = start_daemon({
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {"pebble": pebble.issuer(challenges=["http-01"]), "offline": {"internal": True}},
        "default_issuer": "pebble",
        "certificates": {"catch-all": {"names": ["localhost"], "issuer": "offline"}},
        "vhosts": [
            {"host": "*", "certificate": "catch-all", "http": "serve", "routes": [
                {"redirect": {"to": "https://elsewhere.test/", "status": 301}}]},
            {"host": "redirected.mydomain.test", "routes": [
                {"match": {"regex": "/.*"}, "redirect": {"to": "https://elsewhere.test/", "status": 301}}]},
            {"host": "served.mydomain.test", "http": "serve", "routes": [
                {"match": {"path": "/"}, "respond": {"status": 200, "body": "catch-all\n"}}]},
            {"host": "refused.mydomain.test", "http": "refuse", "backend": hello},
        ],
    })
    for name in ("redirected", "served", "refused"):
        daemon.wait_valid(f"{name}.mydomain.test", 60)
    assert curl("-H", "Host: served.mydomain.test", f"http://127.0.0.1:{http}/x")[1] == "catch-all\n"
    daemon.assert_clean()


# ---- the internal CA --------------------------------------------------------------------------

def exported_root(daemon, directory, issuer=None):
    more = ["--issuer", issuer] if issuer else []
    path = directory / f"root-{issuer}.pem"
    path.write_text(daemon.command("certificates", "export", "--root", *more)[1])
    return str(path)


def test_a_three_line_configuration_works_offline(tmp_path, start_daemon, start_hello):
    daemon = start_daemon({"vhosts": [{"host": "localhost", "backend": f"http://127.0.0.1:{start_hello()}"}]})
    daemon.wait_valid("localhost", 20)
    root = exported_root(daemon, tmp_path)
    code, body, error = curl("--cacert", root, "--resolve", f"localhost:{daemon.https}:127.0.0.1",
                             f"https://localhost:{daemon.https}/")
    assert code == 0 and body.startswith("Hello version: v1"), error
    assert curl(f"https://localhost:{daemon.https}/")[0] == 60  # not trusted without it
    daemon.assert_clean()


def test_an_address_is_certified_and_served_without_sni(world, tmp_path):
    world.wait_valid("127.0.0.1", 30)
    offline = [entry["issuer"] for entry in world.status()["certificates"] if entry["name"] == "127.0.0.1"][0]
    root = exported_root(world, tmp_path, offline)
    code, body, error = curl("--cacert", root, f"https://127.0.0.1:{world.https}/")
    assert code == 0 and body.startswith("Hello version: v1"), error


def test_a_name_that_no_ca_will_sign_may_use_the_internal_ca(world, tmp_path):
    world.wait_valid("inside.mydomain.test", 30)
    root = exported_root(world, tmp_path, "offline")
    assert names_of(verify(world, "inside.mydomain.test", root)) == ["inside.mydomain.test"]
    text = subprocess.run(["openssl", "x509", "-in", root, "-noout", "-text"], capture_output=True, text=True).stdout
    assert "CA:TRUE" in text and "Certificate Sign" in text


def test_the_internal_root_survives_a_restart(tmp_path, start_daemon, start_hello):
    config = {"vhosts": [{"host": "localhost", "backend": f"http://127.0.0.1:{start_hello()}"}]}
    first = start_daemon(config)
    first.wait_valid("localhost", 20)
    root, serial = exported_root(first, tmp_path), served_serial(first.https, "localhost")
    before = open(root).read()
    first.assert_clean()
    second = start_daemon(first.config, name="second")
    assert second.certificate("localhost")["state"] == "valid"  # at once, from the store
    assert served_serial(second.https, "localhost") == serial
    assert open(exported_root(second, tmp_path)).read() == before
    second.assert_clean()


# ---- failover ---------------------------------------------------------------------------------

def test_the_next_issuer_is_tried_when_the_first_keeps_failing(tmp_path, start_daemon, start_pebble, start_hello):
    """The third failure moves on. `renew` makes the attempts come at once; the schedule is a minute."""
    https, http, nobody = free_ports(3)
    pebble = start_pebble(http, https)
    daemon = start_daemon({
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {"first": {"directory": f"https://127.0.0.1:{nobody}/dir", "ca_file": pebble.ca_file},
                    "second": pebble.issuer()},
        "default_issuer": ["first", "second"],
        "vhosts": [{"host": "www.mydomain.test", "backend": f"http://127.0.0.1:{start_hello()}"}],
    })
    wait_until(lambda: daemon.certificate("www.mydomain.test")["failures"] == 1, 20, "the first failure")
    failed = daemon.certificate("www.mydomain.test")
    assert failed["last_error"]["issuer"] == "first" and str(nobody) in failed["last_error"]["message"]
    for failures in (2, 3):
        code, _, error = daemon.command("certificates", "renew", "www.mydomain.test", check=False)
        assert code == 1 and error.strip(), "a failed renewal says why and exits with 1"
        assert daemon.certificate("www.mydomain.test")["failures"] == failures
    assert daemon.certificate("www.mydomain.test")["next_issuer"] == "second"
    assert re.search(r"certificate\.failover .*from=first ca=second", daemon.output())
    assert daemon.command("certificates", "renew", "www.mydomain.test", seconds=100)[0] == 0
    assert daemon.certificate("www.mydomain.test")["issuer"] == "second"
    assert names_of(verify(daemon, "www.mydomain.test", pebble.root())) == ["www.mydomain.test"]
    daemon.assert_clean()


def test_a_reload_in_the_middle_of_orders_ends_those_of_names_that_are_gone_only(tmp_path, start_daemon,
                                                                                  start_pebble):
    """Pebble sleeps before it validates, so that the orders are under way."""
    https, http = free_ports(2)
    pebble = start_pebble(http, https, env={"PEBBLE_VA_SLEEPTIME": "5"})
    answer = {"routes": [{"respond": {"status": 200, "body": "here\n"}}]}
    stays, goes, comes = ({"host": f"{name}.mydomain.test", **answer} for name in ("stays", "goes", "comes"))
    daemon = start_daemon({
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {"pebble": pebble.issuer()}, "default_issuer": "pebble", "vhosts": [stays, goes]})
    wait_until(lambda: pebble.log().count("Added order") == 2, 30, "two orders")
    wait_until(lambda: len(daemon.rows("SELECT * FROM orders WHERE order_url != ''")) == 2, 10, "their URLs")
    daemon.config["vhosts"] = [stays, comes]
    daemon.write_config()
    assert daemon.command("reload")[0] == 0
    assert daemon.certificate("goes.mydomain.test") is None
    with pytest.raises(ssl.SSLError):  # unrecognized_name
        tls_connect(daemon.https, "goes.mydomain.test").close()
    for name in ("stays", "comes"):
        daemon.wait_valid(f"{name}.mydomain.test", 60)
        assert daemon.certificate(f"{name}.mydomain.test")["failures"] == 0
    assert daemon.rows("SELECT DISTINCT name FROM certificates ORDER BY name") == [
        ("comes.mydomain.test",), ("stays.mydomain.test",)]
    # Back again, it goes on with what it had: the same key, and at most one order more.
    key = daemon.rows("SELECT key_pem FROM orders WHERE certificate = 'goes.mydomain.test'")
    daemon.config["vhosts"] = [stays, comes, goes]
    daemon.write_config()
    daemon.command("reload")
    daemon.wait_valid("goes.mydomain.test", 100)
    assert daemon.rows("SELECT key_pem FROM certificates WHERE name = 'goes.mydomain.test'") == key
    assert daemon.rows("SELECT * FROM orders") == []
    daemon.assert_clean()


def test_the_daemon_ends_without_a_complaint(world):
    """Last, since it ends what the tests above share."""
    for path in ("/livez", "/readyz"):
        assert fetch_admin(world.admin, path)[0] == 200
    world.assert_clean()
