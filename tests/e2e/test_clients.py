"""Clients of many kinds get correct answers: curl, nghttp, h2load, Python's h2 and http.client, Chromium."""
import http.client
import re
import shutil
import ssl
import subprocess

import pytest

from backends import ok
from clients import chromium
from gatehouse import curl, tls_connect

PAGE = b"<!doctype html><title>Gatehouse</title><p id=said>waiting</p>" \
       b"<script>fetch('/data').then(r => r.text()).then(t => document.getElementById('said').textContent = t)</script>"


@pytest.fixture(scope="module")
def edge(start_edge):
    edge = start_edge(routes=[{"match": {"exact": "/own"}, "respond": {"status": 200, "body": "own\n"}}])
    edge.h1.on("/page", ok(PAGE))
    edge.h1.on("/data", ok(b"fetched through the gate"))
    edge.h1.on("/big", ok(b"0123456789abcdef" * 65536))
    return edge


def needs(program, package):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is missing: apt-get install {package}")


def test_curl_fetches_many_at_once_over_one_connection(edge):
    urls = [edge.url(f"/data?{number}") for number in range(40)]
    status, out, error = curl("--http2", "--parallel", "--parallel-max", "20", *edge.resolve(), *urls)
    assert (status, out) == (0, "fetched through the gate" * 40), error


def test_curl_verifies_the_certificate(edge):
    status, out, error = curl("--cacert", edge.certificate, *edge.resolve()[1:], edge.url("/own"))
    assert (status, out) == (0, "own\n"), error
    assert curl(*edge.resolve()[1:], edge.url("/own"))[0] == 60  # Nobody vouches for it.


@needs("nghttp", "nghttp2-client")
def test_nghttp_fetches_many_streams(edge):
    done = subprocess.run(["nghttp", "-nv", "-m", "30", "-H:authority: www.example.test", f"https://127.0.0.1:{edge.daemon.https}/own"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.count(":status: 200") == 30, done.stdout[-2000:] + done.stderr


@needs("nghttp", "nghttp2-client")
def test_nghttp_uploads(edge, tmp_path):
    (tmp_path / "body").write_bytes(b"b" * 3_000_000)
    done = subprocess.run(["nghttp", "-v", "-d", str(tmp_path / "body"), "-H:authority: www.example.test",
                           f"https://127.0.0.1:{edge.daemon.https}/nghttp-up"], capture_output=True, text=True, timeout=60)
    assert ":status: 200" in done.stdout, done.stdout[-2000:]
    assert edge.h1.request("/nghttp-up").body == b"b" * 3_000_000


@needs("h2load", "nghttp2-client")
@pytest.mark.parametrize("path, options, count", [
    ("/own", [], 5000), ("/own", ["--h1"], 5000), ("/data", [], 2000), ("/data", ["--h1"], 2000), ("/h2c/load", [], 1000),
    ("/big", ["-m", "4"], 40)])
def test_h2load_has_no_failure_among_thousands(edge, path, options, count):
    streams = ["-m", "20"] if not options else []
    done = subprocess.run(["h2load", "-n", str(count), "-c", "10", *streams, *options,
                           f"--connect-to=127.0.0.1:{edge.daemon.https}", edge.url(path)], capture_output=True, text=True, timeout=120)
    said = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
                     done.stdout)
    assert said and [int(n) for n in said.groups()] == [count] * 4 + [0] * 3, done.stdout + done.stderr
    assert f"status codes: {count} 2xx" in done.stdout
    if path.startswith("/h2c"):
        assert sum(stream.path == path for stream in edge.h2c.streams) == count


def test_python_h2_gets_bodies_of_all_sizes(edge):
    sizes = [0, 1, 16383, 16384, 16385, 65535, 65536, 262144, 1_000_000]
    for size in sizes:
        edge.h1.on(f"/size/{size}", ok(b"s" * size))
    with edge.h2() as client:
        streams = {client.start("GET", f"/size/{size}"): size for size in sizes}
        for stream, size in streams.items():
            got = client.wait(stream)
            assert (got.status, got.body == b"s" * size, got.is_whole) == (200, True, True)


def test_http_client_of_python_gets_and_posts(edge):
    connection = http.client.HTTPSConnection("127.0.0.1", edge.daemon.https, context=ssl._create_unverified_context(), timeout=20)
    # http.client asks for the name that it connects to: tell it another.
    connection.sock = tls_connect(edge.daemon.https, "www.example.test")
    for number in range(3):
        connection.request("POST", f"/python/{number}", body=iter([b"one", b"two"]), headers={"Host": "www.example.test"},
                           encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"ok\n")
        assert edge.h1.request(f"/python/{number}").body == b"onetwo"
    connection.close()


@needs("chromium", "chromium")
def test_chromium_loads_a_page_and_fetches_from_it(edge, tmp_path):
    done = subprocess.run(chromium(tmp_path, edge.url("/page"), "--virtual-time-budget=5000", "--timeout=20000", "--dump-dom"),
                          capture_output=True, text=True, timeout=90)
    assert '<p id="said">fetched through the gate</p>' in done.stdout, done.stdout + done.stderr[-3000:]
    assert edge.logged("/page")["protocol"] == "HTTP/2"
    assert "Chrome" in edge.logged("/page")["agent"]
