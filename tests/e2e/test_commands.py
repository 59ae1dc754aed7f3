"""The commands, reload, log lines and the admin server, as scripts and operators see them."""
import base64
import json
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from gatehouse import BINARY, ROOT, curl, fetch_admin, free_ports, served_serial, tls_connect, wait_until

HERE = {"routes": [{"respond": {"status": 200, "body": "here\n"}}]}


def gatehouse(*words, **options):
    done = subprocess.run([str(BINARY), *map(str, words)], capture_output=True, text=True, timeout=60, **options)
    return done.returncode, done.stdout, done.stderr


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def serving(start_daemon, site):
    """A daemon with a certificate from files and one of its own."""
    def start(**more):
        certificate, key = site
        daemon = start_daemon({
            "certificates": {"files": {"certificate_file": certificate, "key_file": key}},
            "vhosts": [{"host": "www.example.test", "certificate": "files", **HERE},
                       {"host": "localhost", **HERE}], **more})
        daemon.wait_valid("localhost", 30)
        return daemon
    return start


# ---- exit statuses ----------------------------------------------------------------------------

@pytest.mark.parametrize("words", [[], ["nonsense"], ["status", "--nonsense"], ["certificates"],
                                   ["certificates", "show"], ["certificates", "export"], ["check", "extra"],
                                   ["certificates", "revoke", "x"], ["import"], ["--config"]],
                         ids=" ".join)
def test_wrong_usage_is_2_and_said_on_stderr(words):
    code, out, error = gatehouse(*words)
    assert code == 2 and error.strip() and not out, (code, out, error)


def test_version_and_help_are_0():
    code, out, _ = gatehouse("version")
    assert code == 0 and re.fullmatch(r"gatehouse \d+\.\d+\.\d+\S* \(OpenSSL .*\)\n", out)
    code, out, _ = gatehouse("version", "--json")
    assert code == 0 and json.loads(out)["version"]
    assert gatehouse("--version")[:2][0] == 0
    code, out, _ = gatehouse("--help")
    assert code == 0 and all(word in out for word in ("run", "check", "status", "certificates", "reload"))


def test_commands_without_a_daemon_are_1(tmp_path):
    config = write(tmp_path / "g.yaml", f"admin: {{socket: {tmp_path}/none.sock}}\nvhosts: [{{host: localhost, "
                                        "backend: 'http://127.0.0.1:1'}]\n")
    for words in (["status"], ["status", "--json"], ["reload"], ["certificates", "list"],
                  ["certificates", "show", "localhost"], ["certificates", "renew", "localhost"],
                  ["certificates", "export", "--root"]):
        code, out, error = gatehouse(*words, "--config", config)
        assert code == 1 and not out and f"{tmp_path}/none.sock" in error, (words, code, error)


def test_commands_without_a_configuration_are_2(tmp_path):
    for command in ("run", "check", "status"):
        code, _, error = gatehouse(command, "--config", tmp_path / "missing.yaml")
        assert code == 2 and "missing.yaml" in error, (command, code, error)


def test_the_configuration_may_stand_anywhere(serving):
    daemon = serving()
    path = daemon.config_path
    for words in (["--config", path, "certificates", "show", "localhost"],
                  ["certificates", "--config", path, "show", "localhost"],
                  ["certificates", "show", "--config", path, "localhost"],
                  ["certificates", "show", "localhost", "--config", path],
                  ["certificates", "show", "localhost", f"--config={path}"]):
        code, out, error = gatehouse(*words)
        assert code == 0 and "localhost" in out, (words, error)


def test_check_says_all_errors_at_once_with_their_places(tmp_path):
    path = write(tmp_path / "bad.yaml", """email: me@mydomain.com
vhots: []
vhosts:
  - host: www.mydomain.com
    backend: http://127.0.0.1:8080/path
  - host: www.mydomain.com
    backend: nowhere
    http: maybe
limits: {streams: many}
""")
    code, out, error = gatehouse("check", "--config", path)
    assert code == 2 and not out.strip()
    places = re.findall(rf"(?m)^{re.escape(str(path))}:(\d+):(\d+): (.*)$", error)
    assert {2, 5, 6, 7, 8, 9} <= {int(line) for line, _, _ in places}, error
    assert "did you mean" in error and "vhosts" in error
    assert "    backend: http://127.0.0.1:8080/path" in error, "the line itself is shown"
    assert re.search(r"(?m)^\d+ errors$", error)
    assert gatehouse("run", "--config", path)[0] == 2


