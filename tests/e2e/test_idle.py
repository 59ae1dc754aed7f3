"""What a daemon costs that has nothing to do. Judged on the release build."""
import pathlib
import resource
import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events
import pytest

from gatehouse import RELEASE, wait_until

pytestmark = pytest.mark.skipif(not RELEASE.exists(),
                                reason="no release build: cmake --preset release && cmake --build --preset release")

WANTED = 5000


def connections_that_fit():
    """Up to WANTED, where the hard limit of descriptors allows; raises the soft one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard - 512)


def open_idle(port, count):
    """HTTP/2 connections that have exchanged SETTINGS and made one request."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    opened = []
    for _ in range(count):
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="www.example.test")
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        state.initiate_connection()
        state.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "www.example.test"), (":path", "/own")], True)
        connection.sendall(state.data_to_send())
        ended = False
        while not ended:
            ended = any(isinstance(event, h2.events.StreamEnded) for event in state.receive_data(connection.recv(65536)))
        connection.sendall(state.data_to_send())
        opened.append(connection)
    return opened


def test_idle_connections_cost_next_to_nothing(start_edge, capsys):
    edge = start_edge(binary=RELEASE, limits={"idle_timeout": "10m"},
                      routes=[{"match": {"exact": "/own"}, "respond": {"status": 200, "body": "own"}}])
    time.sleep(1)
    empty = edge.daemon.resident_kib()
    count = connections_that_fit()
    began = time.monotonic()
    opened = open_idle(edge.daemon.https, count)
    took = time.monotonic() - began
    time.sleep(3)  # What is done after some quiet time is done.
    full = edge.daemon.resident_kib()
    before, wakeups = edge.daemon.processor_ns(), edge.daemon.wakeups()
    time.sleep(10)
    share = (edge.daemon.processor_ns() - before) / 10e9 * 100
    wakeups = edge.daemon.wakeups() - wakeups
    for connection in opened:
        connection.close()
    wait_until(lambda: len(list(pathlib.Path(f"/proc/{edge.daemon.pid}/fd").iterdir())) < 100, 20, "the connections' end")
    time.sleep(1)
    after = edge.daemon.resident_kib()
    figures = {"connections": count, "resident_kib_without": empty, "resident_kib_with": full, "resident_kib_afterwards": after,
               "kib_per_connection": round((full - empty) / count, 1), "processor_percent": round(share, 4), "wakeups_in_10_s": wakeups}
    with capsys.disabled():
        print(f"\n{count} idle HTTP/2 connections (of {WANTED} wanted; opened in {took:.0f} s): {figures}")
    assert share <= 0.1
    assert empty < 24 * 1024
    assert (full - empty) / count < 64


def test_reloads_leave_no_memory_behind(start_daemon, site):
    """A configuration that is gone gives its memory back: what is left of one never lies among the next one's."""
    def config(vhosts):
        routes = [*({"match": {"path": f"/p{i}"}, "backend": "b"} for i in range(5)), {"backend": "b"}]
        return {"certificates": {"site": {"certificate_file": site[0], "key_file": site[1]}},
                "backends": {"b": {"endpoints": ["http://127.0.0.1:1"]}},
                "vhosts": [{"host": f"v{i}.wild.example.test", "certificate": "site", "routes": routes} for i in range(vhosts)]}
    daemon = start_daemon(config(3000), binary=RELEASE)
    time.sleep(1)
    at_first = daemon.resident_kib()
    after = []
    for more in range(1, 7):
        daemon.config.update(config(3000 + more))
        daemon.write_config()
        daemon.command("reload")
        after.append(daemon.resident_kib())
    assert max(after) < 1.3 * at_first, (at_first, after)  # It was 1.87.
