"""kill -9 around every numbered step of an order (acme/issuer.h), restart: one certificate results."""
import concurrent.futures
import shutil
import signal
import sqlite3
import subprocess

import pytest

from gatehouse import BINARY, Daemon, Pebble, free_ports, served_serial, wait_until

STEPS = ["account_key", "account_new", "account_url", "key", "new_order", "ordered", "answers", "challenge",
         "challenged", "validation", "authorized", "finalize", "finalized", "processing", "issued", "download",
         "finish"]
# Each scenario is a row of kills; the daemon that comes after the last one is left alone.
SCENARIOS = {f"{step}.{side}": [f"{step}.{side}"] for step in STEPS for side in ("before", "after")}
SCENARIOS |= {f"{first}+{then}": [first, then] for first, then in [
    ("ordered.after", "fetch.before"), ("validation.after", "fetch.after"), ("finalize.after", "download.after"),
    ("new_order.after", "ordered.after")]}
# The CA has an order whose URL we never learned. All others go on with the one that is there,
LOST_ORDERS = {"new_order.after", "ordered.before", "new_order.after+ordered.after"}
# unless the CA found nobody when it validated, and the order is invalid.
MAYBE_INVALID = {"challenge.after", "challenged.before", "challenged.after", "validation.before",
                 "validation.after", "validation.after+fetch.after"}
AT_ONCE = 6


def has_kill_points():
    return subprocess.run(["grep", "-q", "GATEHOUSE_KILL_AT", str(BINARY)]).returncode == 0


pytestmark = pytest.mark.skipif(not has_kill_points(),
                                reason="this build has no kill points: use the debug preset")


def stored(state, copy):
    """Accounts, orders and certificates of a store that nobody has open; a copy is read."""
    shutil.copytree(state, copy)
    database = sqlite3.connect(copy / "gatehouse.db")
    database.row_factory = sqlite3.Row
    try:
        tables = {table: [dict(row) for row in database.execute(f"SELECT * FROM {table}")]
                  for table in ("accounts", "orders", "certificates")}
        tables["integrity"] = database.execute("PRAGMA integrity_check").fetchall()
    finally:
        database.close()
    return tables


class Scenario:
    """One daemon, killed as often as asked and then left alone, and what was found in its store."""

    def __init__(self, directory, pebble, number, label):
        self.label, self.kills = label, SCENARIOS[label]
        self.name = f"kill{number}.mydomain.test"
        self.address = f"127.0.1.{number + 1}"
        self.directory = directory / f"{number}"
        self.directory.mkdir()
        self.pebble = pebble
        self.exits, self.after_kills = [], []
        self.final = self.status = self.serial = self.error = None
        self.end = None

    def config(self):
        return {
            "listen": {"https": [f"{self.address}:{self.pebble.tls}"], "http": [f"{self.address}:{self.pebble.http}"]},
            "admin": {"listen": f"{self.address}:9180", "socket": str(self.directory / "control.sock")},
            "issuers": {"pebble": self.pebble.issuer()}, "default_issuer": "pebble",
            "vhosts": [{"host": self.name, "routes": [{"respond": {"status": 200, "body": "here\n"}}]}],
        }

    def run(self):
        try:
            self.pebble.resolve(self.name, self.address)
            for number, kill in enumerate(self.kills):
                daemon = Daemon(self.directory, self.config(), env={"GATEHOUSE_KILL_AT": f"acme.order.{kill}"},
                                wait=False, name=f"killed{number}")
                try:
                    self.exits.append(daemon.child.wait(100))
                finally:
                    daemon.kill()
                    daemon.close()
                self.after_kills.append(stored(self.directory / "state", self.directory / f"copy{number}"))
            daemon = Daemon(self.directory, self.config(), wait=False)
            try:
                self.status = self.wait_valid(daemon)
                self.serial = served_serial(self.pebble.tls, self.name, host=self.address)
                self.end = daemon.stop()
            finally:
                daemon.kill()
                daemon.close()
            self.final = stored(self.directory / "state", self.directory / "copy")
        except Exception as error:  # Told by the test of this scenario.
            self.error = error
        return self

    def wait_valid(self, daemon):
        def valid():
            assert daemon.is_running(), daemon.output()[-3000:]
            status, out, _ = daemon.command("certificates", "list", "--json", check=False)
            return status == 0 and '"state":"valid"' in out.replace(" ", "") and daemon.certificate(self.name)
        return wait_until(valid, 120, f"a certificate after {self.label}")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, module_cleanup):
    directory = tmp_path_factory.mktemp("kill")
    pebble = Pebble(directory / "pebble", *free_ports(2), env={"PEBBLE_VA_NOSLEEP": "1"})
    module_cleanup.callback(pebble.stop)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(lambda item: Scenario(directory, pebble, *item).run(), enumerate(SCENARIOS))
        return {scenario.label: scenario for scenario in done}, pebble


