"""WebSocket peers: Python's websockets on both ends, and frames made by hand for what it would not do."""
import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
import struct
import threading

import websockets

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def frame(opcode, payload, masked=True, fin=True):
    """RFC 6455 section 5.2."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def take_frame(data):
    """(opcode, payload, rest) of an unmasked frame; None when it is not whole."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7f, 2
    if size == 126:
        if len(data) < 4:
            return None
        size, at = struct.unpack("!H", data[2:4])[0], 4
    elif size == 127:
        if len(data) < 10:
            return None
        size, at = struct.unpack("!Q", data[2:10])[0], 10
    return (data[0] & 0x0f, bytes(data[at:at + size]), data[at + size:]) if len(data) >= at + size else None


class WebSocketServer:
    """Python's websockets as a backend, its loop in a thread: says back what it is told. On /ws/close
    it closes with 4321, on /ws/fragments it answers in three frames."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.closed_with = {}  # by path
        self.extensions = {}
        self.is_started = threading.Event()
        threading.Thread(target=self.loop.run_until_complete, args=(self.serve(),), daemon=True).start()
        assert self.is_started.wait(20)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def serve(self):
        self.stop = self.loop.create_future()
        async with websockets.serve(self.talk, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.is_started.set()
            await self.stop

    async def talk(self, peer, path=None):
        path = path or (peer.path if hasattr(peer, "path") else peer.request.path)
        extensions = getattr(peer, "extensions", None) or getattr(getattr(peer, "protocol", None), "extensions", [])
        self.extensions[path] = [extension.name for extension in extensions]
        with contextlib.suppress(websockets.ConnectionClosed):
            if path == "/ws/close":
                await peer.close(4321, "enough")
            async for message in peer:
                if path == "/ws/fragments":
                    await peer.send([message[:1], message[1:2], message[2:]])
                else:
                    await peer.send(message)
        self.closed_with[path] = peer.close_code

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set_result, None)


def connect(port, path, name="www.example.test", **options):
    """Python's websockets as a client, over TLS through the daemon."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return websockets.connect(f"wss://{name}:{port}{path}", host="127.0.0.1", port=port, ssl=context,
                              server_hostname=name, max_size=None, **options)
