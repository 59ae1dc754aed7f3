"""A daemon before programmable backends, shared by the tests of one file: each test uses a path of
its own, so that nobody is in another's way."""
import re

from backends import H2Backend, RawBackend
from clients import H2Client, RawClient
from gatehouse import Daemon, free_ports, make_certificate, wait_until

# Envoy's default line, as DESIGN.md has it.
LINE = re.compile(r'^\[(?P<start>[^]]*)\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" (?P<status>\d+) (?P<flags>\S+) '
                  r'(?P<bytes_in>\d+) (?P<bytes_out>\d+) (?P<duration>\d+) (?P<backend_ms>\S+) "(?P<xff>[^"]*)" '
                  r'"(?P<agent>[^"]*)" "(?P<id>[^"]*)" "(?P<authority>[^"]*)" "(?P<endpoint>[^"]*)"$', re.MULTILINE)

NAMES = ["www.example.test", "plain.example.test", "mobile.example.test", "*.wild.example.test", "127.0.0.1"]


class Edge:
    """The daemon with `h1` (HTTP/1.1) behind every path, `h2c` behind /h2c, nobody behind /dead, and
    the same two behind /quick and /h2c-quick with a short response timeout."""

    def __init__(self, directory, limits=None, routes=(), backends=None, vhosts=(), binary=None, env=None, **config):
        self.h1, self.h2c = RawBackend(), H2Backend()
        dead, = free_ports(1)
        self.dead = f"127.0.0.1:{dead}"
        self.certificate, self.key = make_certificate(directory, NAMES)
        named = {"h1": {"endpoints": [self.h1.url]},
                 "h2c": {"endpoints": [self.h2c.url], "protocol": "h2"},
                 "quick": {"endpoints": [self.h1.url], "timeouts": {"response": "700ms"}},
                 "h2c-quick": {"endpoints": [self.h2c.url], "protocol": "h2", "timeouts": {"response": "700ms"}},
                 "dead": {"endpoints": [f"http://{self.dead}"]}, **(backends or {})}
        all_routes = [*routes, *({"match": {"path": f"/{name}"}, "backend": name} for name in named if name != "h1"),
                      {"backend": "h1"}]
        self.daemon = Daemon(directory, {
            "certificates": {"site": {"certificate_file": self.certificate, "key_file": self.key},
                             **config.pop("certificates", {})},
            "limits": limits or {}, "backends": named,
            "vhosts": [{"host": "www.example.test", "certificate": "site", "routes": all_routes}, *vhosts], **config}, binary=binary, env=env)

    def raw(self, tls=True, name="www.example.test"):
        return RawClient(self.daemon.https if tls else self.daemon.http, name, tls)

    def h2(self, name="www.example.test", **options):
        return H2Client(self.daemon.https, name, **options)

    def url(self, path, host="www.example.test"):
        """For curl, with resolve()."""
        return f"https://{host}:{self.daemon.https}{path}"

    def resolve(self, host="www.example.test"):
        return ["-k", "--resolve", f"{host}:{self.daemon.https}:127.0.0.1"]

    def logged(self, path):
        """The access-log line of the only request for a path."""
        def find():
            return [m for m in LINE.finditer(self.daemon.output()) if m["path"] == path]
        found = wait_until(find, 15, f"an access-log line for {path}")
        assert len(found) == 1, [m[0] for m in found]
        return found[0]

    def close(self):
        """Ends all; fails when the daemon or a backend had something to complain about."""
        self.h1.close()
        self.h2c.close()
        try:
            self.daemon.assert_clean()
        finally:
            self.daemon.close()
        assert not self.h1.failures, self.h1.failures
