#!/usr/bin/env python3
"""A small real HTTP/1.1 server, the helloworld of the quickstart and the end-to-end tests.

    helloworld.py PORT VERSION      prints "listening on PORT" when it accepts connections
"""
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = sys.argv[2]


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "helloworld"
    sys_version = ""

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self):
        length = int(self.headers.get("content-length") or 0)
        if length:
            self.rfile.read(length)
        body = (f"Hello version: {VERSION}, host: {self.headers.get('host')}, "
                f"path: {self.path}\n").encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", int(sys.argv[1])), Hello)
print(f"listening on {server.server_address[1]}", flush=True)
server.serve_forever()
