"""gRPC: grpc-go's interoperability client and server through the daemon, and Python's grpcio where a
backend has to misbehave."""
import pathlib
import subprocess
import threading
import time

import pytest

from backends import answer
from gatehouse import INTEROP, Process, accepts, free_ports, make_certificate, wait_until

try:
    import grpc
except ImportError:
    grpc = None

CLIENT, SERVER = INTEROP / "grpc-interop-client", INTEROP / "grpc-interop-server"
needs_interop = pytest.mark.skipif(not (CLIENT.exists() and SERVER.exists()),
                                   reason="grpc-go's interop client and server are missing: tests/interop/install")

# All that grpc-go's client knows but those that need Google's accounts, ORCA's, which are about load reports, and pick_first_unary,
# for which grpc-go's own server does not say its name.
CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
         "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
         "special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service"]
CANCEL, INTERNAL_ERROR, ENHANCE_YOUR_CALM = 8, 2, 11


@pytest.fixture(scope="module")
def servers(tmp_path_factory, module_cleanup):
    """The interop server without TLS and with it: (url, url, CA file of the second)."""
    directory = tmp_path_factory.mktemp("interop-server")
    certificate, key = make_certificate(directory, ["grpc.example.test"], "backend")
    ports = free_ports(2)
    tls = ["-use_tls", f"-tls_cert_file={certificate}", f"-tls_key_file={key}"]
    for port, options in zip(ports, ([], tls)):
        module_cleanup.callback(Process([SERVER, f"-port={port}", *options], directory / f"{port}.log").close)
        wait_until(lambda: accepts(port), 10, "the interop server's start")
    return f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}", certificate


@pytest.fixture(scope="module")
def interop(start_edge, servers):
    plain, secure, ca_file = servers
    h2c = {"endpoints": [plain], "protocol": "h2"}
    h2 = {"endpoints": [secure], "protocol": "h2", "tls": {"server_name": "grpc.example.test", "ca_file": str(ca_file)}}
    return start_edge(backends={"interop-h2c": h2c, "interop-h2": h2},
                      vhosts=[{"host": "plain.example.test", "certificate": "site", "backend": "interop-h2c"},
                              {"host": "mobile.example.test", "certificate": "site", "backend": "interop-h2"}])


