"""Clients and backends that come, fail and go at random moments, many at once. Whatever happens, the
daemon lives, says nothing wrong to anybody, and keeps nothing afterwards."""
import pathlib
import random
import socket
import threading
import time

import h2.exceptions
import pytest

from gatehouse import fetch_admin, wait_until

SEED = 20240229
ROUNDS = 60      # of each client
CLIENTS = 12


def body_for(path):
    """What a whole answer for a path has to be."""
    number = int(path.rsplit("/", 1)[1].partition("?")[0])
    return (b"%d." % number) * (number % 5000)


def moody(connection, request):
    """Answers rightly, slowly, partly, or not at all: by chance."""
    rng = connection.backend.chance
    body, mood = body_for(request.path), rng.random()
    if mood < 0.1:
        return False
    if mood < 0.15:
        connection.reset()
        return False
    if mood < 0.7:
        connection.read_body(request)
    if mood < 0.2:
        time.sleep(rng.random() * 0.2)
    if rng.random() < 0.2:
        connection.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    if rng.random() < 0.5:
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        cut = rng.randrange(len(body) + 1) if rng.random() < 0.15 else None
        connection.send(body if cut is None else body[:cut])
        return cut is None and mood < 0.7
    connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while body:
        size = rng.randrange(1, len(body) + 1)
        connection.send(b"%x\r\n%s\r\n" % (size, body[:size]))
        body = body[size:]
        if rng.random() < 0.05:
            return False
    connection.send(b"0\r\n\r\n" if rng.random() < 0.8 else b"0\r\nx-end: 1\r\n\r\n")
    return mood < 0.7


def moody_stream(rng):
    def script(stream):
        body, mood = body_for(stream.path), rng.random()
        try:
            if mood < 0.1:
                stream.reset(rng.choice([0, 2, 7, 8]))
            elif mood < 0.15:
                stream.connection.sock.close()
            elif mood < 0.25:
                stream.send([(":status", "200")], body[:10000], end=False)
                stream.reset(2)
            elif mood < 0.3:
                stream.connection.state.close_connection()
                stream.connection.flush()
                stream.connection.sock.shutdown(socket.SHUT_RDWR)
            else:
                stream.send([(":status", "200")], body[:16000], [("x-end", "1")] if rng.random() < 0.3 else None)
        except (OSError, h2.exceptions.ProtocolError):
            pass
    return script


def judge(path, status, body, is_whole, wrong):
    """A whole answer with 200 is the right one."""
    expected = body_for(path)[:16000] if path.startswith("/h2c") else body_for(path)
    if status == 200 and is_whole and body != expected:
        wrong.append((path, len(body), len(expected)))
    if status not in (0, 200, 408, 502, 503, 504):
        wrong.append((path, status))


def http1_client(edge, rng, wrong, whole):
    for _ in range(ROUNDS):
        with edge.raw() as client:
            for _ in range(rng.randrange(1, 4)):
                path = f"{rng.choice(['', '/h2c'])}/disorder/{rng.randrange(100000)}"
                upload = rng.randrange(50000) if rng.random() < 0.4 else 0
                sent = upload if rng.random() < 0.8 else upload // 2
                try:
                    client.request("POST" if upload else "GET", path, f"Content-Length: {upload}\n" if upload else "", b"u" * sent)
                    if sent < upload or rng.random() < 0.15:
                        time.sleep(rng.random() * 0.01)
                        break  # Goes away in the middle.
                    got = client.read()
                except TimeoutError:
                    wrong.append((path, "no answer at all"))
                    break
                except (AssertionError, OSError):
                    break  # The connection ended: that is allowed.
                judge(path, got.status, got.body, got.is_whole, wrong)
                whole.append(got.is_whole and got.status == 200)
                if not got.is_whole or got.get("connection") == "close":
                    break


def http2_client(edge, rng, wrong, whole):
    for _ in range(ROUNDS // 4):
        with edge.h2() as client:
            streams = {}
            try:
                for _ in range(rng.randrange(1, 12)):
                    path = f"{rng.choice(['', '/h2c'])}/disorder/{rng.randrange(100000)}"
                    stream = client.start("GET" if rng.random() < 0.6 else "POST", path, end=False)
                    streams[stream] = path
                    client.send(stream, b"u" * rng.randrange(40000), end=rng.random() < 0.99)
                    if rng.random() < 0.15:
                        client.state.reset_stream(stream, 8)
                        client.flush()
                        del streams[stream]
                if rng.random() < 0.2:
                    continue  # Goes away with all of them open.
                for stream, path in streams.items():
                    if rng.random() < 0.1:
                        continue  # Nobody looks at this one.
                    got = client.wait(stream)
                    judge(path, got.status_or_zero, got.body, got.is_whole, wrong)
                    whole.append(got.is_whole and got.status == 200)
            except TimeoutError:
                wrong.append((streams, "no answer at all"))
            except (AssertionError, OSError, h2.exceptions.ProtocolError):
                pass


def connections_gauge(edge):
    for line in fetch_admin(edge.daemon.admin, "/metrics")[1].splitlines():
        if line.startswith("gatehouse_connections "):
            return float(line.split()[1])
    raise AssertionError("no such metric")


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_disorder_leaves_nothing_behind(start_edge, seed):
    edge = start_edge(limits={"stall_timeout": "2s", "header_timeout": "1s", "idle_timeout": "5s"}, log={"access": {"format": "json"}})
    edge.h1.chance = random.Random(seed)
    edge.h1.scripts[None] = moody
    edge.h2c.scripts[None] = moody_stream(random.Random(seed + 1))
    wrong, whole = [], []
    threads = [threading.Thread(target=http1_client if number % 2 else http2_client,
                                args=(edge, random.Random(seed + 10 + number), wrong, whole)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a client waits for ever"
    assert edge.daemon.is_running(), edge.daemon.output()[-3000:]
    assert wrong == []
    assert sum(whole) > 200, (len(whole), sum(whole))  # It was not only disorder.
    wait_until(lambda: connections_gauge(edge) == 0, 10, "the end of all client connections")
    # All that is left are pooled connections to the backends, and they still serve.
    edge.h1.scripts[None] = lambda connection, request: (connection.read_body(request), connection.send(
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))[0] is not None
    with edge.raw() as client:
        assert client.get("/disorder/1").status == 200
    open_now = len(list(pathlib.Path(f"/proc/{edge.daemon.pid}/fd").iterdir()))
    assert open_now < 40 + len(edge.h1.connections), open_now
