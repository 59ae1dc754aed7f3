"""Ambiguous requests of HTTP/1.1, judged by the bytes that a recording backend saw (HARDENING.md section 4).

Three verdicts. Refused: answered with that status, the connection closed, no byte of it at a backend.
Cut: the head was fine and is at the backend already, what follows is not, so that the backend never
gets a whole message. The same: it has one meaning only, and the backend sees exactly that, in one
framing, with what is behind it as a request of its own. Behind or inside each message a request is
hidden, and nobody may ever see it as one."""
import pytest

from gatehouse import wait_until

HOST = "mobile.example.test"
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: mobile.example.test\r\n\r\n"


@pytest.fixture(scope="module")
def edge(start_edge):
    edge = start_edge(vhosts=[{"host": HOST, "certificate": "site", "http": "serve", "routes": [{"backend": "h1"}]}])
    edge.h1.scripts[None] = record
    return edge


def record(connection, request):
    request.connection = connection
    connection.read_body(request)
    request.is_whole = True
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    return True


# ---- the tables -------------------------------------------------------------------------------
# Messages are text in Latin-1 with %P for the case's own path and %H for the hidden request.

def head(*lines, method="POST", version="1.1"):
    return "\r\n".join([f"{method} %P HTTP/{version}", f"Host: {HOST}", *lines]) + "\r\n\r\n"


REFUSED = []  # (name, message, status)


def refuse(status, name, *messages):
    for message in messages:
        REFUSED.append((f"{name}-{len(REFUSED)}", message, status))


