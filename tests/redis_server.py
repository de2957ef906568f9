"""A real Redis on this machine, for tests that need one; they are skipped where it is not installed."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.helpers import wait_until

PROGRAM = shutil.which("redis-server")

IS_INSTALLED = PROGRAM is not None and find_spec("redis") is not None


class RedisServer:
    """A server that can be stopped and started again, at the same port.

    :ivar url: its address.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None
        words = [PROGRAM, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        wait_until(self._answers, what="Redis")

    def stop(self) -> None:
        """End it, if it runs; it keeps nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RedisServer]:
    """Run a server until the end of a block."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
