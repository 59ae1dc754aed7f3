"""Clients that show every byte: HTTP/1.1 by hand, HTTP/2 by Python's h2."""
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from gatehouse import tls_connect


def chromium(directory, url, *more):
    """The command for a Chromium of its own that trusts everybody and keeps to this machine."""
    return ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            "--ignore-certificate-errors", "--host-resolver-rules=MAP * 127.0.0.1", f"--user-data-dir={directory}", *more, url]


class Answer:
    """One response of HTTP/1.1, as it came."""

    def __init__(self, status, fields, body, trailers, is_whole, interims):
        self.status, self.fields, self.body = status, fields, body
        self.trailers, self.is_whole, self.interims = trailers, is_whole, interims

    def __getitem__(self, name):
        return dict(self.fields)[name]

    def get(self, name):
        return dict(self.fields).get(name)


class RawClient:
    """HTTP/1.1 by hand, over TLS or plain; `over` is a connected socket of the caller's, for TLS."""

    def __init__(self, port, server_name="www.example.test", tls=True, over=None):
        self.sock = (tls_connect(port, server_name, ragged=False, over=over) if tls
                     else socket.create_connection(("127.0.0.1", port), timeout=20))
        self.buffer = b""
        self.is_ended = False
        self.was_cut = False  # by a reset, or without TLS's close_notify

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def request(self, method, path, fields="", body=b"", host="www.example.test"):
        """Sends a request of HTTP/1.1; fields is lines that end with a line feed."""
        self.send(f"{method} {path} HTTP/1.1\nHost: {host}\n{fields}\n".replace("\n", "\r\n").encode("latin-1") + body)

    def _more(self):
        if self.is_ended:
            return False
        try:
            piece = self.sock.recv(262144)
        except TimeoutError:
            raise
        except OSError:
            self.was_cut, piece = True, b""
        self.is_ended = not piece
        self.buffer += piece
        return not self.is_ended

    def _until(self, end):
        while (at := self.buffer.find(end)) < 0:
            if not self._more():
                return None
        taken, self.buffer = self.buffer[:at], self.buffer[at + len(end):]
        return taken

    def _exactly(self, count):
        while len(self.buffer) < count and self._more():
            pass
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_head(self):
        """(status, fields), or None at the end of the connection."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1", line
        return int(status), [(name, value.strip()) for name, _, value in (l.partition(":") for l in lines)]

    def read(self, method="GET"):
        """The next answer, with the interim ones before it. Fails when there is none."""
        interims = []
        while True:
            head = self.read_head()
            assert head, f"the connection ended without an answer: {self.buffer!r}"
            status, fields = head
            if status >= 200 or status == 101:
                break
            interims.append((status, fields))
        named = dict(fields)
        body, trailers, is_whole = b"", [], True
        if method == "HEAD" or status in (204, 304):
            pass
        elif named.get("transfer-encoding") == "chunked":
            body, trailers, is_whole = self._chunked()
        elif "content-length" in named:
            body = self._exactly(int(named["content-length"]))
            is_whole = len(body) == int(named["content-length"])
        else:
            while self._more():
                pass
            body, self.buffer = self.buffer, b""
            is_whole = not self.was_cut
        return Answer(status, fields, body, trailers, is_whole, interims)

    def _chunked(self):
        body, trailers = b"", []
        while True:
            line = self._until(b"\r\n")
            if line is None:
                return body, [], False
            size = int(line, 16)
            if size == 0:
                break
            piece = self._exactly(size + 2)
            body += piece[:size]
            if len(piece) < size + 2:
                return body, [], False
        while line := self._until(b"\r\n"):
            name, _, value = line.decode().partition(":")
            trailers.append((name, value.strip()))
        return body, trailers, line is not None

    def get(self, path, fields="", method="GET", **more):
        self.request(method, path, fields, **more)
        return self.read(method)

    def get_or_nothing(self, path):
        """The answer, or None when the connection ends without a byte of one."""
        self.request("GET", path)
        if not self.buffer and not self._more():
            return None
        return self.read()

    def ends(self):
        """True when the server says nothing more and closes."""
        while self._more():
            pass
        return self.buffer == b""


class Reply:
    """What came on one stream of HTTP/2."""

    def __init__(self):
        self.fields, self.trailers, self.body, self.interims = [], [], b"", []
        self.is_whole = False
        self.reset_code = None

    @property
    def status(self):
        return int(self[":status"])

    @property
    def status_or_zero(self):
        return int(self.get(":status") or 0)

    def __getitem__(self, name):
        return dict(self.fields)[name]

    def get(self, name):
        return dict(self.fields).get(name)

    @property
    def is_over(self):
        return self.is_whole or self.reset_code is not None


class H2Client:
    """HTTP/2 over TLS. With `reads_bodies` off it never returns credit."""

    def __init__(self, port, server_name="www.example.test", reads_bodies=True, settings=None):
        self.sock = tls_connect(port, server_name, alpn=("h2",))
        assert self.sock.selected_alpn_protocol() == "h2"
        self.authority = server_name
        self.reads_bodies = reads_bodies
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.state = h2.connection.H2Connection(config)
        self.state.initiate_connection()
        if settings:
            self.state.update_settings(settings)
        self.replies = {}
        self.goaway = None
        self.is_lost = False
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def flush(self):
        self.sock.sendall(self.state.data_to_send())

    def start(self, method, path, fields=(), end=True, authority=None):
        stream = self.state.get_next_available_stream_id()
        self.replies[stream] = Reply()
        self.state.send_headers(stream, [(":method", method), (":scheme", "https"),
                                         (":authority", authority or self.authority), (":path", path),
                                         *fields], end_stream=end)
        self.flush()
        return stream

    def send(self, stream, body=b"", trailers=None, end=True):
        """Body bytes as credit comes, then trailers or the end."""
        while body and not self.replies[stream].is_over and not self.is_lost:
            credit = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size)
            if credit == 0:
                self.pump()
                continue
            self.state.send_data(stream, body[:credit])
            body = body[credit:]
            self.flush()
        if trailers:
            self.state.send_headers(stream, trailers, end_stream=True)
        elif end:
            self.state.end_stream(stream)
        self.flush()

    def pump(self):
        """Handles what one read brings."""
        try:
            data = self.sock.recv(262144)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            self.is_lost = True
            return
        for event in self.state.receive_data(data):
            self.on_event(event)
        try:
            self.flush()
        except OSError:
            self.is_lost = True

    def on_event(self, event):
        reply = self.replies.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            reply.fields = list(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            reply.interims.append(list(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            reply.body += event.data
            if self.reads_bodies:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            reply.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            reply.is_whole = True
        elif isinstance(event, h2.events.StreamReset):
            reply.reset_code = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event

    def wait(self, stream, until=lambda reply: reply.is_over):
        reply = self.replies[stream]
        while not until(reply):
            assert not self.is_lost, f"the connection ended inside the answer: {reply.__dict__}"
            self.pump()
        return reply

    def get(self, path, fields=(), method="GET", **more):
        return self.wait(self.start(method, path, fields, **more))

    def post(self, path, body, fields=(), trailers=None):
        stream = self.start("POST", path, fields, end=False)
        self.send(stream, body, trailers)
        return self.wait(stream)
