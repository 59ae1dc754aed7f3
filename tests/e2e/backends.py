"""Programmable backends on loopback: real sockets, one thread for each connection. What they have
received, byte for byte, is the judge of what the proxy made of a request."""
import socket
import struct
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from gatehouse import wait_until

PATIENCE = 20  # seconds that a backend waits for anything


class Closed(Exception):
    """The proxy closed its side."""


class Request:
    """A request as a backend has read it."""

    def __init__(self, head):
        self.head = head
        line, *fields = head[:-4].split(b"\r\n")
        self.method, self.target, self.version = line.decode("latin-1").split(" ")
        self.fields = [(name.decode("latin-1"), value.strip().decode("latin-1"))
                       for name, _, value in (field.partition(b":") for field in fields)]
        self.body = b""
        self.trailers = []

    @property
    def path(self):
        return self.target.partition("?")[0]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name]

    def __getitem__(self, name):
        """The value of a field that must come exactly once."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self.head!r}"
        return values[0]


class Connection:
    """One connection from the proxy."""

    def __init__(self, backend, sock):
        self.backend, self.sock = backend, sock
        self.received = bytearray()  # everything, ever
        self.buffer = bytearray()    # of that, what was not looked at yet
        self.requests = []
        sock.settimeout(PATIENCE)

    def read_more(self):
        try:
            piece = self.sock.recv(262144)
        except OSError as error:  # A reset, or nothing for too long.
            raise Closed from error
        if not piece:
            raise Closed
        self.received += piece
        self.buffer += piece

    def read_until(self, end):
        while (at := self.buffer.find(end)) < 0:
            self.read_more()
        return self.read_exactly(at + len(end))

    def read_exactly(self, count):
        while len(self.buffer) < count:
            self.read_more()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read_head(self):
        request = Request(self.read_until(b"\r\n\r\n"))
        self.requests.append(request)
        self.backend.requests.append(request)
        return request

    def read_body(self, request):
        if request.all("transfer-encoding") == ["chunked"]:
            while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
                request.body += self.read_exactly(size)
                assert self.read_exactly(2) == b"\r\n"
            while (line := self.read_until(b"\r\n")) != b"\r\n":
                name, _, value = line.partition(b":")
                request.trailers.append((name.decode(), value.strip().decode()))
        elif lengths := request.all("content-length"):
            request.body += self.read_exactly(int(lengths[0]))
        return request.body

    def send(self, data):
        self.sock.sendall(data)

    def is_closed_within(self, seconds):
        """Whether the proxy closes its side in that time; what else it sends is kept."""
        self.sock.settimeout(seconds)
        try:
            while True:
                self.read_more()
        except Closed as closed:
            return not isinstance(closed.__cause__, TimeoutError)

    def reset(self):
        """Ends the connection with a RST of TCP."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def answer(head, body=b""):
    """A script that reads the whole request, sends that, and goes on with the next request."""
    head = head if isinstance(head, bytes) else head.encode()

    def script(connection, request):
        connection.read_body(request)
        connection.send(head.replace(b"\n", b"\r\n") + b"\r\n" + body)
        return True
    return script


def ok(body=b"ok\n"):
    head = f"HTTP/1.1 200 OK\ncontent-length: {len(body)}\n"

    def script(connection, request):
        return answer(head, b"" if request.method == "HEAD" else body)(connection, request)
    return script


class Server:
    """Accepts connections on a port of its own, each in a thread of its own."""

    def __init__(self, tls=None, unix=None, at=("127.0.0.1", 0)):
        self.tls, self.unix, self.address = tls, unix, at[0]
        self.connections = []
        if unix:
            self.listener = socket.create_server(unix, family=socket.AF_UNIX, backlog=512)
        else:
            self.listener = socket.create_server(at, backlog=512)
            self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"unix:{self.unix}" if self.unix else f"{'https' if self.tls else 'http'}://{self.address}:{self.port}"

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if not self.unix:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        try:
            self.serve(self.tls.wrap_socket(sock, server_side=True) if self.tls else sock)
        except OSError:
            pass
        finally:
            sock.close()

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.sock.close()


class RawBackend(Server):
    """HTTP/1.1 by hand. A script for each path (None: for all others) is called with the connection
    and the request's head, and returns True when the connection goes on."""

    def __init__(self, default=None, tls=None, unix=None, at=("127.0.0.1", 0)):
        self.scripts = {None: default or ok()}
        self.requests = []
        self.failures = []
        super().__init__(tls, unix, at)

    def on(self, path, script):
        self.scripts[path] = script

    def serve(self, sock):
        connection = Connection(self, sock)
        self.connections.append(connection)
        try:
            while True:
                request = connection.read_head()
                if not self.scripts.get(request.path, self.scripts[None])(connection, request):
                    break
        except Closed:
            pass
        except AssertionError as failure:
            self.failures.append(failure)
        if connection.sock.fileno() >= 0:
            connection.sock.close()

    def request(self, path):
        """The only request that came for this path."""
        wait_until(lambda: any(r.path == path for r in self.requests), 10, f"a request for {path}")
        found = [r for r in self.requests if r.path == path]
        assert len(found) == 1, found
        return found[0]

    def count(self, path):
        return sum(r.path == path for r in self.requests)


