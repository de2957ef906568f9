"""Small sites on this machine for requests, each in a thread of its own: well-behaved ones and others."""

import contextlib
import gzip
import http.server
import json
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator


class Site(http.server.BaseHTTPRequestHandler):
    """Answers by path, and notes each request in the attribute ``seen`` of its server."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer a request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers.items()), body))
        path, _, rest = self.path.partition("?")
        status, headers, out = 200, {"Content-Type": "text/plain"}, b"hello"
        if path == "/echo":
            out = json.dumps({"method": self.command, "body": body.decode("latin-1")}).encode()
        elif path == "/to":
            status, headers["Location"], out = 302, rest, b"elsewhere"
        elif path == "/loop":
            status, headers["Location"], out = 302, "/loop", b""
        elif path == "/status":
            status = int(rest)
        elif path == "/gzip":
            headers["Content-Encoding"], out = "gzip", gzip.compress(b"was zipped")
        elif path == "/bomb":
            headers["Content-Encoding"], out = "gzip", bomb(200)
        elif path == "/bombs":
            headers["Content-Encoding"], out = "gzip, gzip", gzip.compress(bomb(200))
        elif path == "/broken":
            headers["Content-Encoding"], out = "gzip", b"not zipped"
        elif path == "/long":
            out = b"x" * int(rest)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(out)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args: object) -> None:
        """Keep the output of the tests clean."""


def bomb(megabytes: int) -> bytes:
    """Return so many megabytes of zeros, packed into a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, address: object) -> None:
        """A client that hangs up is part of the tests."""


@contextlib.contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serve :class:`Site` on a free port of 127.0.0.1."""
    server = _Quiet(("127.0.0.1", 0), Site)
    server.seen = []
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def rude(speak: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give each connection to a function, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listening.accept()
                    connection.settimeout(10)
                    with connection, contextlib.suppress(OSError):
                        speak(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def drip(head: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Return a function that says something and goes on slowly, without an end."""

    def speak(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(head)
        connection.settimeout(0.05)
        while True:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    return
            connection.sendall(drop)

    return speak
