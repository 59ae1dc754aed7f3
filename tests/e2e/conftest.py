"""Fixtures of the end-to-end tests."""
import contextlib

import pytest

from gatehouse import SUPPORT, Daemon, Pebble, Process, accepts, free_ports, make_certificate, wait_until


@pytest.fixture
def cleanup():
    """What a test started, ended in reverse order."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def start_daemon(tmp_path, cleanup):
    """Starts daemons; they are ended with the test."""
    def start(config, directory=None, **options):
        directory = directory or tmp_path
        directory.mkdir(parents=True, exist_ok=True)
        daemon = Daemon(directory, config, **options)
        cleanup.callback(daemon.close)
        return daemon
    return start


@pytest.fixture
def start_pebble(tmp_path, cleanup):
    def start(http, tls, **options):
        pebble = Pebble(tmp_path / "pebble", http, tls, **options)
        cleanup.callback(pebble.stop)
        return pebble
    return start


@pytest.fixture
def start_hello(tmp_path, cleanup):
    """Starts helloworld servers; the port."""
    def start(version="v1"):
        port, = free_ports(1)
        server = Process(["python3", SUPPORT / "helloworld.py", port, version], tmp_path / f"hello-{version}-{port}.log")
        cleanup.callback(server.close)
        wait_until(lambda: accepts(port), 10, "helloworld's start")
        return port
    return start


@pytest.fixture
def site(tmp_path):
    """A self-signed certificate for www.example.test and friends: (certificate, key)."""
    return make_certificate(tmp_path, ["www.example.test", "mobile.example.test", "*.wild.example.test", "127.0.0.1"])


@pytest.fixture(scope="module")
def start_edge(tmp_path_factory):
    """Starts daemons before programmable backends (edge.py); they end with the file's last test."""
    from edge import Edge
    started = []

    def start(**options):
        started.append(Edge(tmp_path_factory.mktemp("edge"), **options))
        return started[-1]
    yield start
    for edge in started:
        edge.close()


@pytest.fixture(scope="module")
def module_cleanup():
    """As cleanup, for what the tests of a whole file share."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def module_hello(tmp_path_factory, module_cleanup):
    """As start_hello, for what the tests of a whole file share."""
    def start(version="v1"):
        port, = free_ports(1)
        log = tmp_path_factory.mktemp("hello") / f"hello-{version}.log"
        server = Process(["python3", SUPPORT / "helloworld.py", port, version], log)
        module_cleanup.callback(server.close)
        wait_until(lambda: accepts(port), 10, "helloworld's start")
        return port
    return start


@pytest.fixture(scope="module")
def start_kube(tmp_path_factory, module_cleanup):
    """Starts Kubernetes apiservers (kube.py); they end with the file's last test. Skips where there is none."""
    from kube import Kube

    def start(**options):
        kube = Kube(tmp_path_factory.mktemp("kube"), **options)
        module_cleanup.callback(kube.stop)
        return kube
    return start


@pytest.fixture(scope="module")
def kube(start_kube):
    """One apiserver for the tests of a whole file."""
    return start_kube()
