"""Images: what conf/container/make-image builds holds together and runs, and so does the Containerfile's."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import tarfile

import pytest

from gatehouse import BINARY, FULL, RELEASE, ROOT, Process, fetch_admin, free_ports, tls_connect, wait_until

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


# ---- the Containerfile --------------------------------------------------------------------------

BASE = "docker.io/library/debian:bookworm-slim"
# What a pod has: nothing to write to but its volumes, no user but a number, no way to become more.
AS_A_POD = """set -eu
cd "$1"; shift
mount --bind . . && mount -o remount,bind,ro .
for volume in var/lib/gatehouse run/gatehouse; do
  mount -t tmpfs -o uid=65532,gid=65532,mode=700 none "$PWD/$volume"
done
mount --bind /dev "$PWD/dev"
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$PWD" "$@"
"""


class Buildah:
    """With a store of its own, for machines where neither overlays nor namespaces may be had."""

    def __init__(self, directory):
        self.directory = directory

    def __call__(self, *words, seconds=300):
        done = subprocess.run(["buildah", "--root", self.directory / "store", "--runroot", self.directory / "run",
                               "--storage-driver", "vfs", *map(str, words)], capture_output=True, text=True, timeout=seconds,
                              env={**os.environ, "BUILDAH_ISOLATION": "chroot"})
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.strip()


def make_base(buildah, directory):
    """Debian slim without a registry: a root by debootstrap, with what this machine's apt says of the way to a mirror."""
    mirror = os.environ.get("MIRROR") or runpy.run_path(str(MAKE_IMAGE))["mirror_of_apt"]("bookworm")
    done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", directory, mirror], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    ways = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    (directory / "etc/apt/apt.conf.d/90mirror").write_text(
        "".join(line + "\n" for line in ways.splitlines() if re.match("Acquire::(http|https|Retries|Check-)", line)))
    container = buildah("from", "scratch")
    buildah("add", container, directory, "/")
    buildah("commit", "--rm", container, BASE)


def check_image(buildah, image, directory, cleanup):
    """A configuration of three lines runs in it as it would in a pod."""
    config = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/usr/bin/gatehouse"] and config["Cmd"] == ["run"]
    container = buildah("from", "--pull-never", image)
    cleanup.callback(buildah, "rm", container)
    assert re.match(r"gatehouse \d+\.\d+", buildah("run", container, "--", *config["Entrypoint"], "--version"))
    https, http, admin = free_ports(3)
    (directory / "gatehouse.yaml").write_text(f"""\
listen: {{https: ["127.0.0.1:{https}"], http: ["127.0.0.1:{http}"]}}
admin: {{listen: "127.0.0.1:{admin}"}}
vhosts: [{{host: localhost, routes: [{{respond: {{status: 200, body: "from the image"}}}}]}}]
""")
    buildah("copy", container, directory / "gatehouse.yaml", "/etc/gatehouse/gatehouse.yaml")
    root = buildah("mount", container)
    cleanup.callback(buildah, "umount", container)
    daemon = Process(["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_A_POD, "as-a-pod", root, *config["Entrypoint"],
                      *config["Cmd"]], directory / "image.log")
    cleanup.callback(daemon.close)
    wait_until(lambda: not daemon.is_running() or fetch_admin(admin, "/readyz")[0] == 200, 30, "its start")
    assert daemon.is_running(), daemon.output()
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    assert re.search(r"^Uid:\s+65532\s+65532", status, re.M) and re.search(r"^CapEff:\s+0+$", status, re.M)
    with tls_connect(https, "localhost") as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := visitor.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"from the image")
    assert daemon.stop() == 0, daemon.output()


def test_the_containerfile_builds_an_image_that_runs(tmp_path, cleanup):
    if not shutil.which("buildah"):
        pytest.skip("no buildah here: apt-get install buildah")
    if not FULL:
        pytest.skip("compiles Gatehouse in a container, for a quarter of an hour: GATEHOUSE_FULL=1")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    buildah = Buildah(tmp_path)
    make_base(buildah, tmp_path / "base")
    buildah("bud", "--pull-never", "-f", ROOT / "conf/container/Containerfile", "-t", "gatehouse", ROOT, seconds=5400)
    check_image(buildah, "localhost/gatehouse", tmp_path, cleanup)