def run_client(edge, host, case, *options, timeout=120):
    done = subprocess.run([CLIENT, "-use_tls", "-use_test_ca", f"-ca_file={edge.certificate}", "-server_host=127.0.0.1",
                           f"-server_host_override={host}", f"-server_port={edge.daemon.https}", f"-test_case={case}", *options],
                          capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_interop
@pytest.mark.parametrize("host", ["plain.example.test", "mobile.example.test"], ids=["h2c", "h2"])
@pytest.mark.parametrize("case", CASES)
def test_interop_case(interop, case, host):
    run_client(interop, host, case)


@needs_interop
@pytest.mark.parametrize("host", ["plain.example.test", "mobile.example.test"], ids=["h2c", "h2"])
def test_soak_of_ten_thousand_calls(interop, host):
    said = run_client(interop, host, "rpc_soak", "-soak_iterations=10000", "-soak_num_threads=8", "-soak_request_size=1000",
                      "-soak_response_size=1000", "-soak_overall_timeout_seconds=300",
                      "-soak_per_iteration_max_acceptable_latency_ms=10000", timeout=330)
    assert "10000" in said


# ---- own failures and deadlines ---------------------------------------------------------------

@pytest.fixture(scope="module")
def edge(start_edge):
    retries = {"attempts": 2, "on": ["grpc-unavailable"]}
    routes = [{"match": {"path": "/test.Retried"}, "backend": "h2c", "retries": retries},
              {"match": {"path": "/test.Dead"}, "backend": "dead"},
              {"match": {"path": "/test.H1"}, "backend": "h1"},
              {"match": {"path": "/test"}, "backend": "h2c"}, {"match": {"regex": "/test[.].*"}, "backend": "h2c"}]
    return start_edge(routes=routes)


@pytest.fixture
def channel(edge):
    if grpc is None:
        pytest.skip("Python's grpcio is missing: install python3-grpcio")
    credentials = grpc.ssl_channel_credentials(pathlib.Path(edge.certificate).read_bytes())
    options = [("grpc.ssl_target_name_override", "www.example.test"), ("grpc.enable_retries", 0)]
    with grpc.secure_channel(f"127.0.0.1:{edge.daemon.https}", credentials, options) as made:
        yield made


def call(channel, path, timeout=20):
    """(code, details, answer) of a unary call with a message of three bytes."""
    try:
        return grpc.StatusCode.OK, "", channel.unary_unary(path)(b"abc", timeout=timeout)
    except grpc.RpcError as error:
        return error.code(), error.details(), None


HEAD = [(":status", "200"), ("content-type", "application/grpc")]


def answer_ok(stream):
    stream.send(HEAD, b"\0\0\0\0\3yes", [("grpc-status", "0")])


def trailers_only(status):
    return lambda stream: stream.send([*HEAD, ("grpc-status", str(status)), ("grpc-message", "not%20now")])


def test_a_deadline_is_kept_and_cancels_the_backend(edge, channel):
    edge.h2c.on("/test.Deadline/Silent", lambda stream: None)
    code, _, _ = call(channel, "/test.Deadline/Silent", timeout=0.5)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    stream = edge.h2c.request("/test.Deadline/Silent")
    assert stream["grpc-timeout"]
    wait_until(lambda: stream.reset_code == CANCEL, 5, "the reset of the backend's stream")


def test_a_deadline_is_ours_to_keep_when_the_client_does_not(edge):
    edge.h2c.on("/test.Deadline/Ours", lambda stream: None)
    began = time.monotonic()
    with edge.h2() as client:
        got = client.post("/test.Deadline/Ours", b"\0\0\0\0\0", [("content-type", "application/grpc"), ("grpc-timeout", "400m")])
        assert (got.status, got["grpc-status"], got.is_whole) == (200, "4", True)
    assert 0.4 <= time.monotonic() - began < 5
    wait_until(lambda: edge.h2c.request("/test.Deadline/Ours").reset_code == CANCEL, 5, "the reset of the backend's stream")
    assert edge.logged("/test.Deadline/Ours")["flags"] == "UT"


def test_a_malformed_deadline_is_for_the_backend_to_judge(edge):
    edge.h2c.on("/test.Deadline/Bad", answer_ok)
    with edge.h2() as client:
        got = client.post("/test.Deadline/Bad", b"\0\0\0\0\0", [("content-type", "application/grpc"), ("grpc-timeout", "1x")])
        assert dict(got.trailers)["grpc-status"] == "0"
    assert edge.h2c.request("/test.Deadline/Bad")["grpc-timeout"] == "1x"


def test_no_connection_is_unavailable(channel):
    code, details, _ = call(channel, "/test.Dead/Call")
    assert code == grpc.StatusCode.UNAVAILABLE and details


@pytest.mark.parametrize("reset, code", [(CANCEL, "CANCELLED"), (ENHANCE_YOUR_CALM, "RESOURCE_EXHAUSTED"), (INTERNAL_ERROR, "INTERNAL")])
def test_a_reset_of_the_backend_is_the_status_that_it_means(edge, channel, reset, code):
    path = f"/test.Reset/Code{reset}"
    edge.h2c.on(path, lambda stream: stream.reset(reset))
    assert call(channel, path)[0] == grpc.StatusCode[code]


def test_a_client_that_cancels_resets_the_backends_stream(edge, channel):
    edge.h2c.at_head["/test.Cancel/Stream"] = lambda stream: None
    begun = threading.Event()

    def messages():
        yield b"abc"
        begun.wait(20)
    running = channel.stream_stream("/test.Cancel/Stream")(messages())
    stream = edge.h2c.request("/test.Cancel/Stream")
    running.cancel()
    wait_until(lambda: stream.reset_code == CANCEL, 5, "the reset of the backend's stream")
    begun.set()


def test_keep_alive_pings_of_a_client_are_answered(edge):
    """A client that pings each second and gives up after another one has its answer after four."""
    if grpc is None:
        pytest.skip("Python's grpcio is missing: install python3-grpcio")
    edge.h2c.on("/test.Silent/Call", lambda stream: threading.Timer(4, answer_ok, [stream]).start())
    credentials = grpc.ssl_channel_credentials(pathlib.Path(edge.certificate).read_bytes())
    options = [("grpc.ssl_target_name_override", "www.example.test"), ("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 1000),
               ("grpc.keepalive_timeout_ms", 1000), ("grpc.http2.max_pings_without_data", 0)]
    with grpc.secure_channel(f"127.0.0.1:{edge.daemon.https}", credentials, options) as channel:
        assert call(channel, "/test.Silent/Call") == (grpc.StatusCode.OK, "", b"yes")


def test_an_http1_backend_that_is_no_grpc_server_is_a_clear_error(edge, channel):
    edge.h1.on("/test.H1/Html", answer("HTTP/1.1 404 Not Found\ncontent-type: text/html\ncontent-length: 4\n", b"none"))
    assert call(channel, "/test.H1/Html")[0] == grpc.StatusCode.UNIMPLEMENTED
    edge.h1.on("/test.H1/Closes", lambda connection, request: False)
    assert call(channel, "/test.H1/Closes")[0] == grpc.StatusCode.UNAVAILABLE


def test_an_http1_client_gets_plain_errors(edge):
    with edge.raw() as client:
        client.request("POST", "/test.Dead/Plain", "content-type: application/grpc\ncontent-length: 5\n", b"\0\0\0\0\0")
        got = client.read()
        assert (got.status, got.get("grpc-status")) == (503, None)


# ---- retries by grpc-status -------------------------------------------------------------------

def test_a_call_is_tried_again_by_its_grpc_status(edge, channel):
    attempts = []

    def unavailable_once(stream):
        attempts.append(stream)
        (trailers_only(14) if len(attempts) == 1 else answer_ok)(stream)
    edge.h2c.on("/test.Retried/Once", unavailable_once)
    assert call(channel, "/test.Retried/Once") == (grpc.StatusCode.OK, "", b"yes")
    assert [stream.body for stream in attempts] == [b"\0\0\0\0\3abc"] * 2


def test_a_call_is_not_tried_again_by_another_status_or_for_ever(edge, channel):
    edge.h2c.on("/test.Retried/Internal", trailers_only(13))
    assert call(channel, "/test.Retried/Internal")[:2] == (grpc.StatusCode.INTERNAL, "not now")
    edge.h2c.request("/test.Retried/Internal")  # Once.
    edge.h2c.on("/test.Retried/Always", trailers_only(14))
    assert call(channel, "/test.Retried/Always")[:2] == (grpc.StatusCode.UNAVAILABLE, "not now")
    assert sum(stream.path == "/test.Retried/Always" for stream in edge.h2c.streams) == 3
    assert edge.logged("/test.Retried/Always")["flags"] == "URX"


def test_a_status_in_the_trailers_is_not_tried_again(edge, channel):
    edge.h2c.on("/test.Retried/Late", lambda stream: stream.send(HEAD, b"", [("grpc-status", "14")]))
    assert call(channel, "/test.Retried/Late")[0] == grpc.StatusCode.UNAVAILABLE
    edge.h2c.request("/test.Retried/Late")


def test_a_later_attempt_has_less_time(edge):
    attempts = []

    def slow_once(stream):
        attempts.append(stream)
        if len(attempts) > 1:
            return answer_ok(stream)
        time.sleep(0.3)
        trailers_only(14)(stream)
    edge.h2c.on("/test.Retried/Slow", slow_once)
    with edge.h2() as client:
        got = client.post("/test.Retried/Slow", b"\0\0\0\0\0", [("content-type", "application/grpc"), ("grpc-timeout", "20S")])
        assert dict(got.trailers)["grpc-status"] == "0"
    assert attempts[0]["grpc-timeout"] == "20S"
    left = attempts[1]["grpc-timeout"]
    assert left.endswith("u") and 10_000_000 < int(left[:-1]) <= 19_700_000