def test_check_of_a_good_file_is_0_and_touches_nothing(tmp_path):
    path = write(tmp_path / "good.yaml", "vhosts: [{host: localhost, backend: 'http://127.0.0.1:1'}]\n"
                                         f"state: {tmp_path}/state\n")
    code, out, _ = gatehouse("check", "--config", path)
    assert code == 0 and "good" in out and "1 vhosts" in out
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["gatehouse.yaml", "quickstart.yaml"])
def test_the_files_that_come_along_are_good(name):
    code, _, error = gatehouse("check", "--config", ROOT / "conf" / name, cwd=ROOT)
    if name == "quickstart.yaml" and "pebble-ca.pem" in error:
        return  # ./quickstart makes that file: test_quickstart has it.
    assert code == 0, error


# ---- certificates and status ------------------------------------------------------------------

def test_status_has_the_same_facts_for_people_and_programs(serving):
    daemon = serving()
    facts, text = daemon.status(), daemon.command("status")[1]
    assert facts["version"] in text and not facts["is_draining"]
    assert {entry["protocol"] for entry in facts["listeners"]} == {"https", "http"}
    for entry in facts["certificates"]:
        assert re.search(rf"(?m)^{re.escape(entry['name'])} +{entry['state']} +{entry['not_after']} ", text), text
    for listener in facts["listeners"]:
        assert f"{listener['protocol']}://{listener['address']}" in text
    assert json.loads(fetch_admin(daemon.admin, "/status.json")[1])["certificates"] == facts["certificates"]


def test_certificates_list_show_and_export(serving, site):
    daemon = serving()
    listed = json.loads(daemon.command("certificates", "list", "--json")[1])
    assert {entry["name"]: entry["kind"] for entry in listed} == {"localhost": "managed", "files": "file"}
    text = daemon.command("certificates", "list")[1]
    assert "localhost" in text and "files" in text and "CERTIFICATE" in text
    # By its name, and by a host that it covers.
    for name in ("files", "www.example.test", "deep.wild.example.test"):
        shown = json.loads(daemon.command("certificates", "show", name, "--json")[1])
        assert shown["name"] == "files" and "www.example.test" in shown["names"]
        exported = daemon.command("certificates", "export", name)[1]
        assert exported.split() == pathlib.Path(site[0]).read_text().split()
    shown = daemon.command("certificates", "show", "localhost")[1]
    serial = served_serial(daemon.https, "localhost").lstrip("0")
    assert re.search(rf"(?mi)^serial +0*{serial}$", shown)
    for words in (["show", "none.test"], ["export", "none.test"], ["renew", "none.test"], ["renew", "files"],
                  ["export", "--root", "--issuer", "none"]):
        code, out, error = daemon.command("certificates", *words, check=False)
        assert code == 1 and not out and error.strip(), words


def test_renew_waits_and_tells(serving):
    daemon = serving()
    before = served_serial(daemon.https, "localhost")
    assert daemon.command("certificates", "renew", "localhost")[1].strip()
    assert served_serial(daemon.https, "localhost") != before


def test_the_control_socket_alone_takes_orders(serving):
    """The admin port tells, and does nothing."""
    daemon = serving()
    for path in ("/reload", "/certificates/renew?name=localhost"):
        assert curl("-X", "POST", "-o", "/dev/null", "-w", "%{http_code}",
                    f"http://127.0.0.1:{daemon.admin}{path}")[1] == "405"
    assert fetch_admin(daemon.admin, "/certificates/export?name=localhost")[0] == 404
    assert fetch_admin(daemon.admin, "/nonsense")[0] == 404


# ---- reload -----------------------------------------------------------------------------------

def one_request(connection, host):
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    got = b""
    while not got.endswith(b"here\n"):
        more = connection.recv(4096)
        assert more, got
        got += more
    return got.split(b"\r\n")[0]


