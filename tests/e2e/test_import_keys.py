"""gatehouse import with what issuers have outside their manifests: roots of a CA, the HMAC key of an external account,
and the account's key, whose account goes on. At a real CA."""
import base64
import json
import os
import pathlib
import shutil
import sqlite3
import stat
import subprocess
import tempfile

import pytest

from gatehouse import BINARY, Pebble, free_ports

NAME = "www.moved.test"
KEY_ID = "customer-7"
HMAC_KEY = base64.urlsafe_b64encode(bytes(range(7, 39))).rstrip(b"=").decode()


def base64_of(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def make_key(*options):
    """As cert-manager has it, unless options say otherwise: RSA, in PKCS#1."""
    words = options or ("genrsa", "-traditional", "2048")
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


def manifests(directory, server="https://127.0.0.1:1/dir", roots=None, key=None, hmac_key=None, email=None):
    """An Issuer, its Secret, and a site without Services to ask for; the file."""
    acme = {"server": server, "privateKeySecretRef": {"name": "le-key"}, "solvers": [{"http01": {"ingress": {}}}]}
    if email:
        acme["email"] = email
    if roots:
        acme["caBundle"] = base64_of(roots)
    if hmac_key:
        acme["externalAccountBinding"] = {"keyID": KEY_ID, "keySecretRef": {"name": "le-key", "key": "hmac"}}
    data = {name: base64_of(text) for name, text in (("tls.key", key), ("hmac", hmac_key)) if text}
    rule = {"host": NAME, "http": {"paths": [{"path": "/", "pathType": "Prefix",
                                              "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}
    items = [{"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "spec": {"acme": acme}},
             {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data},
             {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"tls": [{"hosts": [NAME]}], "rules": [rule]}}]
    for item, name in zip(items, ("le", "le-key", "site")):
        item["metadata"] = {"name": name, "namespace": "shop"}
    items[2]["metadata"]["annotations"] = {"cert-manager.io/issuer": "le"}
    path = directory / "manifests.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1))
    return path


def run_import(*words, secrets=()):
    """(status, stdout, stderr), in which nothing of the secrets may be."""
    done = subprocess.run([str(BINARY), "import", *map(str, words)], capture_output=True, text=True, timeout=60)
    for secret in secrets:
        line, coded = max(secret.split("\n"), key=len), base64_of(secret)
        for part in (line[:32], coded[len(coded) // 2:][:24]):
            assert len(part) >= 24 and part not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def fate(report, field):
    return next(line for line in report.splitlines() if f": {field}" in line).split(": ", 2)[1]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def accounts(state):
    database = sqlite3.connect(f"file:{state}/gatehouse.db?mode=ro", uri=True)
    try:
        return database.execute("SELECT directory, email, key_pem, url FROM accounts").fetchall()
    finally:
        database.close()


def pkcs8(key):
    return subprocess.run(["openssl", "pkey"], input=key, check=True, capture_output=True, text=True).stdout


def run_result(start_daemon, config, ports, **options):
    """The daemon, with the result of an import as it is, but for ports of this machine."""
    https, http, admin = ports
    socket = f"{config.parent}/control.sock"
    with open(config, "a") as file:
        file.write(f"listen: {{https: ['127.0.0.1:{https}'], http: ['127.0.0.1:{http}']}}\n"
                   f"admin: {{listen: '127.0.0.1:{admin}', socket: {socket}}}\n")
    return start_daemon({"listen": {"https": [f"127.0.0.1:{https}"], "http": [f"127.0.0.1:{http}"]},
                         "admin": {"listen": f"127.0.0.1:{admin}", "socket": socket},
                         "state": f"{config.parent}/state"}, directory=config.parent, path=config, **options)


@pytest.fixture(scope="module")
def ports():
    return free_ports(3)


@pytest.fixture(scope="module", params=["rsa", "ecdsa"])
def key(request):
    return make_key() if request.param == "rsa" else make_key("genpkey", "-algorithm", "EC", "-pkeyopt",
                                                              "ec_paramgen_curve:P-256")


def test_an_account_goes_on_where_it_was(tmp_path, start_daemon, start_pebble, ports, key):
    https, http, _ = ports
    pebble = start_pebble(http, https)
    urls = []
    for name in ("first", "second"):
        home = tmp_path / name
        home.mkdir()
        files = manifests(home, pebble.url, pathlib.Path(pebble.ca_file).read_text(), key, email="me@moved.test")
        code, out, report = run_import(files, "--with-keys", "--state", home / "state", "--output", home / "gatehouse.yaml",
                                       secrets=[key])
        assert code == 0 and not out, report
        assert fate(report, "spec.acme.caBundle") == fate(report, "spec.acme.privateKeySecretRef.name") == "translated"
        assert fate(report, 'data["tls.key"]') == "used"
        assert accounts(home / "state") == [(pebble.url, "me@moved.test", pkcs8(key), "")]
        assert [mode(home / file) for file in ("state", "state/gatehouse.db", "le-ca.pem", "gatehouse.yaml")] == \
            [0o700, 0o600, 0o644, 0o644]
        # The roots of caBundle are all that is needed to reach this CA.
        daemon = run_result(start_daemon, home / "gatehouse.yaml", ports)
        daemon.wait_valid(NAME)
        (_, _, kept, url), = daemon.rows("SELECT directory, email, key_pem, url FROM accounts")
        assert kept == pkcs8(key) and f"account={url}" in daemon.output()
        urls.append(url)
        daemon.assert_clean()
    # The second one was new to the CA's account: it had nothing but the key.
    assert urls[0] == urls[1] != ""


def test_a_new_account_is_another_one(tmp_path, start_daemon, start_pebble, ports, key):
    """What the test above would see without the key."""
    https, http, _ = ports
    pebble = start_pebble(http, https)
    urls = []
    for words in (["--with-keys"], []):
        home = tmp_path / f"home{len(urls)}"
        home.mkdir()
        files = manifests(home, pebble.url, pathlib.Path(pebble.ca_file).read_text(), key)
        code, _, report = run_import(files, *words, *(["--state", home / "state"] if words else []), "--output",
                                     home / "gatehouse.yaml", secrets=[key])
        assert code == 0, report
        if not words:
            assert fate(report, "spec.acme.privateKeySecretRef.name") == "dropped"
            assert not (home / "state").exists()
            with open(home / "gatehouse.yaml", "a") as file:
                file.write(f"state: {home}/state\n")
        daemon = run_result(start_daemon, home / "gatehouse.yaml", ports)
        daemon.wait_valid(NAME)
        urls.append(daemon.rows("SELECT url FROM accounts"))
        daemon.assert_clean()
    assert urls[0] != urls[1]


def test_a_customer_of_a_ca_stays_one(tmp_path, start_daemon, ports, cleanup):
    https, http, _ = ports
    pebble = Pebble(tmp_path / "pebble", http, https, env={"CUSTOMER": f"{KEY_ID}:{HMAC_KEY}"})
    cleanup.callback(pebble.stop)
    key, roots = make_key(), pathlib.Path(pebble.ca_file).read_text()
    for words in (["--with-keys", "--state", tmp_path / "with/state"], []):
        home = tmp_path / ("with" if words else "without")
        home.mkdir()
        files = manifests(home, pebble.url, roots, key, HMAC_KEY + "\n")
        code, _, report = run_import(files, *words, "--output", home / "gatehouse.yaml", secrets=[key, HMAC_KEY])
        assert code == 0, report
        assert "external_account: {key_id: customer-7, hmac_key_file: le-eab.key}" in (home / "gatehouse.yaml").read_text()
        check = [str(BINARY), "check", "--config", str(home / "gatehouse.yaml")]
        if not words:  # Nothing of a key is anywhere; the file is missed.
            assert sorted(path.name for path in home.iterdir()) == ["gatehouse.yaml", "le-ca.pem", "manifests.json"]
            assert "put hmac of Secret shop/le-key into le-eab.key" in report
            missed = subprocess.run(check, capture_output=True, text=True)
            assert missed.returncode == 2 and "le-eab.key" in missed.stderr
            (home / "le-eab.key").write_text(HMAC_KEY)
            assert subprocess.run(check, capture_output=True).returncode == 0
            continue
        assert mode(home / "le-eab.key") == 0o600 and (home / "le-eab.key").read_text() == HMAC_KEY + "\n"
        assert subprocess.run(check, capture_output=True).returncode == 0
        daemon = run_result(start_daemon, home / "gatehouse.yaml", ports)
        daemon.wait_valid(NAME)
        assert daemon.rows("SELECT key_pem FROM accounts") == [(pkcs8(key),)]
        assert HMAC_KEY not in daemon.output()
        daemon.assert_clean()


def test_nothing_is_written_over_and_nothing_is_left_half_way(tmp_path):
    key, other, state = make_key(), make_key(), tmp_path / "state"
    roots = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=root", "-keyout",
                            str(tmp_path / "root.key")], check=True, capture_output=True, text=True).stdout
    files = manifests(tmp_path, roots=roots, key=key, hmac_key=HMAC_KEY)
    words = [files, "--with-keys", "--state", state, "--output", tmp_path / "gatehouse.yaml"]

    def made():
        return {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert run_import(*words, secrets=[key, HMAC_KEY])[0] == 0
    before = made()
    assert {"gatehouse.yaml", "le-ca.pem", "le-eab.key"} < set(before)
    # Each of the files in turn is one that is there already; what comes before it goes again.
    for name in ("le-ca.pem", "le-eab.key", "gatehouse.yaml"):
        for there in before:
            if there not in (name, "manifests.json", "root.key"):
                (tmp_path / there).unlink()
        (tmp_path / name).write_text("mine")
        code, out, error = run_import(*words, secrets=[key, HMAC_KEY])
        assert code == 1 and not out and f"{name}: File exists" in error
        assert ("nothing was written" if name != "gatehouse.yaml" else f"only keys of accounts were kept, in {state}") in error
        assert set(made()) == {name, "manifests.json", "root.key"} and (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
        assert run_import(*words, secrets=[key, HMAC_KEY])[0] == 0
        assert made() == before
    # Another key for the same account.
    for name in ("le-ca.pem", "le-eab.key", "gatehouse.yaml"):
        (tmp_path / name).unlink()
    kept = accounts(state)
    manifests(tmp_path, roots=roots, key=other, hmac_key=HMAC_KEY)
    code, out, error = run_import(*words, secrets=[key, other, HMAC_KEY])
    assert code == 1 and not out
    assert error.endswith("gatehouse: nothing was written: another account key is kept for https://127.0.0.1:1/dir\n")
    assert accounts(state) == kept and set(made()) == {"manifests.json", "root.key"}


def test_a_state_directory_in_use_or_open_to_others_is_refused(tmp_path, start_daemon, ports, site):
    files = manifests(tmp_path, key=make_key())
    daemon = start_daemon({"certificates": {"c": {"certificate_file": site[0], "key_file": site[1]}},
                           "vhosts": [{"host": "www.example.test", "certificate": "c", "backend": "http://127.0.0.1:9"}]})
    words = [files, "--with-keys", "--state", tmp_path / "state", "--output", tmp_path / "result.yaml"]
    code, _, error = run_import(*words)
    assert code == 1 and f"another gatehouse, process {daemon.pid}, uses the state directory" in error
    daemon.assert_clean()
    (tmp_path / "state").chmod(0o755)
    code, _, error = run_import(*words)
    assert code == 1 and "chmod 700" in error
    assert not (tmp_path / "result.yaml").exists() and accounts(tmp_path / "state") == []
    (tmp_path / "state").chmod(0o700)
    assert run_import(*words)[0] == 0
    assert len(accounts(tmp_path / "state")) == 1


def test_what_root_makes_is_its_who_has_the_state_directory():
    if os.geteuid() != 0:
        pytest.skip("only root acts as another user")
    home = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-import-"))  # pytest's own is closed to others
    try:
        home.chmod(0o711)
        (home / "state").mkdir(mode=0o700)
        os.chown(home / "state", 12345, 12346)
        files = manifests(home, key=make_key(), hmac_key=HMAC_KEY)
        words = [files, "--with-keys", "--state", home / "state", "--output", home / "gatehouse.yaml"]
        code, _, report = run_import(*words)
        assert code == 0, report
        for path in [home / "le-eab.key", *(home / "state").iterdir()]:
            assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (12345, 12346, 0o600), path
        assert (home / "state/gatehouse.db").exists() and (home / "gatehouse.yaml").stat().st_uid == 0
    finally:
        shutil.rmtree(home)


def test_keys_go_along_to_stdout_but_for_files(tmp_path):
    key = make_key()
    files = manifests(tmp_path, key=key, hmac_key=HMAC_KEY, roots="none")
    code, out, report = run_import("--json", files, "--with-keys", "--state", tmp_path / "state", secrets=[key, HMAC_KEY])
    fields = {(field["object"], field["field"]): field for field in json.loads(report)}
    assert code == 1 and "external_account:" in out and f"state: {tmp_path}/state" in out
    binding = fields["Issuer shop/le", "spec.acme.externalAccountBinding.keySecretRef.name"]
    assert binding["fate"] == "refused" and "--output" in binding["reason"]
    assert len(accounts(tmp_path / "state")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifests.json", "state"]


def test_state_is_for_keys():
    code, _, error = run_import("x.yaml", "--state", "state")
    assert code == 2 and "--with-keys" in error