@pytest.mark.parametrize("label", SCENARIOS)
def test_exactly_one_certificate_results_and_no_key_is_lost(outcomes, label):
    scenario = outcomes[0][label]
    assert scenario.error is None, repr(scenario.error)
    assert scenario.exits == [-signal.SIGKILL] * len(scenario.kills), "it did not pass there"
    final = scenario.final
    orders = sum(log.read_text().count('step="placing the order"') for log in scenario.directory.glob("*.log"))
    assert orders <= 1 + len(scenario.kills)  # `new_order.before` names one that was not placed
    assert [tuple(row) for row in final["integrity"]] == [("ok",)]
    assert final["orders"] == []
    assert [row["name"] for row in final["certificates"]] == [scenario.name]
    assert scenario.status["serial"].lower().lstrip("0") == scenario.serial.lstrip("0")
    assert scenario.end == 0
    account, = final["accounts"]
    assert account["url"] and account["status"] == "valid"
    for before in scenario.after_kills:
        assert [tuple(row) for row in before["integrity"]] == [("ok",)]
        assert len(before["accounts"]) <= 1 and len(before["orders"]) <= 1
        for row in before["accounts"]:
            assert row["key_pem"] == account["key_pem"], "another account key"
        for row in before["orders"]:
            assert row["key_pem"] == final["certificates"][0]["key_pem"], "another key than the one kept"


def test_what_was_announced_is_in_the_store_when_the_step_is_taken(outcomes):
    """Nothing is asked of the CA that a new process would not know of."""
    at = {label: scenario.after_kills[0] for label, scenario in outcomes[0].items() if scenario.after_kills}
    assert at["account_key.before"]["accounts"] == []
    assert at["account_new.before"]["accounts"][0]["key_pem"] and not at["account_new.before"]["accounts"][0]["url"]
    assert at["account_url.after"]["accounts"][0]["url"]
    assert at["key.before"]["orders"] == [] and at["new_order.before"]["orders"][0]["key_pem"]
    assert not at["ordered.before"]["orders"][0]["order_url"] and at["ordered.after"]["orders"][0]["order_url"]
    steps = [at[f"{step}.after"]["orders"][0]["step"] for step in
             ("key", "ordered", "answers", "challenged", "authorized", "finalized", "issued")]
    assert steps == sorted(set(steps)), "each is later than the one before"
    assert at["finish.before"]["orders"] and not at["finish.before"]["certificates"]
    assert not at["finish.after"]["orders"] and at["finish.after"]["certificates"]


def test_the_ca_saw_no_more_than_it_had_to(outcomes):
    scenarios, pebble = outcomes
    log = pebble.log()
    least = len(scenarios) + len(LOST_ORDERS)
    assert least <= log.count("Added order") <= least + len(MAYBE_INVALID)
    assert pebble.issued() == len(scenarios)
    assert log.count("accounts in memory") == len(scenarios)
