"""What open dashboards cost that refresh themselves: the CPU time of a web process and of PostgreSQL together."""

import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.drivers.workers import cpu_seconds

#: Seconds between two refreshes, as in live.js.
EVERY = 5.0

#: Seconds in which the server starts, and each viewer has refreshed once.
_WARM_UP = 2 * EVERY


@dataclass(frozen=True, slots=True)
class Cost:
    """What viewers cost.

    :ivar web: share of one core that the web process needed.
    :ivar server: share of one core that PostgreSQL needed.
    :ivar times: milliseconds of each answer.
    """

    web: float
    server: float
    times: Sequence[float]

    def __str__(self) -> str:
        p95 = statistics.quantiles(self.times, n=20)[-1]
        return (
            f"{self.web + self.server:.1%} of one core (web process {self.web:.1%}, PostgreSQL {self.server:.1%}); "
            f"{len(self.times)} answers, median {statistics.median(self.times):.1f} ms, p95 {p95:.1f} ms"
        )


@dataclass(slots=True)
class _Viewers:
    port: int
    address: str
    cookies: Sequence[str]
    ended: threading.Event = field(default_factory=threading.Event)
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def look(self, number: int) -> None:
        """Refresh one page again and again; the viewers take turns."""
        due = time.monotonic() + EVERY * number / len(self.cookies)
        headers = {"X-Autotask-Live": "1", "Cookie": f"sessionid={self.cookies[number]}"}
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            due += EVERY
            began = time.perf_counter()
            response = _get(self.port, self.address, headers)
            self.times.append((time.perf_counter() - began) * 1000)
            if response.status != 200:
                self.failures.append(f"status {response.status}")
            if given := response.getheader("X-Autotask-Pass"):
                headers["X-Autotask-Pass"] = given


def cost(address: str, cookies: Sequence[str], seconds: float, postmaster: int, settings: str) -> Cost:
    """Let viewers with these sessions look at a page, and return what they cost.

    :param postmaster: the process of PostgreSQL.
    :param settings: the module with the settings of the site.
    """
    with _served(settings) as (web, port):
        viewers = _Viewers(port, address, cookies)
        threads = [threading.Thread(target=viewers.look, args=(number,)) for number in range(len(cookies))]
        for thread in threads:
            thread.start()
        try:
            time.sleep(_WARM_UP)
            viewers.times.clear()
            server = psutil.Process(postmaster)
            before, began = (cpu_seconds(web), cpu_seconds(server)), time.monotonic()
            time.sleep(seconds)
            passed = time.monotonic() - began
            after = (cpu_seconds(web), cpu_seconds(server))
            times = list(viewers.times)
        finally:
            viewers.ended.set()
            for thread in threads:
                thread.join()
    if viewers.failures:
        raise RuntimeError(f"{address}: {viewers.failures[0]}")
    return Cost((after[0] - before[0]) / passed, (after[1] - before[1]) / passed, times)


def _get(port: int, address: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", address, headers=headers)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


@contextlib.contextmanager
def _served(settings: str) -> Iterator[tuple[psutil.Process, int]]:
    """Run the test project on one process of gunicorn with threads; yield the process and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "testproject.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    options = ["--workers=1", "--threads=4", "--log-level=warning"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DJANGO_SETTINGS_MODULE": settings}
    started = subprocess.Popen([*command, *options], env=environment)
    try:
        _wait_for_answer(started, port)
        yield psutil.Process(started.pid), port
    finally:
        started.terminate()
        started.wait()


def _wait_for_answer(started: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            _get(port, "/nothing/", {})
            return
        except OSError:
            if started.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
