"""HTTP/2 frame by frame, with whatever one wants in them: no library that would object."""
import select
import ssl

import hpack

from gatehouse import tls_connect

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, CANCEL, ENHANCE_YOUR_CALM = 1, 3, 5, 8, 11


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(piece):
    """A string of HPACK, as it is."""
    piece = piece if isinstance(piece, bytes) else piece.encode("latin-1")
    size = len(piece)
    if size < 127:
        return bytes([size]) + piece
    out, size = b"\x7f", size - 127
    while size >= 128:
        out, size = out + bytes([size % 128 + 128]), size // 128
    return out + bytes([size]) + piece


def block(fields):
    """Literals that are not indexed: HPACK's table stays empty."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def request(path, method="GET", more=(), authority="www.example.test", scheme="https"):
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *more]


def headers(stream, fields, ended=True):
    """HEADERS, and CONTINUATION for what does not fit."""
    whole = fields if isinstance(fields, bytes) else block(fields)
    pieces = [whole[at:at + 16384] for at in range(0, len(whole), 16384)] or [b""]
    return b"".join(frame(CONTINUATION if number else HEADERS,
                          (0 if number else END_STREAM * ended) | (END_HEADERS if number == len(pieces) - 1 else 0), stream, piece)
                    for number, piece in enumerate(pieces))


def data(stream, payload, ended=True):
    return frame(DATA, END_STREAM * ended, stream, payload)


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream, by):
    return frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


def settings(*entries):
    return frame(SETTINGS, 0, 0, b"".join(number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in entries))


class FrameClient:
    """A client of HTTP/2 over TLS that sends bytes and takes frames."""

    def __init__(self, port, server_name="www.example.test", first=settings()):
        self.sock = tls_connect(port, server_name, alpn=("h2",))
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.buffer = b""
        self.heads = {}   # fields of the response, by stream
        self.bodies = {}
        self.resets = {}  # error codes
        self.ended = set()
        self.goaway = None
        self.has_settings = self.is_closed = False
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + first)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *pieces):
        self.sock.sendall(b"".join(pieces))

    def press(self, payload, seconds=5):
        """Sends, taking what comes meanwhile; gives up on a peer that takes nothing for so long. False:
        the connection is over."""
        self.sock.setblocking(False)
        rest = memoryview(payload)
        while not self.is_closed:
            try:
                rest = rest[self.sock.send(rest):]
            except BlockingIOError:
                pass
            except ssl.SSLError as error:
                if error.errno not in (ssl.SSL_ERROR_WANT_READ, ssl.SSL_ERROR_WANT_WRITE):
                    return False
            except OSError:
                return False
            try:
                self.pump()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not rest:
                    break
                ready = select.poll()
                ready.register(self.sock, select.POLLIN | select.POLLOUT)
                if not ready.poll(seconds * 1000):
                    raise TimeoutError from None
        self.sock.settimeout(20)
        return not self.is_closed

    def pump(self):
        """Takes what one read brings."""
        try:
            piece = self.sock.recv(262144)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            piece = b""
        self.is_closed = not piece
        self.buffer += piece
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + size:
                break
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
            payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
            self.on_frame(kind, flags, stream, payload)

    def on_frame(self, kind, flags, stream, payload):
        if kind == HEADERS:
            fields = dict(self.decoder.decode(payload))
            if not fields.get(":status", "").startswith("1"):
                self.heads.setdefault(stream, fields)
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == SETTINGS and not flags & ACK:
            self.has_settings = True
            try:
                self.send(frame(SETTINGS, ACK, 0))
            except OSError:  # Full, or over: it matters to nobody.
                pass
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.add(stream)

    def status(self, stream):
        return int(self.heads[stream][":status"]) if stream in self.heads else None

    def until(self, holds):
        """Reads until holds() is true, or the connection has ended."""
        while not holds() and not self.is_closed:
            self.pump()

    def wait(self, stream):
        """Until that stream is over: its status, or None."""
        self.until(lambda: stream in self.ended or stream in self.resets)
        return self.status(stream)

    def wait_closed(self):
        """The code of the GOAWAY that came before the end, or None."""
        self.until(lambda: False)
        return self.goaway