# A length beside a coding, in any order and version: CL.TE, TE.CL.
for first, second in (("Content-Length: 5", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 5"),
                      ("Content-Length: 0", "Transfer-Encoding: chunked"), ("content-length:5", "TRANSFER-ENCODING:CHUNKED"),
                      ("Content-Length: 5", "X: y\r\nTransfer-Encoding: chunked")):
    refuse(400, "length-and-coding", head(first, second) + "0\r\n\r\n%H")
refuse(400, "length-and-coding-of-get", head("Content-Length: 5", "Transfer-Encoding: chunked", method="GET") + "0\r\n\r\n%H")
refuse(400, "coding-in-http-1.0", head("Transfer-Encoding: chunked", version="1.0") + "0\r\n\r\n%H",
       head("Connection: keep-alive", "Transfer-Encoding: chunked", version="1.0") + "0\r\n\r\n%H")

# TE.TE: spellings that one parser takes for chunked and another does not. Each alone and beside a length.
CODINGS = {
    400: ["Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
          "X: y\r\n Transfer-Encoding: chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding\r\n : chunked",
          "Transfer-Encoding:\n chunked", "X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked",
          "X: y\r\n\rTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r", "Transfer-Encoding: chunked\n",
          "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: \x0cchunked", "Transfer-Encoding: chunked\x0b",
          "Transfer-Encoding: chunked\x00", "Transfer-Encoding: \x00chunked", "Transfer-Encoding: \x01chunked",
          "Transfer-Encoding: chunked\x7f", "Transfer-Encoding: \x1bchunked", "Transfer-Encoding: chunk\x08ed",
          "Transfer-Encoding: \xa0chunked", "Transfer-Encoding: chunked\xa0", "Transfer-Encoding: ch\xfcnked",
          "Transfer-Encoding: \xef\xbb\xbfchunked", "Transf\x82r-Encoding: chunked", "Transfer\x00-Encoding: chunked",
          "Transfer-Encoding\x00: chunked", "Transfer-Encoding\xa0: chunked", "Transfer Encoding: chunked", "Transfer-Encoding chunked",
          "Transfer-Encoding", "Transfer-Encoding;: chunked", "(Transfer-Encoding): chunked", ": chunked", "Transfer_Encoding: chunked",
          "transfer_encoding: chunked", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: chunked, chunked",
          "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 
          "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
          "Transfer-Encoding: chunked, identity", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: identity, chunked, identity",
          "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,", "Transfer-Encoding: ,", "Transfer-Encoding:", "Transfer-Encoding: ",
          "Transfer-Encoding: chunked;q=1", "Transfer-Encoding: chunked;", "Transfer-Encoding: chunked chunked",
          "Transfer-Encoding: chunked; ext=\"a\"", "Transfer-Encoding: [chunked]", "Transfer-Encoding: chunked/1", "Transfer-Encoding: {}"],
    501: ["Transfer-Encoding: identity", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: x",
          "Transfer-Encoding: xchunked", "Transfer-Encoding: chunk", "Transfer-Encoding: chunkedx",
          "Transfer-Encoding: 'chunked'", "Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: cow, chunked",
          "Transfer-Encoding: identity, chunked", "Transfer-Encoding: trailers"]}
for status, lines in CODINGS.items():
    for line in lines:
        refuse(status, "coding", head(line) + "0\r\n\r\n%H")
        refuse(status, "coding-and-length", head("Content-Length: 5", line) + "0\r\n\r\n%H")

# Lengths that have more than one reading: CL.CL, 0.CL, CL.0.
for line in ("Content-Length: +5", "Content-Length: -5", "Content-Length: -0", "Content-Length: 0x5", "Content-Length: 5h", "Content-Length: 5 5",
             "Content-Length: 5, 5", "Content-Length: 5,5", "Content-Length: 5,6", "Content-Length: 5;", "Content-Length: 5.0",
             "Content-Length: 5e0", "Content-Length: 5_0", "Content-Length: \"5\"", "Content-Length:", "Content-Length: ", "Content-Length: x",
             "Content-Length: 9223372036854775808", "Content-Length: 18446744073709551621", "Content-Length: 4294967301 ,",
             "Content-Length: " + "9" * 40, "Content-Length: 5\x00", "Content-Length: \x0b5", "Content-Length: 5\x0c", "Content-Length: 5\xa0",
             "Content-Length: \xb25", "Content-Length : 5", "Content-Length\t: 5", "Content-Length\x00: 5", " Content-Length: 5",
             "Content-Length:\r\n 5", "Content-Length: 5\r\n 5", "X: y\nContent-Length: 5", "X: y\rContent-Length: 5", "Content-Length 5",
             "Content_Length: 5", "content_length: 5", "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6",
             "Content-Length: 0\r\nContent-Length: 50", "Content-Length: 5\r\nX: y\r\ncontent-length: 0", "Content-Length: 5\r"):
    refuse(400, "length", head(line) + "hello%H")

# Lines and field names.
for line in ("X: y\r\n folded", "X: y\r\n\tfolded", "X:\r\n ", "X : y", "X\t: y", "X", "X y: z", "X\x00: y", "X: a\x00b", "X: a\rb", "X: a\r", "X: a\x08b",
             "X: a\x7fb", ": y", "\x00", "X\xe9: y", "X\"y: z", "X(y): z", "X/y: z", "X@y: z", "X[y]: z", "X{y}: z", "X=y: z", "X,y: z",
             "X: y\r\r", "\rX: y", "X: y\n", "X: y\n\nGET /hidden HTTP/1.1\nHost: mobile.example.test\n"):
    refuse(400, "line", head(line, method="GET") + "%H")
refuse(400, "line-feeds-alone", f"GET %P HTTP/1.1\nHost: {HOST}\n\n%H", f"GET %P HTTP/1.1\r\nHost: {HOST}\n\r\n%H",
       f"GET %P HTTP/1.1\r\nHost: {HOST}\r\n\n%H", f"GET %P HTTP/1.1\nHost: {HOST}\r\n\r\n%H", f"GET %P HTTP/1.1\r\nHost: {HOST}\r\nA: b\n\r\n%H")
refuse(400, "folded-first-field", f"GET %P HTTP/1.1\r\n Host: {HOST}\r\n\r\n%H", f"GET %P HTTP/1.1\r\n\tX: y\r\nHost: {HOST}\r\n\r\n%H",
       f"GET %P HTTP/1.1\r\n \r\nHost: {HOST}\r\n\r\n%H")
refuse(400, "empty-lines-before", f"\r\n\r\nGET %P HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H", f"\nGET %P HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H",
       f"\r\rGET %P HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H", f" \r\nGET %P HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H")

# Request lines.
for line in ("GET  %P HTTP/1.1", "GET %P  HTTP/1.1", "GET\t%P HTTP/1.1", "GET %P\tHTTP/1.1", " GET %P HTTP/1.1", "GET %P HTTP/1.1 ", "GET %P HTTP/1.1\t",
             "GET %P", "GET", "GET %P ", "%P HTTP/1.1", "GET %P HTTP/1.1 HTTP/1.1", "GET %P x HTTP/1.1", "GET %P\x00 HTTP/1.1", "GET\x00 %P HTTP/1.1",
             "GET %P\x0b HTTP/1.1", "GET\x0b%P HTTP/1.1", "GET\x0c%P\x0cHTTP/1.1", "GET\xa0%P HTTP/1.1", "GET %P\xff HTTP/1.1", "GET %P\rHTTP/1.1",
             "GET %P\r HTTP/1.1", "GE:T %P HTTP/1.1", "G\"ET %P HTTP/1.1", "GET: %P HTTP/1.1", "{GET} %P HTTP/1.1", "GET %P http/1.1", "GET %P HTTP/1.1x",
             "GET %P HTTP/01.1", "GET %P HTTP/1.01", "GET %P HTTP/1", "GET %P HTTP/1.", "GET %P HTTP/.1", "GET %P HTTP/1,1", "GET %P HTTP /1.1", "GET %P HTTP\\1.1",
             "GET %P HTTP/+1.1", "GET %P HTTP/1.1;", "GET %P TTP/1.1", "GET %P HTTPS/1.1", "GET %P ICY/1.1", "GET %P HTTP/\xb2.1",
             "GET %P#a HTTP/1.1", "GET %P?a#b HTTP/1.1", "GET a%P HTTP/1.1", "GET * HTTP/1.1", "GET *%P HTTP/1.1", "GET ?a=%P HTTP/1.1",
             "GET http://%P HTTP/1.1", "GET http:%P HTTP/1.1", "GET http://a@mobile.example.test%P HTTP/1.1",
             "GET http://mobile.example.test:x%P HTTP/1.1", "GET ftp://mobile.example.test%P HTTP/1.1", "GET //%P@ HTTP/1.1 x",
             "GET http://mobile.example.test\\%P HTTP/1.1", "GET http://mobile.example.test#%P HTTP/1.1", "GET http://[::1%P HTTP/1.1"):
    refuse(400, "request-line", f"{line}\r\nHost: {HOST}\r\n\r\n%H")
for version in ("0.9", "1.2", "1.9", "2.0", "3.0", "9.9"):
    refuse(505, "version", head(method="GET", version=version) + "%H")
refuse(505, "preface-of-http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%H")
refuse(501, "connect", f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H", f"CONNECT %P HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H",
       f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello%H")
refuse(421, "https-on-the-plain-port", f"GET https://{HOST}%P HTTP/1.1\r\nHost: {HOST}\r\n\r\n%H")

# Host.
for hosts in ("", "Host:", "Host: ", f"Host: {HOST}\r\nHost: {HOST}", f"Host: {HOST}\r\nHost: other.test", f"Host: {HOST}\r\nhost:", f"Host: {HOST}, other.test",
              f"Host: {HOST} other.test", f"Host: a@{HOST}", f"Host: {HOST}:", f"Host: {HOST}:x", f"Host: {HOST}:0", f"Host: {HOST}:99999", f"Host: {HOST}:80:80",
              f"Host: {HOST}/x", f"Host: {HOST}?x", f"Host: {HOST}#x", f"Host: http://{HOST}", f"Host: {HOST}\\x", f"Host: {HOST}\x00", f"Host: {HOST}\x7f",
              "Host: [::1", "Host: [::1]x", "Host: [zz]", f"Host : {HOST}", f" Host: {HOST}", f"Host: {HOST}%00", "Host: \xe9.example.test", "Host: a;b", "Host: :80"):
    refuse(400, "host", f"GET %P HTTP/1.1\r\n{hosts}{'' if not hosts else chr(13) + chr(10)}\r\n%H")
refuse(400, "absolute-form-and-two-hosts", f"GET http://{HOST}%P HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n%H")
refuse(400, "absolute-form-without-host", f"GET http://{HOST}%P HTTP/1.1\r\n\r\n%H")

# Expect.
for value in ("100-continues", "100-continue, 100-continue", "100-continue;a=b", "200-ok", "", "y 100-continue", "100 continue", "x", "100-continue\r\nExpect: x",
              "100-continue\r\nExpect: 100-continue"):
    refuse(417, "expect", head("Content-Length: 5", f"Expect: {value}") + "%H")
for line in ("Expect : 100-continue", "Expect: 100-continue\x00", "Expect: 100-continue\r\n ", "Expect: 100-continue\n"):
    refuse(400, "expect", head("Content-Length: 5", line) + "%H")
refuse(400, "connection", head("Connection: " + ", ".join(f"x{i}" for i in range(40)), method="GET") + "%H")


CUT = []  # (name, head, what follows): judged as 400


def cut(name, *bodies):
    for body in bodies:
        CUT.append((f"{name}-{len(CUT)}", body))


cut("chunk-size", "x\r\n", "-5\r\nhello\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n", " 5\r\nhello\r\n", "5 \r\nhello\r\n", "\t5\r\nhello\r\n", "5\t\r\nhello\r\n", "\r\n5\r\nhello\r\n", "5h\r\nhello\r\n",
    "5.0\r\nhello\r\n", "5_0\r\nhello\r\n", "\"5\"\r\nhello\r\n", "5\x00\r\nhello\r\n", "\x005\r\nhello\r\n", "5\x0b\r\nhello\r\n", "5\xa0\r\nhello\r\n", "5,5\r\nhello\r\n", "\xb2\r\nhe\r\n", "G\r\n", ";a\r\n")
cut("chunk-size-overflow", "10000000000000005\r\nhello\r\n", "FFFFFFFFFFFFFFFF\r\nhello\r\n", "8000000000000000\r\nhello\r\n", "100000000000000005\r\nhello\r\n", "00000000000000005\r\nhello\r\n", "0" * 40 + "\r\n\r\n")
cut("chunk-line-end", "5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\r\nhello\r\n", "5\n\nhello\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "5\r\nhello\n\r0\r\n\r\n", "5\r\nhello0\r\n\r\n")
cut("chunk-spill", "5\r\nhello!\r\n0\r\n\r\n", "5\r\nhell\r\n0\r\n\r\n%H", "5\r\nhelloGET /hidden HTTP/1.1\r\n\r\n", "5\r\nhelloXX0\r\n\r\n%H", "5\r\nhello\r\nX0\r\n\r\n%H")
cut("chunk-extension-term-ext", "5;\nhello\r\n0\r\n\r\n", "5;a\nhello\r\n0\r\n\r\n%H", "5;a\nX\r\nhello\r\n0\r\n\r\n%H", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n%H", "5;\n\r\nhello\r\n", "5;a\rX\r\nhello\r\n0\r\n\r\n%H", "5;a\r\r\nhello\r\n")
cut("chunk-extension-ext-term", "5\r\nhello\r\n0;\n\r\n%H", "5\r\nhello\r\n0;a\n\r\n%H", "5\r\nhello\n;a\r\n0\r\n\r\n%H", "5\r\nhello\r\n0\n\r\n%H", "5\r\nhello\r\n0;\r%H\r\n")
cut("chunk-extension", "5 ;\r\nhello\r\n", "5;;\r\nhello\r\n", "5;a=\r\nhello\r\n", "5;=a\r\nhello\r\n", "5;a=\"b\r\nhello\r\n", "5;a=b c\r\nhello\r\n", "5;a\x00\r\nhello\r\n", "5;\x01\r\nhello\r\n", "5;(\r\nhello\r\n",
    "5 a\r\nhello\r\n", "5;a," + "\r\nhello\r\n", "5;" + "a" * 20000 + "\r\nhello\r\n", "1;" + "a" * 9000 + "\r\nx\r\n1;" + "a" * 9000 + "\r\nx\r\n")
cut("trailers", "0\r\nContent-Length: 5\r\n\r\n%H", "0\r\nTransfer-Encoding: chunked\r\n\r\n%H", "0\r\nHost: other.test\r\n\r\n%H", "0\r\n X: y\r\n\r\n%H", "0\r\nX: y\r\n z\r\n\r\n%H", "0\r\nX : y\r\n\r\n%H", "0\r\nX\r\n\r\n%H",
    "0\r\nX: y\n\r\n%H", "0\r\nX: y\r\n\n%H", "0\r\nX: a\x00b\r\n\r\n%H", "0\r\nX: a\rb\r\n\r\n%H", "0\r\n\n%H", "0\r\n\r%H", "0\r\nGET /hidden HTTP/1.1\r\nHost: mobile.example.test\r\n\r\n")


SAME = {}  # name: (message, what the backend sees: method, target, body, fields that must be there, names that must not)


def same(name, message, method="POST", target="%P", body="", fields=None, absent=()):
    SAME[name] = (message, method, target, body, fields or {}, absent)


same("chunked-in-any-case", head("Transfer-Encoding: ChUnKeD") + "5\r\nhello\r\n0\r\n\r\n", body="hello")
same("chunked-with-white-space", head("Transfer-Encoding:\t chunked \t") + "5\r\nhello\r\n0\r\n\r\n", body="hello")
same("chunked-without-white-space", head("transfer-encoding:chunked") + "5\r\nhello\r\n0\r\n\r\n", body="hello")
same("chunk-extensions-are-dropped", head("Transfer-Encoding: chunked") + "5;a=b; c=\"d\\\"e\";f\r\nhello\r\n0;x\r\n\r\n", body="hello")
same("chunk-sizes-in-hexadecimal", head("Transfer-Encoding: chunked") + "000b\r\nhello hello\r\nA\r\n0123456789\r\n00\r\n\r\n", body="hello hello0123456789")
same("a-request-inside-a-chunk", head("Transfer-Encoding: chunked") + f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n", body=HIDDEN)
same("a-request-inside-a-length", head(f"Content-Length: {len(HIDDEN)}") + HIDDEN, body=HIDDEN)
same("a-request-inside-a-get", head(f"Content-Length: {len(HIDDEN)}", method="GET") + HIDDEN, method="GET", body=HIDDEN)
same("te.0", head("Transfer-Encoding: chunked", method="OPTIONS") + f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n", method="OPTIONS", body=HIDDEN)
same("te.0-of-head", head("Transfer-Encoding: chunked", method="DELETE") + f"{len(HIDDEN):x}\r\n{HIDDEN}\r\n0\r\n\r\n", method="DELETE", body=HIDDEN)
same("cl.0", head(f"Content-Length: {len(HIDDEN)}", "Connection: keep-alive") + HIDDEN, body=HIDDEN)
same("length-with-zeros", head("Content-Length: 0005") + "hello", body="hello", fields={"content-length": "5"})
same("length-with-white-space", head("Content-Length: \t5 \t") + "hello", body="hello", fields={"content-length": "5"})
same("length-zero", head("Content-Length: 0"), fields={"content-length": "0"})
same("length-and-nothing", head(), fields={"content-length": "0"})
same("length-in-http-1.0", head("Content-Length: 5", "Connection: keep-alive", version="1.0") + "hello", body="hello")
same("content-encoding-is-no-coding", head("Content-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", body="0\r\n\r\n", fields={"content-encoding": "chunked"})
same("another-field-with-its-name", head("X-Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", body="0\r\n\r\n")
same("nominated-length", head("Connection: content-length", "Content-Length: 5") + "hello", body="hello", fields={"content-length": "5"})
same("nominated-coding", head("Connection: transfer-encoding", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", body="hello")
same("nominated-host", head("Connection: host", method="GET"), method="GET")
same("nominated-forwarding", head("Connection: x-forwarded-for, x-forwarded-proto, x-request-id, via", "X-Forwarded-For: 6.6.6.6", method="GET"), method="GET",
     fields={"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "via": "1.1 gatehouse"})
same("nominated-fields", head("Connection: X-A, close-not, cookie", "X-A: 1", "X-B: 2", "Cookie: c=d", method="GET"), method="GET", fields={"x-b": "2"}, absent=["x-a", "cookie", "connection"])
same("nominated-twice", head("Connection: x-a", "X-A: 1", "Connection: x-b", "X-B: 2", method="GET"), method="GET", absent=["x-a", "x-b", "connection"])
same("hop-by-hop", head("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip, trailers;q=0.5", "Upgrade: foo", method="GET"), method="GET",
     absent=["keep-alive", "proxy-connection", "upgrade"])
same("te-other-than-trailers", head("TE: gzip", method="GET"), method="GET", absent=["te", "connection"])
same("upgrade-to-h2c", head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA", method="GET"), method="GET", absent=["upgrade", "connection", "http2-settings"])
same("upgrade-to-h2c-without-connection", head("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA", method="GET"), method="GET", absent=["upgrade", "connection", "http2-settings"])
same("upgrade-to-tls", head("Connection: upgrade", "Upgrade: TLS/1.0, HTTP/1.1", method="OPTIONS"), method="OPTIONS", absent=["upgrade", "connection"])
same("upgrade-in-http-1.0", head("Connection: upgrade, keep-alive", "Upgrade: websocket", method="GET", version="1.0"), method="GET", absent=["upgrade", "connection"])
same("one-empty-line-before", "\r\n" + head(method="GET"), method="GET")
same("absolute-form-wins", f"GET http://{HOST}%P HTTP/1.1\r\nHost: other.test\r\n\r\n", method="GET", fields={"host": HOST})
same("absolute-form-with-a-port", f"GET http://{HOST}:80%P HTTP/1.1\r\nHost: {HOST}\r\n\r\n", method="GET", fields={"host": f"{HOST}:80"})
same("absolute-form-in-capitals", f"GET HTTP://{HOST.upper()}%P HTTP/1.1\r\nHost: {HOST}\r\n\r\n", method="GET", fields={"host": HOST})
same("host-in-capitals", f"GET %P HTTP/1.1\r\nhOsT: {HOST.upper()}\r\n\r\n", method="GET", fields={"host": HOST})
same("two-slashes", f"GET //%P HTTP/1.1\r\nHost: {HOST}\r\n\r\n", method="GET", target="//%P")
same("escapes-stay", f"GET %P/%2f%2F%0d%0a%00 HTTP/1.1\r\nHost: {HOST}\r\n\r\n", method="GET", target="%P/%2f%2F%0d%0a%00")
same("dot-segments", f"GET /x/../%2e/x/%2E%2e%P HTTP/1.1\r\nHost: {HOST}\r\n\r\n", method="GET")
same("a-method-in-small-letters", f"get %P HTTP/1.1\r\nHost: {HOST}\r\n\r\n", method="get")
same("expect", head("Content-Length: 5", "Expect: 100-Continue") + "hello", body="hello", fields={"expect": "100-continue"})
same("expect-without-a-body", head("Expect: 100-continue", method="GET"), method="GET", absent=["expect"])
same("spoofed-forwarding", head("X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Forwarded-Host: evil", "X-Envoy-Internal: true", method="GET"),
     method="GET", fields={"x-forwarded-for": "127.0.0.1"}, absent=["x_forwarded_for", "x-real-ip", "forwarded", "x-forwarded-host", "x-envoy-internal"])
same("trailers-are-kept-apart", head("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: x\r\nContent_Length: 1\r\nX-T: y\r\n\r\n", body="hello", absent=["authorization", "x-t"])
same("obsolete-text", head("X-T: caf\xe9", method="GET"), method="GET", fields={"x-t": "caf\xe9"})
same("cookies-in-pieces", head("Cookie: a=b", "Cookie: c=d", method="GET"), method="GET", fields={"cookie": "a=b; c=d"})


def test_the_tables_are_as_long_as_promised():
    assert len(REFUSED) + len(CUT) + len(SAME) >= 400


# ---- the judge --------------------------------------------------------------------------------

def fill(text, path):
    return text.replace("%P", path).replace("%H", HIDDEN).encode("latin-1")


def read_all(client):
    client.sock.settimeout(10)
    assert client.ends() or client.buffer
    return client.buffer


def nobody_saw(edge, path):
    assert all(path.encode() not in connection.received for connection in edge.h1.connections), path


def hidden_stayed_hidden(edge):
    seen = [request for request in edge.h1.requests if request.path == "/hidden"]
    for request in seen:  # So that the next case is judged by itself.
        edge.h1.requests.remove(request)
    assert not seen


@pytest.mark.parametrize("name, message, status", REFUSED, ids=[case[0] for case in REFUSED])
def test_refused(edge, name, message, status):
    path = f"/refused/{name}"
    with edge.raw(tls=False, name=HOST) as client:
        client.send(fill(message, path))
        got = read_all(client)
    assert got.startswith(b"HTTP/1.1 %d " % status) and got.count(b"HTTP/1.1 ") == 1, got
    assert b"\r\nconnection: close\r\n" in got
    nobody_saw(edge, path)
    hidden_stayed_hidden(edge)


@pytest.mark.parametrize("name, body", CUT, ids=[case[0] for case in CUT])
def test_cut(edge, name, body):
    path = f"/cut/{name}"
    with edge.raw(tls=False, name=HOST) as client:
        client.send(fill(head("Transfer-Encoding: chunked") + "3\r\none\r\n", path))
        request = edge.h1.request(path)
        client.send(fill(body, path))
        got = read_all(client)
    assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1, got
    assert b"\r\nconnection: close\r\n" in got
    wait_until(lambda: request.connection.sock.fileno() < 0, 10, "the end of the backend connection")
    assert not hasattr(request, "is_whole")
    hidden_stayed_hidden(edge)


@pytest.mark.parametrize("name", SAME)
def test_the_same(edge, name):
    message, method, target, body, fields, absent = SAME[name]
    path = f"/same/{name}"
    with edge.raw(tls=False, name=HOST) as client:
        client.send(fill(message, path) + fill(head(method="GET"), f"/behind/{name}"))
        first, second = client.read(), client.read()
        assert (first.status, second.status) == (200, 200)
    request, = [r for r in edge.h1.requests if r.target == fill(target, path).decode()]
    assert request.trailers == ([("x-t", "y")] if name == "trailers-are-kept-apart" else [])
    assert (request.method, request.body) == (method, body.encode())
    assert edge.h1.request(f"/behind/{name}").body == b""
    assert len(request.all("content-length")) + len(request.all("transfer-encoding")) <= 1
    assert len(request.all("host")) == 1
    for field, value in fields.items():
        assert request[field] == value
    assert not [field for field in absent if request.all(field)]
    hidden_stayed_hidden(edge)
