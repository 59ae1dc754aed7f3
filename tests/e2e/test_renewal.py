"""Renewal while people connect, against a CA that rejects most nonces, at the time that it suggests; files too."""
import datetime
import json
import os
import sqlite3
import ssl
import threading
import urllib.request

import pytest

from gatehouse import INTEROP, free_ports, make_certificate, served_serial, tls_connect, wait_until

NAME = "www.mydomain.test"


def request(connection, name=NAME):
    """One HTTP/1.1 request on an open connection; the status line."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\nhere\n" not in got:
        more = connection.recv(4096)
        if not more:
            break
        got += more
    return got.split(b"\r\n")[0]


class Handshakes(threading.Thread):
    """New TLS connections, one after another, each verified and asked once."""

    def __init__(self, port, root):
        super().__init__(daemon=True)
        self.port, self.root = port, root
        self.ended = threading.Event()
        self.count, self.failures, self.serials = 0, [], set()

    def run(self):
        while not self.ended.is_set():
            try:
                with tls_connect(self.port, NAME, ca_file=self.root) as connection:
                    assert request(connection) == b"HTTP/1.1 200 OK"
                    self.serials.add(connection.getpeercert()["serialNumber"].lower().lstrip("0"))
                    self.count += 1
            except (OSError, AssertionError, ssl.SSLError) as error:
                self.failures.append(repr(error))

    def stop(self):
        self.ended.set()
        self.join()


def config_for(https, http, **issuer):
    return {
        "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
        "issuers": {"pebble": issuer}, "default_issuer": "pebble",
        "vhosts": [{"host": NAME, "routes": [{"respond": {"status": 200, "body": "here\n"}}]}],
    }


@pytest.fixture
def issued(start_daemon, start_pebble):
    """A daemon with a certificate, and its pebble."""
    def start(env=None, current=False, seconds=120):
        https, http = free_ports(2)
        pebble = start_pebble(http, https, env=env, current=current)
        daemon = start_daemon(config_for(https, http, **pebble.issuer()))
        daemon.wait_valid(NAME, seconds)
        return daemon, pebble
    return start


def test_renewals_under_load_fail_no_handshake_and_are_live_without_a_reload(issued):
    daemon, pebble = issued()
    root = pebble.root()
    serials = [daemon.certificate(NAME)["serial"].lower().lstrip("0")]
    with tls_connect(daemon.https, NAME, ca_file=root) as old:
        load = [Handshakes(daemon.https, root) for _ in range(4)]
        for thread in load:
            thread.start()
        for _ in range(2):
            out = daemon.command("certificates", "renew", NAME, seconds=120)[1]
            assert NAME in out
            # Live for the very next handshake.
            served = served_serial(daemon.https, NAME).lstrip("0")
            assert served not in serials
            assert daemon.certificate(NAME)["serial"].lower().lstrip("0") == served
            serials.append(served)
        for thread in load:
            thread.stop()
        assert request(old) == b"HTTP/1.1 200 OK", "a connection outlives the certificate that it began with"
    assert [failure for thread in load for failure in thread.failures] == []
    assert sum(thread.count for thread in load) > 50
    seen = set().union(*(thread.serials for thread in load))
    assert set(serials[:2]) <= seen <= set(serials)
    assert len(daemon.rows("SELECT DISTINCT key_pem FROM certificates")) == len(
        daemon.rows("SELECT key_pem FROM certificates")), "each has a key of its own"
    assert daemon.rows("SELECT * FROM orders") == []
    assert daemon.output().count("event=certificate.renewed") == 2
    assert "config.reloaded" not in daemon.output()
    daemon.assert_clean()


def test_a_renewal_survives_a_restart(issued, start_daemon):
    daemon, _ = issued(env={"PEBBLE_VA_NOSLEEP": "1"})
    daemon.command("certificates", "renew", NAME)
    serial = served_serial(daemon.https, NAME)
    daemon.assert_clean()
    again = start_daemon(daemon.config, name="again")
    assert served_serial(again.https, NAME) == serial
    again.assert_clean()


def test_nine_of_ten_nonces_rejected_are_no_failure(issued):
    daemon, pebble = issued(env={"PEBBLE_WFE_NONCEREJECT": "90", "PEBBLE_VA_NOSLEEP": "1"})
    daemon.command("certificates", "renew", NAME)
    assert daemon.certificate(NAME)["failures"] == 0
    assert "event=certificate.failed" not in daemon.output()
    assert pebble.issued() == 2
    daemon.assert_clean()


def set_window(pebble, pem, start, end):
    """What pebble answers from now on about that certificate's renewal."""
    window = {"suggestedWindow": {"start": start.isoformat().replace("+00:00", "Z"),
                                  "end": end.isoformat().replace("+00:00", "Z")},
              "explanationURL": "https://ca.test/why"}
    body = json.dumps({"certificate": pem, "ariResponse": json.dumps(window)}).encode()
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(f"https://127.0.0.1:{pebble.management}/set-renewal-info/", data=body,
                                context=context, timeout=10) as reply:
        assert reply.status == 200


