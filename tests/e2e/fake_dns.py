"""A DNS server on loopback whose zones a test changes while it runs. The daemon is pointed at it by
GATEHOUSE_DNS."""
import ipaddress
import socket
import struct
import threading

A, AAAA, SRV = 1, 28, 33


class FakeDns:
    def __init__(self):
        self.zones = {}      # name: list of addresses, or of (priority, weight, port, host) for SRV
        self.ttl = 1
        self.is_silent = False
        self.is_broken = False  # SERVFAIL for everything
        self.asked = 0  # questions, answered or not
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def env(self):
        return {"GATEHOUSE_DNS": f"127.0.0.1:{self.socket.getsockname()[1]}"}

    def close(self):
        self.socket.close()

    def serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(1500)
                self.asked += 1
                if not self.is_silent:
                    self.socket.sendto(self.answer(query), peer)
            except OSError:
                return

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += query[at] + 1
        name = ".".join(labels).lower()
        kind, = struct.unpack_from("!H", query, at + 1)
        question = query[12:at + 5]
        if self.is_broken:
            return query[:2] + struct.pack("!5H", 0x8182, 1, 0, 0, 0) + question
        entries = self.zones.get(name)
        records = [r for r in (self.record(kind, entry) for entry in entries or []) if r is not None]
        data = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, self.ttl, len(r)) + r for r in records)
        flags = 0x8183 if entries is None else 0x8180
        return query[:2] + struct.pack("!5H", flags, 1, len(records), 0, 0) + question + data

    @staticmethod
    def record(kind, entry):
        if isinstance(entry, tuple):
            if kind != SRV:
                return None
            priority, weight, port, host = entry
            name = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
            return struct.pack("!3H", priority, weight, port) + name + b"\0"
        address = ipaddress.ip_address(entry)
        return address.packed if kind == (A if address.version == 4 else AAAA) else None
