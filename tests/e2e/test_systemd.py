"""What systemd sees: the units, inherited sockets, notifications, and the sandbox's system calls."""
import contextlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

import pytest

from gatehouse import BINARY, Frozen, RELEASE, ROOT, accepts, curl, free_ports, tls_connect, wait_until

UNITS = ROOT / "systemd"
SERVICE = UNITS / "gatehouse.service"


def needs(program, package):
    return pytest.mark.skipif(not shutil.which(program),
                              reason=f"{program} is missing: apt-get install {package}")


needs_analyze = needs("systemd-analyze", "systemd")
needs_activate = needs("systemd-socket-activate", "systemd")


def settings(key):
    """All values of a key of the service, in order."""
    return re.findall(rf"^{key}=(.*)$", SERVICE.read_text(), re.MULTILINE)


def default_limit(key):
    """A default under limits, from the file that shows them all."""
    return int(re.search(rf"^  {key}: ([0-9]+)", (ROOT / "conf/full.yaml").read_text(), re.MULTILINE)[1])


# ---- the units --------------------------------------------------------------------------------

@needs_analyze
def test_the_exposure_of_the_service_is_below_two():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVICE)],
                          capture_output=True, text=True, timeout=60)
    level = re.search(r"Overall exposure level for gatehouse\.service: ([0-9.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) < 2.0, done.stdout


@needs_analyze
def test_systemd_reads_the_units_without_a_complaint(tmp_path):
    for unit in ("gatehouse.service", "gatehouse.socket"):
        text = (UNITS / unit).read_text()
        # The program is looked for in PATH; here it is not installed.
        (tmp_path / unit).write_text(re.sub(r"^(Exec\w+)=gatehouse ", rf"\1={BINARY} ", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                           str(tmp_path / "gatehouse.service"), str(tmp_path / "gatehouse.socket")],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs("systemd-sysusers", "systemd")
def test_the_user_is_made_from_its_file(tmp_path):
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.conf")], check=True,
                   capture_output=True, timeout=60)
    user = settings("User")[0]
    assert re.search(rf"^{user}:[^:]*:\d+:\d+:[^:]*:/var/lib/gatehouse:/usr/sbin/nologin$",
                     (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert re.search(rf"^{settings('Group')[0]}:", (tmp_path / "etc/group").read_text(), re.MULTILINE)


def test_stopping_has_time_for_the_whole_drain():
    assert int(settings("TimeoutStopSec")[0].rstrip("s")) > default_limit("drain_timeout")


def test_the_descriptor_limit_fits_the_default_number_of_connections():
    assert int(settings("LimitNOFILE")[0]) >= 2 * default_limit("connections") + 1024


# ---- inherited sockets ------------------------------------------------------------------------

@pytest.fixture
def start_by_socket(tmp_path, start_daemon, site):
    """Starts systemd-socket-activate, which becomes the daemon when the first visitor comes."""
    def start(listening, config):
        sockets = " ".join(f"--listen={address}" for address in listening)
        passed = " ".join(f"--setenv={name}" for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"))
        wrapper = tmp_path / "activated"
        wrapper.write_text("#!/bin/sh\n"
                           f"[ \"$1\" = run ] || exec {shlex.quote(str(BINARY))} \"$@\"\n"
                           f"exec systemd-socket-activate {sockets} {passed} {shlex.quote(str(BINARY))} \"$@\"\n")
        wrapper.chmod(0o755)
        config = {"certificates": {"site": {"certificate_file": site[0], "key_file": site[1]}},
                  "vhosts": [{"host": "www.example.test", "certificate": "site",
                              "routes": [{"respond": {"status": 200, "body": "from a route\n"}}]}], **config}
        daemon = start_daemon(config, binary=wrapper, wait=False)
        wait_until(lambda: "Listening on" in daemon.output() or not daemon.is_running(), 10, "the sockets")
        return daemon
    return start


@needs_activate
def test_a_visitor_from_before_the_start_is_answered(start_by_socket):
    https, http = free_ports(2)
    daemon = start_by_socket([f"127.0.0.1:{http}", f"127.0.0.1:{https}"],
                             {"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]}})
    assert not daemon.is_alive()
    # This connection makes the daemon start, and waits in the queue of the inherited socket: were it
    # bound anew, nobody would accept it.
    with tls_connect(https, "www.example.test") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"from a route\n")
    status, out, error = curl("-i", "-H", "Host: www.example.test", f"http://127.0.0.1:{http}/x")
    assert status == 0 and out.startswith("HTTP/1.1 308 "), out + error
    daemon.assert_clean()


@needs_activate
def test_an_inherited_socket_that_the_configuration_does_not_list_is_closed_and_named(start_by_socket):
    https, stray = free_ports(2)
    daemon = start_by_socket([f"127.0.0.1:{https}", f"127.0.0.1:{stray}"],
                             {"listen": {"https": [f"127.0.0.1:{https}"], "http": []}})
    tls_connect(https, "www.example.test").close()
    assert not accepts(stray)
    line, = (line for line in daemon.output().splitlines() if "systemd.socket_unused" in line)
    assert f"127.0.0.1:{stray}" in line
    daemon.assert_clean()


@needs_activate
def test_an_address_without_an_inherited_socket_is_bound(start_by_socket):
    https, http = free_ports(2)
    daemon = start_by_socket([f"127.0.0.1:{https}"],
                             {"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]}})
    tls_connect(https, "www.example.test").close()
    assert accepts(http)
    daemon.assert_clean()


@needs_activate
def test_an_inherited_socket_feeds_all_loops(start_by_socket):
    https, http = free_ports(2)
    daemon = start_by_socket([f"127.0.0.1:{http}", f"127.0.0.1:{https}"],
                             {"workers": 4, "listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]}})
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(tls_connect(https, "www.example.test"))
        assert [worker["connections"] for worker in daemon.status()["workers"]] == [2, 2, 2, 2]
    daemon.assert_clean()


# ---- notifications ----------------------------------------------------------------------------

class Notifications:
    """The socket that systemd would read."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)

    def next(self, seconds=20):
        """The next message as a dict, or None."""
        self.socket.settimeout(seconds)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture
def notifications(tmp_path, cleanup):
    made = Notifications(tmp_path / "notify")
    cleanup.callback(made.socket.close)
    return made


@pytest.fixture
def start_notifying(start_daemon, notifications, site):
    def start(workers=1, **env):
        config = {"workers": workers, "certificates": {"site": {"certificate_file": site[0], "key_file": site[1]}},
                  "vhosts": [{"host": "www.example.test", "certificate": "site",
                              "routes": [{"respond": {"status": 200, "body": "ok\n"}}]}]}
        return start_daemon(config, wait=False, env={"NOTIFY_SOCKET": notifications.path, **env})
    return start


def test_ready_is_said_when_the_ports_are_served(start_notifying, notifications):
    daemon = start_notifying()
    message = notifications.next()
    assert message and message["READY"] == "1" and "1 vhost" in message["STATUS"], daemon.output()
    tls_connect(daemon.https, "www.example.test").close()  # At the first attempt.
    daemon.assert_clean()


def test_a_reload_is_said_at_its_begin_and_end(start_notifying, notifications):
    daemon = start_notifying()
    assert "READY" in notifications.next()
    before = time.monotonic_ns() // 1000
    daemon.signal(signal.SIGHUP)
    message = notifications.next()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert notifications.next()["READY"] == "1"
    daemon.assert_clean()


def test_a_refused_reload_is_ready_again_and_says_so(start_notifying, notifications):
    daemon = start_notifying()
    assert "READY" in notifications.next()
    daemon.config["vhost"] = []
    daemon.write_config()
    daemon.signal(signal.SIGHUP)
    assert "RELOADING" in notifications.next()
    message = notifications.next()
    assert message["READY"] == "1" and "refused" in message["STATUS"]
    tls_connect(daemon.https, "www.example.test").close()
    daemon.assert_clean()


def test_stopping_is_said_when_the_drain_begins(start_notifying, notifications):
    daemon = start_notifying()
    assert "READY" in notifications.next()
    daemon.signal(signal.SIGTERM)
    assert notifications.next() == {"STOPPING": "1"}
    assert daemon.stop() == 0


def test_the_watchdog_is_fed_within_each_period(start_notifying, notifications):
    start_notifying(WATCHDOG_USEC="2000000")
    assert "READY" in notifications.next()
    for _ in range(3):
        assert notifications.next(seconds=2) == {"WATCHDOG": "1"}


def test_the_watchdog_is_not_fed_while_a_loop_does_not_turn(start_notifying, notifications):
    daemon = start_notifying(workers=3, WATCHDOG_USEC="1000000")
    assert "READY" in notifications.next()
    for _ in range(2):
        assert notifications.next(seconds=2) == {"WATCHDOG": "1"}
    with Frozen(daemon.pid, "gatehouse-2"):
        # One may be on its way, of a sign of life that the loop gave before.
        fed = sum(notifications.next(seconds=1.2) is not None for _ in range(3))
        assert fed <= 1
        assert "event=loop.stuck worker=2" in daemon.output()
    assert notifications.next(seconds=2) == {"WATCHDOG": "1"}
    daemon.assert_clean()


def test_without_a_watchdog_nothing_more_is_said(start_notifying, notifications):
    start_notifying()
    assert "READY" in notifications.next()
    assert notifications.next(seconds=1.5) is None


# ---- the sandbox ------------------------------------------------------------------------------

def members(group):
    """The system calls of one of systemd's groups, those of nested groups included."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], check=True,
                            capture_output=True, text=True, timeout=60).stdout
    calls = set()
    for line in listed.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            calls |= members(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def filtered():
    """What SystemCallFilter= leaves: its lines in their order."""
    allowed = set()
    for value in settings("SystemCallFilter"):
        words = value.removeprefix("~").split()
        named = set().union(*(members(word) if word.startswith("@") else {word} for word in words))
        allowed = allowed - named if value.startswith("~") else allowed | named
    return allowed


@needs_analyze
@needs("strace", "strace")
@pytest.mark.skipif(not RELEASE.exists(), reason="no release build: cmake --workflow --preset release")
def test_the_release_needs_no_more_than_the_sandbox_gives(start_daemon, start_hello, tmp_path):
    trace = tmp_path / "trace"
    wrapper = tmp_path / "traced"
    wrapper.write_text("#!/bin/sh\n"
                       f"[ \"$1\" = run ] || exec {shlex.quote(str(RELEASE))} \"$@\"\n"
                       f"exec strace -D -f -o {trace} {shlex.quote(str(RELEASE))} \"$@\"\n")
    wrapper.chmod(0o755)
    daemon = start_daemon({"vhosts": [{"host": "localhost", "http": "serve",
                                       "backend": f"http://localhost:{start_hello()}"}]}, binary=wrapper)
    daemon.wait_valid("localhost")
    for version in ("--http1.1", "--http2"):
        status, out, error = curl("-k", version, f"https://localhost:{daemon.https}/")
        assert status == 0 and out, error + daemon.output()
    daemon.command("reload")
    daemon.command("certificates", "renew", "localhost")
    assert daemon.stop() == 0
    ending = re.compile(rf"^{daemon.pid} +\+\+\+ exited", re.MULTILINE)
    text = wait_until(lambda: ending.search(t := trace.read_text(errors="replace")) and t, 20, "the trace's end")
    calls = set(re.findall(r"^\d+\s+(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed)", text, re.MULTILINE))
    assert {"accept4", "epoll_wait", "fdatasync"} & calls, "the trace is not the daemon's"
    # SQLite hands its files to the database's owner when root runs it; the service is not root.
    assert calls - filtered() - {"fchown"} == set()
    # MemoryDenyWriteExecute=
    assert not re.search(r"mmap\([^)]*PROT_WRITE\|PROT_EXEC|mprotect\([^)]*PROT_EXEC", text)
    families = set(re.findall(r"^\d+\s+socket(?:pair)?\((\w+)", text, re.MULTILINE))
    assert families <= set(settings("RestrictAddressFamilies")[0].split())