@pytest.mark.parametrize("by_signal", [False, True], ids=["command", "SIGHUP"])
def test_a_reload_adds_a_vhost_and_touches_no_connection(serving, by_signal):
    daemon = serving()
    with tls_connect(daemon.https, "localhost") as connection:
        assert one_request(connection, "localhost") == b"HTTP/1.1 200 OK"
        daemon.config["vhosts"].append({"host": "new.localhost", **HERE})
        daemon.write_config()
        if by_signal:
            daemon.signal(signal.SIGHUP)
            wait_until(lambda: "event=config.reloaded" in daemon.output(), 10, "the reload")
        else:
            assert daemon.command("reload")[1] == "reloaded\n"
        assert daemon.status()["last_reload"]["taken"] is True
        daemon.wait_valid("new.localhost", 30)
        with tls_connect(daemon.https, "new.localhost") as other:
            assert one_request(other, "new.localhost") == b"HTTP/1.1 200 OK"
        assert one_request(connection, "localhost") == b"HTTP/1.1 200 OK"
    daemon.assert_clean()


@pytest.mark.parametrize("by_signal", [False, True], ids=["command", "SIGHUP"])
def test_a_refused_configuration_leaves_all_as_it_was_and_says_so(serving, by_signal):
    daemon = serving()
    serial = served_serial(daemon.https, "localhost")
    daemon.config_path.write_text(daemon.config_path.read_text().replace('"vhosts"', '"vhots"'))
    if by_signal:
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "event=config.refused" in daemon.output(), 10, "the refusal")
        daemon.write_config()  # The commands find the socket through it.
    else:
        code, out, error = daemon.command("reload", check=False)
        assert code == 2 and "vhots" in error and re.search(r":\d+:\d+: ", error), (code, out, error)
    assert served_serial(daemon.https, "localhost") == serial
    daemon.write_config()
    facts = daemon.status()["last_reload"]
    assert facts["taken"] is False and "vhots" in facts["error"]
    assert "refused" in daemon.command("status")[1] and "vhots" in fetch_admin(daemon.admin, "/status")[1]
    assert re.search(r"level=error event=config\.refused .*vhots", daemon.output())
    # And the way back.
    assert daemon.command("reload")[0] == 0
    assert daemon.status()["last_reload"]["taken"] is True
    daemon.assert_clean()


def test_a_reload_that_cannot_listen_is_refused_as_a_whole(serving):
    daemon = serving()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = list(daemon.config["listen"]["https"])
        daemon.config["listen"]["https"] = before + [f"127.0.0.1:{taken.getsockname()[1]}"]
        daemon.config["vhosts"].append({"host": "new.localhost", **HERE})
        daemon.write_config()
        code, _, error = daemon.command("reload", check=False)
        assert code in (1, 2) and str(taken.getsockname()[1]) in error
    assert daemon.certificate("new.localhost") is None
    assert daemon.status()["vhosts"] == 2 and served_serial(daemon.https, "localhost")
    daemon.assert_clean()


def test_a_listener_comes_and_goes_with_a_reload(serving):
    daemon = serving()
    more, = free_ports(1)
    first = daemon.config["listen"]["https"]
    daemon.config["listen"]["https"] = first + [f"127.0.0.1:{more}"]
    daemon.write_config()
    daemon.command("reload")
    assert served_serial(more, "localhost") == served_serial(daemon.https, "localhost")
    daemon.config["listen"]["https"] = first
    daemon.write_config()
    daemon.command("reload")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", more), timeout=2).close()
    daemon.assert_clean()


# ---- logs -------------------------------------------------------------------------------------

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
QUOTED = r'"((?:[^"\\\x00-\x1f\x7f-\xff]|\\["\\]|\\x[0-9a-f]{2})*)"'
ENVOY = re.compile(rf'\[{TIME}\] "(\S+) (\S+) (HTTP/1\.0|HTTP/1\.1|HTTP/2)" (\d{{3}}) (-|[A-Z]+(?:,[A-Z]+)*) '
                   rf"(\d+) (\d+) (\d+) (-|\d+) {QUOTED} {QUOTED} {QUOTED} {QUOTED} {QUOTED}")
LOG = re.compile(rf'ts={TIME} level=(error|warn|info|debug) event=[a-z_]+\.[a-z_]+'
                 r'( [a-z_0-9]+=([^\s"=\\]+|"([^"\\\n]|\\.)*"))*')
JSON_KEYS = {
    "authority", "bytes_received", "bytes_sent", "connection_termination_details", "downstream_local_address",
    "downstream_remote_address", "duration", "method", "path", "protocol", "request_id", "requested_server_name",
    "response_code", "response_code_details", "response_flags", "route_name", "start_time", "upstream_cluster",
    "upstream_host", "upstream_local_address", "upstream_service_time", "upstream_transport_failure_reason",
    "user_agent", "x_forwarded_for"}


