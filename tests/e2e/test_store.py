"""The store: modes, two daemons, a full disk, a damaged file."""
import contextlib
import os
import pathlib
import re
import sqlite3
import stat
import subprocess

import pytest

from gatehouse import Daemon, presented, served_serial, wait_until

ANSWER = {"routes": [{"respond": {"status": 200, "body": "here\n"}}]}


def config_for(*hosts, **more):
    return {"issuers": {"offline": {"internal": True}}, "default_issuer": "offline",
            "vhosts": [{"host": host, **ANSWER} for host in hosts], **more}


@pytest.fixture
def stored(start_daemon):
    """A configuration whose state has a certificate for localhost; its daemon has ended."""
    daemon = start_daemon(config_for("localhost"), name="first")
    daemon.wait_valid("localhost", 30)
    daemon.serial = served_serial(daemon.https, "localhost")
    daemon.assert_clean()
    return daemon


def fails_to_start(directory, config, name="refused"):
    daemon = Daemon(directory, config, wait=False, name=name)
    try:
        return daemon.child.wait(30), daemon.output()
    finally:
        daemon.kill()
        daemon.close()


# ---- modes ------------------------------------------------------------------------------------

def test_what_it_makes_is_for_its_owner_only(tmp_path, start_daemon):
    daemon = start_daemon(config_for("localhost"))
    daemon.wait_valid("localhost", 30)
    state = pathlib.Path(daemon.config["state"])
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    assert {"gatehouse.db", "gatehouse.db-wal", "gatehouse.db-shm"} <= set(files)
    assert set(files.values()) == {0o600}, files
    assert stat.S_IMODE(os.stat(daemon.config["admin"]["socket"]).st_mode) == 0o600
    daemon.assert_clean()


@pytest.mark.parametrize("name, mode", [("", 0o750), ("", 0o701), ("gatehouse.db", 0o640),
                                        ("gatehouse.db", 0o604), ("gatehouse.db-wal", 0o660),
                                        ("gatehouse.lock", 0o666)])
def test_wider_modes_are_refused_by_name(stored, tmp_path, name, mode):
    path = pathlib.Path(stored.config["state"]) / name
    if not path.exists():
        path.touch(0o600)
    path.chmod(mode)
    status, said = fails_to_start(tmp_path, stored.config)
    assert status == 1, said
    assert str(path).rstrip("/") in said and f"{mode:04o}" in said and "chmod" in said
    path.chmod(0o700 if path.is_dir() else 0o600)
    if name == "gatehouse.db-wal":
        path.unlink()
    again = Daemon(tmp_path, stored.config, name="again")
    try:
        assert served_serial(again.https, "localhost") == stored.serial
        again.assert_clean()
    finally:
        again.close()


def test_a_second_daemon_on_the_same_state_is_refused(tmp_path, start_daemon):
    first = start_daemon(config_for("localhost"))
    first.wait_valid("localhost", 30)
    other = tmp_path / "other"
    other.mkdir()
    status, said = fails_to_start(other, config_for("localhost", state=first.config["state"]))
    assert status == 1
    assert f"process {first.pid}" in said and first.config["state"] in said
    assert first.is_alive() and first.certificate("localhost")["state"] == "valid"
    first.assert_clean()


# ---- a full disk ------------------------------------------------------------------------------

