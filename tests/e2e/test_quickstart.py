"""The parts of ./quickstart fit together. What it shows is seen by running it; that takes a build."""
import json
import re
import shutil
import subprocess

import pytest

from gatehouse import BINARY, ROOT, make_certificate

SCRIPT = (ROOT / "quickstart").read_text()


@pytest.mark.parametrize("script", ["quickstart", "tests/packages", "tests/support/start-pebble", "tests/run"])
def test_its_scripts_parse_and_may_be_run(script):
    done = subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (ROOT / script).stat().st_mode & 0o111


def test_wrong_usage_is_2_and_does_nothing():
    done = subprocess.run([str(ROOT / "quickstart"), "--nonsense"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and done.stdout == "" and "usage: ./quickstart" in done.stderr


def test_its_configuration_is_good_and_meets_its_ports(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "build/quickstart").mkdir(parents=True)
    shutil.copy(ROOT / "conf/quickstart.yaml", tmp_path / "conf")
    certificate, _ = make_certificate(tmp_path, ["localhost"], "ca")
    shutil.copy(certificate, tmp_path / "build/quickstart/pebble-ca.pem")
    path = tmp_path / "conf/quickstart.yaml"
    done = subprocess.run([str(BINARY), "check", "--config", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    ports = dict(re.findall(r"\b(https|http)=(\d+)", SCRIPT))
    assert f"https: [\"127.0.0.1:{ports['https']}\"]" in text and f"http: [\"127.0.0.1:{ports['http']}\"]" in text
    for port in set(re.findall(r"127\.0\.0\.1:(\d+)", text)):
        assert port in SCRIPT, f"nothing of ./quickstart is at {port}"
    for name in re.findall(r"host: (\S+)", text):
        assert name in SCRIPT


@pytest.mark.parametrize("command", sorted(set(re.findall(r'^"\$gatehouse" (.*?)(?: --config.*)?$', SCRIPT, re.M))))
def test_the_commands_that_it_shows_exist(command):
    done = subprocess.run([str(BINARY), *command.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_it_reads_from_the_status_is_there():
    """The snippet that shows the progress, fed with what a daemon says."""
    snippet = re.search(r"python3 -c '\n(.*?)'\n", SCRIPT, re.DOTALL)[1]
    status = {"certificates": [{"name": "a", "state": "valid"}, {"name": "b", "state": "none", "step": "making a key"}]}
    done = subprocess.run(["python3", "-c", snippet], input=json.dumps(status), capture_output=True, text=True)
    assert done.stdout == "a: valid\nb: none, making a key\n", done.stderr
