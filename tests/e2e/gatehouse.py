"""What the end-to-end tests share: the daemon, its peers, and small clients."""
import ctypes
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("GATEHOUSE", ROOT / "build/debug/gatehouse"))
RELEASE = ROOT / "build/release/gatehouse"
INTEROP = ROOT / "build/interop"
SUPPORT = ROOT / "tests/support"
FULL = bool(os.environ.get("GATEHOUSE_FULL"))  # the long forms of the proofs: tests/proofs


def free_ports(count):
    """Ports that nobody has now, below those that the kernel gives to outgoing connections, so that
    only another call of this could take one before it is used; and that chooses at random too."""
    ports = []
    while len(ports) < count:
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def wait_until(holds, seconds=15, what="it"):
    """Polls until holds() is true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        got = holds()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def accepts(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


class Process:
    """A child with its output in a file; ended by its own pid only."""

    def __init__(self, command, log, env=None, **options):
        self.log_path = pathlib.Path(log)
        self.log_file = open(log, "ab")
        self.child = subprocess.Popen([str(part) for part in command], stdout=self.log_file,
                                      stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                      env={**os.environ, **(env or {})}, **options)

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def output(self):
        return self.log_path.read_text(errors="replace")

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.is_running():
            self.child.kill()
        self.child.wait()

    def stop(self, seconds=40):
        """SIGTERM, then waits; the exit status."""
        if self.is_running():
            self.child.terminate()
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def close(self):
        try:
            self.stop(10)
        except subprocess.TimeoutExpired:
            pass
        self.log_file.close()


class Daemon(Process):
    """gatehouse run with a configuration given as a dict (JSON is YAML); or as `text`, or in a
    file at `path` that is there: of these the dict has the ports."""

    def __init__(self, directory, config, binary=None, env=None, wait=True, name="gatehouse", text=None, path=None):
        self.text = text
        self.directory = pathlib.Path(directory)
        self.binary = binary or BINARY
        self.env = env
        self.config = dict(config)
        self.config.setdefault("state", str(self.directory / "state"))
        self.config.setdefault("listen", {})
        if "https" not in self.config["listen"]:
            https, http = free_ports(2)
            self.config["listen"] = {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"],
                                     **self.config["listen"]}
        admin, = free_ports(1)
        self.config.setdefault("admin", {"listen": f"127.0.0.1:{admin}",
                                         "socket": str(self.directory / "control.sock")})
        self.config_path = path or self.directory / "gatehouse.yaml"
        if not path:
            self.write_config()
        sanitizers = {"ASAN_OPTIONS": "abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}
        super().__init__([self.binary, "run", "--config", self.config_path],
                         self.directory / f"{name}.log", env={**sanitizers, **(env or {})})
        if wait:
            wait_until(lambda: not self.is_running() or self.is_alive(), 20, "the daemon's start")
            assert self.is_running(), self.output()

    @staticmethod
    def _port(addresses):
        return int(addresses[0].rsplit(":", 1)[1]) if addresses else None

    @property
    def https(self):
        return self._port(self.config["listen"]["https"])

    @property
    def http(self):
        return self._port(self.config["listen"].get("http"))

    @property
    def admin(self):
        return self._port([self.config["admin"]["listen"]])

    def write_config(self):
        self.config_path.write_text(self.text or json.dumps(self.config, indent=1))

    def is_alive(self):
        return fetch_admin(self.admin, "/livez")[0] == 200

    def command(self, *words, check=True, seconds=60):
        """Runs a gatehouse command against this daemon; (exit status, stdout, stderr)."""
        done = subprocess.run([str(self.binary), *words, "--config", str(self.config_path)],
                              capture_output=True, text=True, timeout=seconds)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    def status(self):
        return json.loads(self.command("status", "--json")[1])

    def certificate(self, name):
        for entry in self.status()["certificates"]:
            if entry["name"] == name:
                return entry
        return None

    def wait_valid(self, name, seconds=60):
        return wait_until(lambda: (c := self.certificate(name)) and c["state"] == "valid" and c, seconds,
                          f"a certificate for {name}")

    def rows(self, sql):
        """What its database has, read beside it."""
        database = sqlite3.connect(f"file:{self.config['state']}/gatehouse.db?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_kib(self):
        """The most memory that was ever resident, by the kernel's own account."""
        return int(pathlib.Path(f"/proc/{self.pid}/status").read_text().split("VmHWM:")[1].split()[0])

    def processor_ns(self):
        """Processor time of all threads in nanoseconds: finer than the ticks of cpu_seconds()."""
        return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{self.pid}/task").glob("*/schedstat"))

    def wakeups(self):
        """How often its event loop has slept until now."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])

    def assert_clean(self):
        """Drains, and shows that no sanitizer had anything to say."""
        status = self.stop()
        assert status == 0, self.output()[-4000:]
        assert "ERROR: " not in self.output() and "runtime error" not in self.output()


def fetch_admin(port, path):
    """A plain GET; (status, body)."""
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


class Pebble:
    """A real ACME server, validating at the daemon's ports."""

    def __init__(self, directory, http, tls, env=None, current=False):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.acme, self.management, self.dns, self.names = free_ports(4)
        self.http, self.tls, self.current = http, tls, current
        self.env = env or {}
        self.process = None
        self.start()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.acme}/dir"

    @property
    def ca_file(self):
        return str(self.directory / "pebble-ca.pem")

    def start(self):
        env = dict(self.env)
        if self.current:
            env["PATH"] = f"{INTEROP}:{os.environ['PATH']}"
        self.process = Process([SUPPORT / "start-pebble", self.directory, self.acme, self.management,
                                self.http, self.tls, self.dns, self.names], self.directory / "pebble.out", env=env)
        try:  # It makes RSA keys first.
            wait_until(lambda: all(map(accepts, (self.acme, self.management, self.names))), 90, "pebble's start")
        except AssertionError:
            self.process.close()
            raise

    def stop(self):
        self.process.close()

    def root(self):
        """The root that signs its certificates; a new one at each start."""
        path = self.directory / "root.pem"
        context = ssl._create_unverified_context()
        import urllib.request
        with urllib.request.urlopen(f"https://127.0.0.1:{self.management}/roots/0", context=context) as reply:
            path.write_bytes(reply.read())
        return str(path)

    def resolve(self, name, address):
        """From now on the CA finds the name there, and not at 127.0.0.1."""
        import urllib.request
        body = json.dumps({"host": name, "addresses": [address]}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.names}/add-a", data=body, timeout=10).close()

    def log(self):
        return (self.directory / "pebble.log").read_text(errors="replace")

    def issued(self):
        """How many certificates it has made since its start."""
        return self.log().count("Issued certificate serial")

    def issuer(self, **more):
        return {"directory": self.url, "ca_file": self.ca_file, **more}