def ask_all_kinds(daemon):
    """Requests of all kinds, in order."""
    address = ["-k", "--resolve", f"*:{daemon.https}:127.0.0.1"]
    base = f"https://www.example.test:{daemon.https}"
    curl(*address, "--http2", "-A", 'agent "with\\quotes"', f"{base}/two?x=%22")
    curl(*address, "--http1.1", "-d", "12345", f"{base}/posted")
    curl(*address, "--http1.1", f"{base}/backend/x")
    curl(*address, "--http2", f"{base}/nobody")
    curl("-H", "Host: nobody.example.test", f"http://127.0.0.1:{daemon.http}/unknown")


def logging(serving, start_hello, format_, path):
    hello, (nobody,) = start_hello(), free_ports(1)
    daemon = serving(log={"level": "debug", "access": {"format": format_, "path": str(path)}})
    daemon.config["vhosts"][0]["routes"] = [
        {"match": {"path": "/backend"}, "backend": f"http://127.0.0.1:{hello}"},
        {"match": {"path": "/nobody"}, "backend": f"http://127.0.0.1:{nobody}"}, *HERE["routes"]]
    daemon.write_config()
    daemon.command("reload")
    return daemon, hello, nobody


def lines_of(path, count):
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= count, 10, f"{count} lines")
    return path.read_text().splitlines()


def test_access_lines_in_envoys_format(serving, start_hello, tmp_path):
    path = tmp_path / "access.log"
    daemon, hello, nobody = logging(serving, start_hello, "envoy", path)
    ask_all_kinds(daemon)
    matches = [ENVOY.fullmatch(line) for line in lines_of(path, 5)]
    assert all(matches), path.read_text()
    two, posted, backend, failed, unknown = [match.groups() for match in matches]
    authority = f"www.example.test:{daemon.https}"
    assert two[:7] == ("GET", "/two?x=%22", "HTTP/2", "200", "-", "0", "5")
    assert two[10] == 'agent \\"with\\\\quotes\\"' and two[12] == authority and two[8] == "-" == two[13]
    assert posted[:7] == ("POST", "/posted", "HTTP/1.1", "200", "-", "5", "5")
    assert backend[3:5] == ("200", "-") and backend[13] == f"127.0.0.1:{hello}" and backend[8].isdigit()
    assert failed[3:5] == ("503", "UF") and failed[13] == f"127.0.0.1:{nobody}"
    assert unknown[:5] == ("GET", "/unknown", "HTTP/1.1", "404", "NR")
    assert len({match[12] for match in matches}) == 5, "a request id each"
    daemon.assert_clean()


def test_access_lines_in_json(serving, start_hello, tmp_path):
    path = tmp_path / "access.log"
    daemon, hello, _ = logging(serving, start_hello, "json", path)
    ask_all_kinds(daemon)
    two, posted, backend, failed, unknown = [json.loads(line) for line in lines_of(path, 5)]
    for line in (two, posted, backend, failed, unknown):
        assert set(line) == JSON_KEYS
        assert re.fullmatch(TIME, line["start_time"])
        assert all(isinstance(line[key], int) for key in ("bytes_received", "bytes_sent", "duration", "response_code"))
    assert two["user_agent"] == 'agent "with\\quotes"' and two["requested_server_name"] == "www.example.test"
    assert posted["bytes_received"] == 5 and backend["upstream_host"] == f"127.0.0.1:{hello}"
    assert (failed["response_code"], failed["response_flags"]) == (503, "UF")
    assert (unknown["response_code"], unknown["response_flags"]) == (404, "NR")
    daemon.assert_clean()


def test_sigusr1_reopens_the_access_log(serving, start_hello, tmp_path):
    path = tmp_path / "access.log"
    daemon, _, _ = logging(serving, start_hello, "envoy", path)
    url = f"http://127.0.0.1:{daemon.http}"
    curl("-H", "Host: nobody.example.test", f"{url}/one")
    lines_of(path, 1)
    path.rename(tmp_path / "access.log.1")
    curl("-H", "Host: nobody.example.test", f"{url}/two")
    lines_of(tmp_path / "access.log.1", 2)
    daemon.signal(signal.SIGUSR1)
    wait_until(path.exists, 10, "the new file")
    curl("-H", "Host: nobody.example.test", f"{url}/three")
    assert [ENVOY.fullmatch(line)[2] for line in lines_of(path, 1)] == ["/three"]
    daemon.assert_clean()


