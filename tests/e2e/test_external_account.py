"""Accounts that a CA ties to its customers (RFC 8555 section 7.3.4), at pebble, which checks the binding."""
import base64

import pytest

from gatehouse import Pebble, free_ports, wait_until

KEY_ID = "customer-7"
KEY = base64.urlsafe_b64encode(bytes(range(7, 39))).rstrip(b"=").decode()
WRONG = base64.urlsafe_b64encode(bytes(range(8, 40))).rstrip(b"=").decode()
NAME = "customer.mydomain.test"


@pytest.fixture(scope="module")
def world(tmp_path_factory, module_cleanup):
    https, http = free_ports(2)
    pebble = Pebble(tmp_path_factory.mktemp("pebble"), http, https, env={"CUSTOMER": f"{KEY_ID}:{KEY}"})
    module_cleanup.callback(pebble.stop)
    return pebble, https, http


def config(world, directory, key=None, key_id=KEY_ID):
    pebble, https, http = world
    issuer = pebble.issuer(challenges=["http-01"])
    if key:
        (directory / "eab.key").write_text(key + "\n")
        issuer["external_account"] = {"key_id": key_id, "hmac_key_file": "eab.key"}
    return {"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]}, "issuers": {"ca": issuer},
            "vhosts": [{"host": NAME, "backend": "http://127.0.0.1:9"}]}


def said(daemon):
    """All that an operator can see."""
    return daemon.output() + "".join(map(str, daemon.command("status", "--json") + daemon.command("certificates", check=False)))


def test_a_customer_gets_certificates_and_the_binding_is_not_needed_again(world, start_daemon, tmp_path):
    pebble = world[0]
    settings = config(world, tmp_path, KEY)
    daemon = start_daemon(settings)
    daemon.wait_valid(NAME)
    account = daemon.rows("SELECT url FROM accounts")
    assert KEY not in said(daemon)
    daemon.stop()
    # The CA would not take this one: the account is there.
    (tmp_path / "eab.key").write_text(WRONG)
    daemon = start_daemon(settings)
    before = pebble.issued()
    daemon.command("certificates", "renew", NAME)
    assert pebble.issued() == before + 1
    assert daemon.rows("SELECT url FROM accounts") == account
    assert WRONG not in said(daemon)


@pytest.mark.parametrize("key, key_id", [(WRONG, KEY_ID), (KEY, "nobody")], ids=["wrong-key", "unknown-id"])
def test_a_binding_that_does_not_fit_is_told_without_its_key(world, start_daemon, tmp_path, key, key_id):
    daemon = start_daemon(config(world, tmp_path, key, key_id))
    wait_until(lambda: daemon.certificate(NAME).get("last_error"), 30, "the failure")
    assert "registering the account" in daemon.certificate(NAME)["last_error"]["message"]
    assert key not in said(daemon)
    # The operator puts it right: a reload is enough.
    daemon.config["issuers"]["ca"]["external_account"]["key_id"] = KEY_ID
    (tmp_path / "eab.key").write_text(KEY)
    daemon.write_config()
    daemon.command("reload")
    daemon.command("certificates", "renew", NAME)
    daemon.wait_valid(NAME)


def test_without_a_binding_the_hint_says_what_to_add(world, start_daemon, tmp_path):
    daemon = start_daemon(config(world, tmp_path))
    wait_until(lambda: daemon.certificate(NAME).get("last_error"), 30, "the failure")
    assert "external_account: {key_id" in daemon.certificate(NAME)["last_error"]["message"]
