"""A CA that is down, or that never answers: the daemon starts, serves what it has, and recovers."""
import datetime
import re
import socket
import time

from gatehouse import fetch_admin, free_ports, served_serial, tls_connect, wait_until

OLD, NEW = "old.mydomain.test", "new.mydomain.test"


def seconds_until(text):
    then = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    return (then - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def vhost(name):
    return {"host": name, "routes": [{"respond": {"status": 200, "body": "here\n"}}]}


def test_with_the_ca_down_the_store_serves_and_all_recovers_by_itself(start_daemon, start_pebble):
    https, http = free_ports(2)
    pebble = start_pebble(http, https, env={"PEBBLE_VA_NOSLEEP": "1"})
    config = {
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {"pebble": pebble.issuer()}, "default_issuer": "pebble", "vhosts": [vhost(OLD)],
    }
    first = start_daemon(config)
    first.wait_valid(OLD, 60)
    serial, old_root = served_serial(https, OLD), pebble.root()
    first.assert_clean()
    pebble.stop()

    second = start_daemon({**config, "vhosts": [vhost(OLD), vhost(NEW)]}, name="second")
    # Its first certificate comes from the store, and readiness asks no CA.
    assert served_serial(https, OLD) == serial
    assert fetch_admin(second.admin, "/readyz")[0] == 200
    with tls_connect(https, OLD, ca_file=old_root):
        pass
    wait_until(lambda: second.certificate(NEW)["failures"] == 1, 20, "the first failure")
    failed = second.certificate(NEW)
    assert failed["is_temporary"] and failed["next_action"] == "retry"
    assert 0 < seconds_until(failed["next_time"]) <= 67, "one minute and a tenth of it"
    assert failed["last_error"]["issuer"] == "pebble" and str(pebble.acme) in failed["last_error"]["message"]
    assert re.search(rf"event=certificate\.failed name={re.escape(NEW)} .*reaction=transient", second.output())
    said = second.command("status")[1]
    assert "temporary" in said and f"{pebble.acme}" in said
    assert second.certificate(OLD)["state"] == "valid"
    kept = second.rows(f"SELECT next_try, attempts FROM renewal WHERE name = '{NEW}'")
    assert kept[0][1] == 1, "what a restart would go on with"

    # A restart asks nobody before that time.
    second.assert_clean()
    third = start_daemon(second.config, name="third")
    assert third.rows(f"SELECT next_try, attempts FROM renewal WHERE name = '{NEW}'") == kept
    assert third.certificate(NEW)["next_time"] == failed["next_time"]

    # Up again, with another root and without any memory of our account.
    pebble.start()
    serial = third.wait_valid(NEW, 120)["serial"].lower().lstrip("0")
    assert third.certificate(NEW)["failures"] == 0
    assert served_serial(https, NEW).lstrip("0") == serial
    with tls_connect(https, NEW, ca_file=pebble.root()):
        pass
    assert "step=" in third.output()
    assert len(third.rows("SELECT * FROM accounts WHERE url != ''")) == 1
    third.assert_clean()


def test_a_start_does_not_wait_for_a_ca_that_never_answers(start_daemon):
    silent = socket.create_server(("127.0.0.1", 0))  # Accepts, and says nothing.
    with silent:
        begun = time.monotonic()
        daemon = start_daemon({
            "issuers": {"silent": {"directory": f"https://127.0.0.1:{silent.getsockname()[1]}/dir"}},
            "vhosts": [vhost(NEW)], "default_issuer": "silent"})
        assert fetch_admin(daemon.admin, "/readyz")[0] == 200
        assert time.monotonic() - begun < 10
        wait_until(lambda: daemon.certificate(NEW).get("step"), 10, "its first step")
        with tls_connect(daemon.https, NEW):
            pass
        # Nor does the end.
        begun = time.monotonic()
        daemon.assert_clean()
        assert time.monotonic() - begun < 10
