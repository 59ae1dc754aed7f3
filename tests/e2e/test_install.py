"""What an operator gets: the installed files, the manual page, and the README's examples."""
import re
import shutil
import subprocess

import pytest

from gatehouse import BINARY, ROOT, make_certificate


@pytest.fixture
def installed(tmp_path):
    if not (BINARY.parent / "cmake_install.cmake").exists():
        pytest.skip(f"{BINARY.parent} is no build directory: set GATEHOUSE to a binary in one")
    subprocess.run(["cmake", "--install", str(BINARY.parent), "--prefix", str(tmp_path / "usr")], check=True,
                   capture_output=True, timeout=120)
    return tmp_path / "usr"


def test_files_are_installed_where_debian_looks_for_them(installed):
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert found == {
        "bin/gatehouse", "lib/systemd/system/gatehouse.service", "lib/systemd/system/gatehouse.socket",
        "lib/sysusers.d/gatehouse.conf", "share/man/man8/gatehouse.8", "share/doc/gatehouse/README.md",
        "share/doc/gatehouse/LICENSE", "share/doc/gatehouse/gatehouse.yaml", "share/doc/gatehouse/full.yaml"}


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is missing: apt-get install groff-base")
def test_the_manual_page_is_set_without_a_warning():
    done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", str(ROOT / "conf/gatehouse.8")],
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def commands_of(*words):
    """The commands that --help lists."""
    text = subprocess.run([str(BINARY), *words, "--help"], check=True, capture_output=True, text=True,
                          timeout=60).stdout
    listed = re.split(r"^(?:Subcommands|SUBCOMMANDS):\s*$", text, flags=re.MULTILINE)
    assert len(listed) == 2, text
    return re.findall(r"^  ([a-z]+) ", listed[1], re.MULTILINE)


def test_the_manual_page_and_the_readme_know_every_command():
    manual = (ROOT / "conf/gatehouse.8").read_text()
    readme = (ROOT / "README.md").read_text()
    own = [name for name in commands_of() if name != "certificates"]
    below = ["certificates " + name for name in commands_of("certificates")]
    assert len(own) >= 6 and len(below) >= 4
    for command in own + below:
        assert re.search(rf"\b{command}\b", manual), command
        if command not in ("certificates import", "certificates revoke"):  # Not supported yet.
            assert f"`gatehouse {command}" in readme, command


@pytest.mark.parametrize("number", [0, 1])
def test_a_configuration_of_the_readme_checks(number, tmp_path):
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3  # the last is a part of one
    (tmp_path / "tls").mkdir()
    chain, key = make_certificate(tmp_path / "tls", ["*.shop.mydomain.com"], name="chain")
    shutil.move(key, tmp_path / "tls/key.pem")
    for name in ("mesh-ca.pem", "clients.pem"):
        shutil.copy(chain, tmp_path / "tls" / name)
    shutil.copy(ROOT / "tests/config_errors/files/clients.crl", tmp_path / "tls")
    config = tmp_path / "gatehouse.yaml"
    config.write_text(blocks[number])
    done = subprocess.run([str(BINARY), "check", "--config", str(config)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(warning.startswith("this is no pod") for warning in re.findall(r": warning: (.*)", done.stderr)), done.stderr


def test_the_mistake_that_the_readme_shows_is_shown_like_that(tmp_path):
    config = tmp_path / "gatehouse.yaml"
    config.write_text("vhosts:\n  - host: shop.mydomain.com\n    certifcate: shop\n    backend: http://127.0.0.1:8080\n")
    done = subprocess.run([str(BINARY), "check", "--config", str(config)], capture_output=True, text=True, timeout=60)
    shown, = re.findall(r"^\$ gatehouse check\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    expected = shown.replace("/etc/gatehouse/gatehouse.yaml:14:", f"{config}:3:").replace("\n  14 |", "\n  3 |")
    assert done.returncode == 2
    assert expected in done.stderr, done.stderr
