"""The unmodified client of django-simpletask2, as a program of a test, and a relay that notes what it says."""

import contextlib
import http.server
import json
import sys
import threading
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.acceptance.site import Server, Site

IS_INSTALLED = find_spec("django_simpletask2_server") is not None

KEY = "a-key-for-pulling-1234567890"
PATH = "django-simpletask2/"


def client(site: Site, url: str, name: str = "client", **config: Any) -> Server:
    """Start the client.

    :param url: of the server, with a slash at the end.
    :param name: of the files that it writes.
    """
    config = {
        "server": url + PATH,
        "aclkey": KEY,
        "channels": "default",
        "task-pull-engine": "api",
        "idle-sleep": 0,
        "error-sleep": 1,
        "auto-reset-task-interval": 5,
        "loglevel": "INFO",
        "pidfile": f"{name}.pid",
        **config,
    }
    file = site.folder / f"{name}.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    command = str(Path(sys.executable).parent / "django-simpletask2-server")
    return site.program("-W", "ignore", command, "-c", str(file), "--no-daemon", "start")


class Relay(http.server.ThreadingHTTPServer):
    """Passes requests on to a server, and notes path, body and answer of each.

    :ivar said: the tuples, in order; without those whose number depends on time.
    :ivar asked: how many requests were answered.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = server.url
        self.said: list[tuple[str, Any, Any]] = []
        self.asked = 0
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def note(self, path: str, asked: Any, answered: Any) -> None:
        """Note an exchange."""
        self.asked += 1
        path = path.rpartition("/")[2]
        if path == "do_task" or (path == "get_a_task" and answered["result"]):
            self.said.append((path, asked, answered))


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Relay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {"Content-Type": self.headers["Content-Type"]}
        request = urllib.request.Request(self.server.upstream + self.path.lstrip("/"), body, headers, method="POST")
        with contextlib.suppress(OSError):  # a server that was stopped
            with urllib.request.urlopen(request, timeout=100) as answer:
                text = answer.read()
            self.server.note(self.path, json.loads(body), json.loads(text))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        """Keep the output of the tests clean."""


class Page(http.server.BaseHTTPRequestHandler):
    """The site that tasks want to read."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write("<h1>grüß 你好</h1>".encode())

    def log_message(self, *args: object) -> None:
        """As above."""


@contextlib.contextmanager
def serving(server: Any) -> Iterator[Any]:
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