def make_certificate(directory, names, name="site"):
    """A self-signed certificate; (certificate file, key file)."""
    directory = pathlib.Path(directory)
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    alt = ",".join(("IP:" if part[0].isdigit() else "DNS:") + part for part in names)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "30", "-subj", f"/CN={names[0]}", "-addext",
                    f"subjectAltName={alt}", "-keyout", str(key), "-out", str(certificate)],
                   check=True, capture_output=True)
    key.chmod(0o600)
    return str(certificate), str(key)


def curl(*words, seconds=30):
    """Runs curl; (exit status, stdout, stderr) as text."""
    done = subprocess.run(["curl", "-sS", "--max-time", str(seconds), *words], capture_output=True,
                          timeout=seconds + 10)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def tls_connect(port, server_name, alpn=("http/1.1",), ca_file=None, version=None, host="127.0.0.1", ragged=True, over=None):
    """A TLS connection to the daemon; not verified without ca_file. `ragged`: an end without close_notify is an end."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else ssl._create_unverified_context()
    context.set_alpn_protocols(list(alpn))
    if version:
        context.minimum_version = context.maximum_version = version
    raw = over or socket.create_connection((host, port), timeout=20)
    return context.wrap_socket(raw, server_hostname=server_name, suppress_ragged_eofs=ragged)


def presented(port, server_name):
    """The certificate that is served for a name, as openssl prints it."""
    with tls_connect(port, server_name) as connection:
        pem = ssl.DER_cert_to_PEM_cert(connection.getpeercert(True))
    done = subprocess.run(["openssl", "x509", "-noout", "-text"], input=pem, capture_output=True, text=True,
                          check=True)
    return done.stdout


def served_serial(port, server_name, host="127.0.0.1"):
    """Serial number of the certificate that is served for a name, as lower-case hex."""
    with tls_connect(port, server_name, host=host) as connection:
        pem = ssl.DER_cert_to_PEM_cert(connection.getpeercert(True))
    done = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True,
                          text=True, check=True)
    return done.stdout.strip().split("=")[1].lower()


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Frozen:
    """Stops one thread of a process, as a bug that blocks a loop would."""

    def __init__(self, pid, name):
        self.thread, = (int(task.name) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                        if (task / "comm").read_text().strip() == name)
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        if self.ptrace(PTRACE_SEIZE, self.thread, None, None) != 0:
            import pytest
            pytest.skip(f"no thread may be traced here: {os.strerror(ctypes.get_errno())}")
        assert self.ptrace(PTRACE_INTERRUPT, self.thread, None, None) == 0
        os.waitpid(self.thread, 0x40000000)  # __WALL: until it stands still.
        return self

    def __exit__(self, *_):
        assert self.ptrace(PTRACE_DETACH, self.thread, None, None) == 0
