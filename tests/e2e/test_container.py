"""The image that conf/container/make-image builds: its layout holds together, and its root runs."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest

from gatehouse import BINARY, FULL, RELEASE, ROOT

PROGRAM = RELEASE if RELEASE.exists() else BINARY  # a debug build is hundreds of megabytes
MAKE_IMAGE = ROOT / "conf/container/make-image"


def make_image(*words):
    return subprocess.run([MAKE_IMAGE, *map(str, words)], capture_output=True, text=True, timeout=900)


def small_root(directory):
    """The libraries of the binary, and nothing else."""
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout)
    for library in libraries:
        target = directory / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(os.path.realpath(library), target)
        target.chmod(0o755)
    (directory / "tmp").mkdir()
    (directory / "tmp/left-out").write_text("x")
    return directory


def read_layout(path):
    """{name: bytes} of the archive."""
    with tarfile.open(path) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isreg()}


def blob(files, descriptor):
    content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert len(content) == descriptor["size"]
    assert "sha256:" + hashlib.sha256(content).hexdigest() == descriptor["digest"]
    return content


def check_layout(files):
    """Every digest and size from the index down; (config, layer as tar)."""
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    entry, = index["manifests"]
    manifest = json.loads(blob(files, entry))
    assert manifest["mediaType"] == entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    config = json.loads(blob(files, manifest["config"]))
    layer, = manifest["layers"]
    tar = gzip.decompress(blob(files, layer))
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(tar).hexdigest()]
    used = {entry["digest"], manifest["config"]["digest"], layer["digest"]}
    assert {f"blobs/{digest.replace(':', '/')}" for digest in used} == {name for name in files if name.startswith("blobs/")}
    return config, tar


def run_in(tar, directory, *words):
    """Unpacks a layer and runs a command in it, as root of a namespace of its own."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as layer:
        layer.extractall(directory, **({"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}))
    (directory / "proc").mkdir(exist_ok=True)
    namespaces = ["unshare", "--pid", "--fork", f"--mount-proc={directory}/proc"]
    # A container's root may need a user namespace for that. In a chroot there can be none, and "/" is no mount there
    # whose propagation could be made private.
    ways = [namespaces + more for more in ([], ["--map-root-user"], ["--propagation", "unchanged"])]
    unshare = next((way for way in ways if subprocess.run([*way, "true"], capture_output=True).returncode == 0), namespaces)
    return subprocess.run([*unshare, "chroot", directory, *words], capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ASAN_OPTIONS": "detect_leaks=0"})


def test_an_image_of_a_given_root_runs(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("make-image gives directories away: run as root")
    root = small_root(tmp_path / "root")
    done = make_image(PROGRAM, tmp_path / "image.tar", "--root", root)
    assert done.returncode == 0, done.stderr
    config, tar = check_layout(read_layout(tmp_path / "image.tar"))
    assert config["config"]["User"] == "65532:65532" and config["config"]["Entrypoint"] == ["/usr/bin/gatehouse"]
    with tarfile.open(fileobj=io.BytesIO(tar)) as layer:
        assert layer.getmember("var/lib/gatehouse").uid == 65532
        assert "tmp" in layer.getnames() and "tmp/left-out" not in layer.getnames()
    done = run_in(tar, tmp_path / "unpacked", *config["config"]["Entrypoint"], "version")
    assert done.returncode == 0 and re.match(r"gatehouse \d+\.\d+", done.stdout), done.stderr

    again = make_image(PROGRAM, tmp_path / "again.tar", "--root", root)
    assert again.returncode == 0 and (tmp_path / "again.tar").read_bytes() == (tmp_path / "image.tar").read_bytes()


def test_the_packages_of_the_binary_are_found():
    if not pathlib.Path("/etc/debian_version").exists():
        pytest.skip("not Debian")
    done = make_image("--print-packages", PROGRAM)
    packages = done.stdout.split()
    assert done.returncode == 0 and any(name.startswith("libssl") for name in packages), done.stderr
    assert any(name.startswith("libyaml") for name in packages) and "libc6" in packages


def test_an_image_of_debian_runs(tmp_path):
    if not FULL:
        pytest.skip("fetches Debian: GATEHOUSE_FULL=1")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    done = make_image(PROGRAM, tmp_path / "image.tar")
    assert done.returncode == 0, done.stderr
    config, tar = check_layout(read_layout(tmp_path / "image.tar"))
    done = run_in(tar, tmp_path / "unpacked", *config["config"]["Entrypoint"], "version")
    assert done.returncode == 0 and re.match(r"gatehouse \d+\.\d+", done.stdout), done.stderr