class H2Stream:
    """One request on an HTTP/2 backend."""

    def __init__(self, connection, number, headers):
        self.connection, self.number = connection, number
        self.fields = [(name.decode(), value.decode()) for name, value in headers]
        self.path = dict(self.fields)[":path"].partition("?")[0]
        self.body = b""
        self.trailers = []
        self.is_whole = False
        self.reset_code = None  # when the proxy reset it
        self.waiting, self.ends_with = b"", None  # body that waits for a window, then its end

    def __getitem__(self, name):
        values = [value for key, value in self.fields if key == name]
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def send(self, headers=None, body=None, trailers=None, end=True):
        h2_side = self.connection.state
        if headers is not None:
            h2_side.send_headers(self.number, headers, end_stream=end and body is None and not trailers)
        if body is not None:
            self.waiting += body
            self.ends_with = (trailers,) if end or trailers else None
            self.send_what_may_go()
        elif trailers:
            h2_side.send_headers(self.number, trailers, end_stream=True)
        self.connection.flush()

    def send_what_may_go(self):
        """As much as the windows allow; the rest goes when they open."""
        h2_side = self.connection.state
        while True:
            room = min(h2_side.local_flow_control_window(self.number), h2_side.max_outbound_frame_size)
            piece, self.waiting = self.waiting[:room], self.waiting[room:]
            is_last = not self.waiting and self.ends_with is not None
            if not piece and not is_last:
                return
            trailers = is_last and self.ends_with[0]
            h2_side.send_data(self.number, piece, end_stream=is_last and not trailers)
            if trailers:
                h2_side.send_headers(self.number, trailers, end_stream=True)
            if is_last:
                self.ends_with = None
                return

    def reset(self, code):
        self.connection.state.reset_stream(self.number, code)
        self.connection.flush()


class H2Connection:
    def __init__(self, backend, sock):
        self.backend, self.sock = backend, sock
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.streams = {}
        self.is_lost = False

    def flush(self):
        self.sock.sendall(self.state.data_to_send())

    def serve(self):
        if self.backend.first_settings:
            self.state.local_settings = h2.settings.Settings(client=False, initial_values=self.backend.first_settings)
        self.state.initiate_connection()
        if self.backend.settings:
            self.state.update_settings(self.backend.settings)
        self.flush()
        try:
            while data := self.sock.recv(262144):
                for event in self.state.receive_data(data):
                    self.on_event(event)
                self.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        self.is_lost = True

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            stream = H2Stream(self, event.stream_id, event.headers)
            self.streams[event.stream_id] = stream
            self.backend.streams.append(stream)
            if script := self.backend.at_head.get(stream.path):
                script(stream)
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if script := self.backend.at_data.get(self.streams[event.stream_id].path):
                script(self.streams[event.stream_id], event.data)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = [(n.decode(), v.decode()) for n, v in event.headers]
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            for stream in list(self.streams.values()):
                if stream.waiting and stream.reset_code is None:
                    stream.send_what_may_go()
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset_code = int(event.error_code)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self.streams[event.stream_id]
            stream.is_whole = True
            if stream.path not in self.backend.at_head:
                self.backend.scripts.get(stream.path, self.backend.scripts[None])(stream)


def h2_ok(body=b"ok\n"):
    def script(stream):
        stream.send([(":status", "200"), ("content-length", str(len(body)))], None if stream[":method"] == "HEAD" else body)
    return script


class H2Backend(Server):
    """HTTP/2 by prior knowledge, or by ALPN with tls. Scripts run when a request is whole; those of
    `at_head` when its head came, of `at_data` for each piece of its body. `settings` are sent behind
    the first ones, which are `first_settings`."""

    def __init__(self, default=None, tls=None, settings=None, first_settings=None, at=("127.0.0.1", 0)):
        self.settings, self.first_settings = settings, first_settings
        self.scripts = {None: default or h2_ok()}
        self.at_head = {}
        self.at_data = {}
        self.streams = []
        super().__init__(tls, at=at)

    def on(self, path, script):
        self.scripts[path] = script

    def serve(self, sock):
        connection = H2Connection(self, sock)
        self.connections.append(connection)
        connection.serve()

    def request(self, path):
        wait_until(lambda: any(s.path == path for s in self.streams), 10, f"a request for {path}")
        found = [s for s in self.streams if s.path == path]
        assert len(found) == 1, found
        return found[0]
