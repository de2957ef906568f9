"""The test project as a running site: start runserver, talk to it over HTTP, and stop it."""

import http.cookiejar
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.show import tether

#: Seconds within which runserver has to answer.
START_TIMEOUT = 60


class WebsiteDown(Exception):
    """runserver does not answer, or has exited by itself."""


class Website:
    """``manage.py runserver`` in its own process group, which ends with us, however we end.

    :ivar key: with which to post to the HTTP API.
    """

    def __init__(self, folder: Path, log: Path, port: int | None = None) -> None:
        self.key = ""
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._folder = folder
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", f"127.0.0.1:{self.port}"],
                cwd=self._folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._tether = tether.tie(self.process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The watcher, which would end the group if we were killed, ends it now.
        tether.cut(self._tether)
        self.process.wait()
        self._tether.wait()

    def wait_until_up(self) -> None:
        """Wait until the site answers.

        :raises WebsiteDown: it exited, or did not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.check()
            try:
                self._open(urllib.request.Request(self.url))
                return
            except urllib.error.HTTPError as error:
                raise WebsiteDown(f"{self.url} answers {error.code}") from error
            except (OSError, TimeoutError):
                time.sleep(0.1)
        raise WebsiteDown(f"runserver does not answer after {START_TIMEOUT} s")

    def check(self) -> None:
        """Raise WebsiteDown if runserver has ended."""
        if self.process.poll() is not None:
            raise WebsiteDown(f"runserver ended with {self.process.returncode}")

    def last_words(self) -> str:
        """Return the last log lines of runserver and its companion."""
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n".join([f"The end of {self.log}:", *(f"    {line}" for line in lines)])

    def owns(self, pid: int | None) -> bool:
        """Whether a process is one of the site's."""
        try:
            return pid is not None and os.getpgid(pid) == self.process.pid
        except ProcessLookupError:
            return False

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Post JSON to the site, and return the JSON of its answer."""
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header(
            "X-CSRFToken", next(cookie.value or "" for cookie in self._cookies if cookie.name == "csrftoken")
        )
        return json.loads(self._open(request))

    def _open(self, request: urllib.request.Request) -> bytes:
        with self._opener.open(request, timeout=20) as answer:
            content: bytes = answer.read()
            return content


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