@pytest.mark.skipif(not (INTEROP / "pebble").exists(),
                    reason="Debian's pebble has no renewal information: run tests/interop/install")
def test_a_window_that_is_now_renews_and_tells_what_is_replaced(issued, start_daemon):
    """Our floor allows one issuance an hour, so that the store is told that two have passed."""
    daemon, pebble = issued(env={"PEBBLE_VA_NOSLEEP": "1"}, current=True)
    before = served_serial(daemon.https, NAME)
    wait_until(lambda: daemon.rows("SELECT start_at FROM ari"), 30, "the first window")
    planned = daemon.certificate(NAME)["next_time"]
    assert planned > datetime.datetime.utcnow().isoformat(), "pebble's own window is far ahead"
    pem = daemon.rows("SELECT chain_pem FROM certificates")[0][0]
    leaf = pem[:pem.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
    ari_id = daemon.rows("SELECT ari_id FROM ari")[0][0]
    daemon.assert_clean()
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    set_window(pebble, leaf, now - datetime.timedelta(hours=1), now + datetime.timedelta(seconds=2))
    database = sqlite3.connect(f"{daemon.config['state']}/gatehouse.db")
    with database:
        database.execute("UPDATE renewal SET last_issued = last_issued - 7200000")
        database.execute("UPDATE ari SET next_poll = 0")
    database.close()

    again = start_daemon(daemon.config, name="again")
    wait_until(lambda: served_serial(again.https, NAME) != before, 60, "the renewal")
    log = again.output()
    assert "event=certificate.window" in log and "https://ca.test/why" in log
    assert log.index("event=certificate.window") < log.index("event=certificate.renewed")
    # The CA was told, and agreed.
    assert "is a replacement of" in pebble.log(), pebble.log()[-3000:]
    assert again.rows("SELECT replaces_refused FROM renewal") == [("",)]
    # The new leaf has a window of its own, far away: it is not renewed again.
    wait_until(lambda: again.rows(f"SELECT 1 FROM ari WHERE ari_id != '{ari_id}' AND start_at > 0"), 30,
               "the new window")
    assert pebble.issued() == 2
    again.assert_clean()


def test_files_that_change_are_live_without_a_reload_and_a_bad_pair_is_not(start_daemon, tmp_path):
    certificate, key = make_certificate(tmp_path, [NAME])
    daemon = start_daemon({
        "certificates": {"files": {"certificate_file": certificate, "key_file": key}},
        "vhosts": [{"host": NAME, "certificate": "files",
                    "routes": [{"respond": {"status": 200, "body": "here\n"}}]}]})
    first = served_serial(daemon.https, NAME)
    other, other_key = make_certificate(tmp_path, [NAME], "other")
    os.replace(other, certificate)  # The key is still the one of before.
    wait_until(lambda: "event=certificate.file_unusable" in daemon.output(), 30, "the refusal")
    assert served_serial(daemon.https, NAME) == first
    with tls_connect(daemon.https, NAME) as connection:
        assert request(connection) == b"HTTP/1.1 200 OK"
    os.replace(other_key, key)
    wait_until(lambda: served_serial(daemon.https, NAME) != first, 30, "the new pair")
    assert daemon.certificate("files")["serial"].lower().lstrip("0") == served_serial(daemon.https, NAME).lstrip("0")
    assert "config.reloaded" not in daemon.output()
    daemon.assert_clean()