def test_log_lines_parse_and_no_key_is_in_any_log(serving, start_hello, tmp_path, site):
    path = tmp_path / "access.log"
    daemon, _, _ = logging(serving, start_hello, "json", path)
    ask_all_kinds(daemon)
    daemon.command("certificates", "renew", "localhost")
    daemon.command("status")
    shown = "".join(daemon.command(*words)[1] for words in (
        ["status", "--json"], ["certificates", "show", "localhost", "--json"], ["certificates", "export", "localhost"],
        ["certificates", "export", "--root"]))
    shown += "".join(fetch_admin(daemon.admin, each)[1] for each in ("/status", "/status.json", "/metrics"))
    keys = [pem for table in ("certificates", "roots") for pem, in daemon.rows(f"SELECT key_pem FROM {table}")]
    keys.append(pathlib.Path(site[1]).read_text())
    lines_of(path, 5)
    daemon.assert_clean()
    for line in daemon.output().splitlines():
        assert LOG.fullmatch(line), line
    logs = daemon.output() + path.read_text() + shown
    assert "PRIVATE KEY" not in logs
    assert len(keys) >= 4
    for pem in keys:
        body = "".join(pem.split("-----")[2].split())
        raw = base64.b64decode(body)
        assert len(raw) > 60
        for at in range(0, len(body) - 24, 24):
            assert body[at:at + 24] not in logs or body[at:at + 24] in shown_publicly(shown)
        assert raw.hex() not in logs


def shown_publicly(shown):
    """A certificate has the public half of its key, whose DER may begin alike; nothing else may."""
    return "".join("".join(re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END", shown.replace("\\n", "\n"),
                                      re.DOTALL)).split())


# ---- the admin server -------------------------------------------------------------------------

def test_health_and_pages(serving):
    daemon = serving()
    assert fetch_admin(daemon.admin, "/livez") == (200, "alive\n")
    assert fetch_admin(daemon.admin, "/readyz") == (200, "ready\n")
    code, head, _ = curl("-i", f"http://127.0.0.1:{daemon.admin}/status")
    assert code == 0 and re.search(r"(?mi)^content-type: text/html", head) and "localhost" in head
    assert head.count("<html") == 1 and head.rstrip().endswith("</html>")
    daemon.assert_clean()


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)'
                    r'(?:\{([a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*='
                    r'"(?:[^"\\\n]|\\["\\n])*")*)\})? '
                    r'([-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|Inf)|NaN)')


def parse_metrics(text):
    """Prometheus' text format, line by line; {name: {labels: value}} and {family: type}."""
    assert text.endswith("\n")
    types, helped, samples = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped, f"{name} is explained twice"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped") and name not in types, line
            types[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            family = match[1]
            if family not in types:
                family = re.sub(r"_(bucket|sum|count)$", "", family)
                assert types.get(family) == "histogram", line
            assert family in helped, line
            if types[family] == "counter":
                assert family.endswith("_total") and float(match[3]) >= 0, line
            series = samples.setdefault(match[1], {})
            assert match[2] not in series, f"twice: {line}"
            series[match[2]] = float(match[3])
    return samples, types


def test_metrics_are_valid_and_count(serving, start_hello, tmp_path):
    daemon, _, _ = logging(serving, start_hello, "off", "stdout")
    before, _ = parse_metrics(fetch_admin(daemon.admin, "/metrics")[1])
    ask_all_kinds(daemon)
    samples, types = parse_metrics(fetch_admin(daemon.admin, "/metrics")[1])
    for name, kind in types.items():
        if kind != "histogram":
            continue
        for labels, count in samples[f"{name}_count"].items():
            buckets = [(key, value) for key, value in samples[f"{name}_bucket"].items()
                       if re.sub(r',?le="[^"]*"', "", key) == (labels or "")]
            values = [value for _, value in buckets]
            assert values == sorted(values) and values[-1] == count, name
            assert 'le="+Inf"' in buckets[-1][0]
    assert set(before) <= set(samples)
    issued = samples["gatehouse_certificates_issued_total"]
    assert sum(issued.values()) >= 1
    ends = samples["gatehouse_certificate_not_after_seconds"]
    assert any("localhost" in labels for labels in ends)
    requests = [name for name in samples if name.endswith("requests_total")]
    assert requests, sorted(samples)
    assert sum(sum(samples[name].values()) - sum(before.get(name, {0: 0}).values()) for name in requests) >= 5
    daemon.assert_clean()
