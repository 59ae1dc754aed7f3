"""The conformance suite for HTTP/2, over TLS."""
import re
import subprocess

import pytest

from backends import h2_ok, ok
from gatehouse import FULL, INTEROP, make_certificate

H2SPEC = INTEROP / "h2spec"
pytestmark = pytest.mark.skipif(not H2SPEC.exists(), reason="h2spec is missing: tests/interop/install")


@pytest.fixture(scope="module")
def edge(start_edge, tmp_path_factory):
    certificate, key = make_certificate(tmp_path_factory.mktemp("all"), ["127.0.0.1"], "all")
    edge = start_edge(certificates={"all": {"certificate_file": certificate, "key_file": key}},
                      vhosts=[{"host": "*", "certificate": "all", "routes": [
                          {"match": {"path": "/h2c"}, "backend": "h2c"}, {"backend": "h1"}]}])
    # Long enough for the cases about windows; sent when the request is whole, so that malformed
    # trailers are judged before.
    edge.h1.on("/h1", ok(b"Hello from h2spec's backend.\n"))
    edge.h2c.on("/h2c", h2_ok(b"Hello from h2spec's backend.\n"))
    return edge


@pytest.mark.parametrize("round", range(10 if FULL else 1))
@pytest.mark.parametrize("strict, cases", [([], 145), (["--strict"], 146)])
@pytest.mark.parametrize("path", ["/h1", "/h2c"])
def test_every_case_of_h2spec_passes(edge, path, strict, cases, round):
    done = subprocess.run([H2SPEC, "-t", "-k", "-h", "127.0.0.1", "-p", str(edge.daemon.https), "-P", path, *strict],
                          capture_output=True, text=True, timeout=400)
    said = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert said, done.stdout + done.stderr
    failures = done.stdout.partition("Failures:")[2]
    assert [int(number) for number in said.groups()] == [cases, cases, 0, 0], failures