@pytest.fixture
def small_disk(tmp_path, cleanup):
    """A file system of its own, 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(where)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting a small file system is not allowed here: {done.stderr.strip()}")
    cleanup.callback(lambda: subprocess.run(["umount", "-l", str(where)], check=False))
    return where


def fill(disk):
    with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


def test_on_a_full_disk_the_last_good_certificates_are_served_and_new_ones_kept_later(small_disk, start_daemon):
    daemon = start_daemon(config_for("localhost", state=str(small_disk / "state")))
    daemon.wait_valid("localhost", 30)
    before = served_serial(daemon.https, "localhost")
    fill(small_disk)
    code, _, error = daemon.command("certificates", "renew", "localhost", check=False)
    # Whether or not a newer one was made, one that is good is served and the reason is named.
    entry = daemon.certificate("localhost")
    reason = entry.get("not_saved") or entry.get("last_error", {}).get("message", "")
    assert re.search("full", reason), (code, error, entry)
    assert re.search(r"level=error event=\S+ .*full", daemon.output())
    assert "full" in daemon.command("status")[1]
    assert entry["state"] == "valid"
    served = served_serial(daemon.https, "localhost")
    assert served == before or served.lstrip("0") == entry["serial"].lower().lstrip("0")

    (small_disk / "ballast").unlink()
    wait_until(lambda: "not_saved" not in daemon.certificate("localhost"), 90, "saving")
    if code != 0:
        daemon.command("certificates", "renew", "localhost")
    served = served_serial(daemon.https, "localhost")
    assert served != before
    daemon.assert_clean()
    again = start_daemon(daemon.config, name="again")
    assert served_serial(again.https, "localhost") == served
    again.assert_clean()


def test_a_disk_that_is_full_at_the_start_serves_what_it_has(small_disk, start_daemon):
    first = start_daemon(config_for("localhost", state=str(small_disk / "state")), name="first")
    first.wait_valid("localhost", 30)
    serial = served_serial(first.https, "localhost")
    first.assert_clean()
    fill(small_disk)
    daemon = start_daemon(first.config)
    assert served_serial(daemon.https, "localhost") == serial
    assert re.search(r"level=error event=store\.no_room ", daemon.output())
    # And goes on when there is room again.
    (small_disk / "ballast").unlink()
    daemon.command("certificates", "renew", "localhost")
    serial = served_serial(daemon.https, "localhost")
    daemon.assert_clean()
    again = start_daemon(first.config, name="again")
    assert served_serial(again.https, "localhost") == serial
    again.assert_clean()


# ---- a damaged file ---------------------------------------------------------------------------

def damage_header(path):
    with open(path, "r+b") as file:
        file.write(b"this is not a database at all, not even from afar" * 3)


def damage_pages(path):
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def damage_schema(path):
    database = sqlite3.connect(path)
    database.execute("DROP TABLE renewal")
    database.commit()
    database.close()


@pytest.mark.parametrize("damage", [damage_header, damage_pages, cut, damage_schema])
def test_a_damaged_database_is_set_aside_and_said(stored, start_daemon, damage):
    state = pathlib.Path(stored.config["state"])
    path = state / "gatehouse.db"
    damage(path)
    damaged = path.read_bytes()
    daemon = start_daemon(stored.config)
    facts = daemon.status()["store"]
    assert facts["damage"], facts
    assert [pathlib.Path(kept).read_bytes() for kept in facts["set_aside"][:1]] == [damaged]
    assert all(stat.S_IMODE(os.stat(kept).st_mode) == 0o600 for kept in facts["set_aside"])
    assert re.search(r"level=error event=store\.damaged ", daemon.output())
    assert "was damaged" in daemon.command("status")[1]
    daemon.wait_valid("localhost", 30)
    daemon.assert_clean()
    # The next start has nothing to complain of.
    again = start_daemon(daemon.config, name="again")
    assert "damage" not in again.status()["store"]
    assert again.rows("PRAGMA integrity_check") == [("ok",)]
    again.assert_clean()


def test_certificates_are_saved_from_a_file_with_a_damaged_table(stored, start_daemon):
    damage_schema(pathlib.Path(stored.config["state"]) / "gatehouse.db")
    daemon = start_daemon(stored.config)
    assert served_serial(daemon.https, "localhost") == stored.serial
    assert daemon.status()["store"]["rows_salvaged"] > 0
    daemon.assert_clean()


def test_a_row_that_is_no_certificate_costs_that_name_only(tmp_path, start_daemon):
    first = start_daemon(config_for("localhost", "127.0.0.1"), name="first")
    first.wait_valid("localhost", 30)
    first.wait_valid("127.0.0.1", 30)
    serial = served_serial(first.https, "localhost")
    first.assert_clean()
    database = sqlite3.connect(f"{first.config['state']}/gatehouse.db")
    with database:
        database.execute("UPDATE certificates SET key_pem = 'nothing' WHERE name = '127.0.0.1'")
        # An hour after the last one it may get another.
        database.execute("UPDATE renewal SET last_issued = last_issued - 7200000")
    database.close()
    daemon = start_daemon(first.config)
    assert served_serial(daemon.https, "localhost") == serial
    assert re.search(r"127\.0\.0\.1", "\n".join(line for line in daemon.output().splitlines()
                                                if "level=error" in line or "level=warn" in line))
    daemon.wait_valid("127.0.0.1", 30)
    assert "Gatehouse temporary" not in presented(daemon.https, "localhost")
    daemon.assert_clean()
