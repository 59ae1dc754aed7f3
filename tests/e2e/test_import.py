"""gatehouse import: manifests of others become a configuration that runs."""
import json
import re
import subprocess

import pytest

from gatehouse import BINARY, ROOT, curl, free_ports

ARTICLE = sorted((ROOT / "tests/daemon/import").glob("*.yml"))


def gatehouse(*words, **options):
    done = subprocess.run([str(BINARY), *map(str, words)], capture_output=True, text=True, timeout=60, **options)
    return done.returncode, done.stdout, done.stderr


def adapted(result, directory, v1, v2, pebble, listen):
    """The result of the article's import as it runs on this machine: other endpoints, another CA, and ports of its own.
    No apiserver is here, so nothing is mirrored."""
    result = result.replace("http://helloworld-v1.default.svc.cluster.local:8080", f"http://127.0.0.1:{v1}")
    result = result.replace("http://helloworld-v2.default.svc.cluster.local:8080", f"http://127.0.0.1:{v2}")
    result = result.replace("https://acme-staging-v02.api.letsencrypt.org/directory\"",
                            f"{pebble.url}\"\n    ca_file: {pebble.ca_file}")
    result = re.sub(r"    secrets: .*\n", "", result)
    https, http, admin = listen
    return result + (f"state: {directory}/state\n"
                     f"listen: {{https: ['127.0.0.1:{https}'], http: ['127.0.0.1:{http}']}}\n"
                     f"admin: {{listen: '127.0.0.1:{admin}', socket: {directory}/control.sock}}\n")


def test_the_manifests_of_the_2018_article_run(tmp_path, start_daemon, start_pebble, start_hello):
    code, result, report = gatehouse("import", *ARTICLE)
    assert code == 0, report
    assert re.search(r"\n\d+ fields: \d+ used, \d+ translated, \d+ dropped, 0 refused\n$", report)
    https, http, admin = free_ports(3)
    pebble = start_pebble(http, https)
    text = adapted(result, tmp_path, start_hello("v1"), start_hello("v2"), pebble, (https, http, admin))
    assert "letsencrypt.org" in text and "svc.cluster.local" not in text
    # The daemon takes YAML as it is; the fixture's dictionary only says where to look.
    daemon = start_daemon({"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
                           "admin": {"listen": f"127.0.0.1:{admin}", "socket": f"{tmp_path}/control.sock"},
                           "state": f"{tmp_path}/state"}, text=text)
    assert gatehouse("check", "--config", daemon.config_path)[0] == 0
    daemon.wait_valid("istio-ingress-certs", 60)
    root = pebble.root()
    for host, version in (("www.mydomain.com", "v1"), ("mobile.mydomain.com", "v2")):
        for port, scheme in ((https, "https"), (http, "http")):
            code, out, error = curl("--cacert", root, "--resolve", f"{host}:{port}:127.0.0.1",
                                    f"{scheme}://{host}:{port}/hello")
            assert code == 0 and version in out, (host, scheme, out, error)
    daemon.assert_clean()


def test_every_field_is_in_the_report_as_json(tmp_path):
    code, _, report = gatehouse("import", "--json", *ARTICLE)
    fields = json.loads(report)
    assert code == 0 and {field["fate"] for field in fields} == {"used", "translated", "dropped"}
    assert all(field["reason"] for field in fields if field["fate"] != "used")
    assert len(fields) > 100


def test_the_result_goes_into_a_new_file_only(tmp_path):
    output = tmp_path / "gatehouse.yaml"
    code, out, _ = gatehouse("import", *ARTICLE, "--output", output)
    assert code == 0 and not out and "vhosts:" in output.read_text()
    code, _, error = gatehouse("import", *ARTICLE, "--output", output)
    assert code == 1 and "gatehouse.yaml: File exists" in error


def test_what_is_refused_is_1_and_what_cannot_be_read_is_2(tmp_path):
    refused = tmp_path / "refused.yaml"
    refused.write_text("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {rules: [{host: "
                       "'*.a.example', http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: "
                       "{number: 80}}}}]}}]}\n")
    code, out, report = gatehouse("import", refused)
    assert code == 1 and "vhosts:" in out and "refused.yaml:4:23: refused: Ingress default/i: spec.rules[0].host" in report
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [b\n")
    code, out, error = gatehouse("import", broken)
    assert code == 2 and not out and re.search(r"broken.yaml:\d+:\d+: error: ", error)
    code, out, error = gatehouse("import", tmp_path / "missing.yaml")
    assert code == 2 and not out and "missing.yaml" in error
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    code, out, error = gatehouse("import", empty)
    assert code == 1 and not out and "no Ingress" in error


def test_manifests_come_from_a_pipe_too():
    text = "---\n".join(path.read_text() for path in ARTICLE)
    code, out, _ = gatehouse("import", "-", input=text)
    assert code == 0 and "www.mydomain.com" in out


@pytest.mark.parametrize("words", [["import"], ["import", "--class"]], ids=" ".join)
def test_wrong_usage_is_2(words):
    assert gatehouse(*words)[0] == 2
