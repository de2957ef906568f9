"""A real web server in this process that receives webhooks."""

import http.server
import threading
from typing import Any


class Receiver(http.server.ThreadingHTTPServer):
    """Answers calls with one status after the other, the last one for ever.

    :ivar calls: the headers and the body of each call.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str]]] = [(204, {})]
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def place(self) -> str:
        """The host with the port."""
        return f"127.0.0.1:{self.server_port}"

    def url(self, path: str = "/hook") -> str:
        """Return an address on it."""
        return f"http://{self.place}{path}"

    def get_request(self) -> Any:
        """Accept a connection."""
        request = super().get_request()
        self.connections += 1
        return request

    def close(self) -> None:
        """End it."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
        answers = self.server.answers
        status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.calls.append(({}, b"GET"))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the output of the tests clean."""
