"""One side of the comparison: a site with a fresh database, until the end of a block."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pulling import burden
from benchmarks.server import Server
from benchmarks.sql import Connection

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-benchmarks-1234567890"


class Redis(NamedTuple):
    """The server of Redis."""

    pid: int
    port: int


class Pulled(NamedTuple):
    """What came of one run.

    :ivar rate: tasks that were done in a second.
    :ivar burden: milliseconds of CPU for each task, by the parts of :mod:`benchmarks.pulling.burden`.
    """

    rate: float
    burden: dict[str, float]


class Run:
    """A site with a fresh database, until the end of a block.

    :param package: what serves the client; see ``settings.py`` of the site.
    :param engine: where the client takes its tasks: ``api`` or ``redis``.
    """

    def __init__(self, server: Server, redis: Redis, package: str, engine: str, options: argparse.Namespace) -> None:
        self._server, self._redis, self._options = server, redis, options
        self._package, self._engine = package, engine
        self._python = sys.executable if package == "autotask" else options.peer
        self._database = f"pulling_{os.getpid()}"
        self._environment = {
            **os.environ,
            **server.environment(self._database),
            "DJANGO_SETTINGS_MODULE": "benchmarks.pulling.site.settings",
            "PULLED_FROM": package,
            "PULL_KEY": KEY,
            "PYTHONPATH": str(ROOT),
            "REDIS_PORT": str(redis.port),
            "PULL_ENGINE": engine,
        }
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Run":
        with self._server.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self._database}")
            connection.execute(f"CREATE DATABASE {self._database}")
        self._stack.callback(self._drop)
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._do("django", "migrate", "--run-syncdb", "--verbosity=0")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        words = [
            "gunicorn",
            "benchmarks.pulling.site.wsgi",
            f"--bind=127.0.0.1:{port}",
            "--threads=8",
            "--log-level=error",
        ]
        self._web = self._start([self._python, "-m", *words])
        self._wait_for_answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pulled(self) -> Pulled:
        """Have one client pull all tasks, and return how fast that was."""
        model, tasks = self._options.model, self._options.tasks
        self._do("benchmarks.pulling.site.make", model, str(tasks))
        client = self._start_client()
        with self._server.connect(self._database) as connection:
            # The client and the site have begun by then.
            begun, _ = self._wait(connection, max(tasks // 10, 1))
            before = burden.used(client, self._web, self._redis.pid, connection)
            done, seconds = self._wait(connection, tasks)
            after = burden.used(client, self._web, self._redis.pid, connection)
        each = {part: (after[part] - before[part]) * 1000 / (done - begun) for part in burden.PARTS}
        return Pulled((done - 1) / seconds, each)

    def rows(self, count: int, rounds: int) -> tuple[float, float]:
        """Return the median seconds of ``bulk_create()`` without and with tasks."""
        words = [self._python, "-m", "benchmarks.pulling.site.rows", str(count), str(rounds)]
        done = subprocess.run(words, env=self._environment, cwd=ROOT, check=True, capture_output=True, text=True)
        found: dict[str, list[float]] = json.loads(done.stdout)
        return statistics.median(found["bare"]), statistics.median(found["tasks"])

    def latencies(self, samples: int) -> list[float]:
        """Return milliseconds from a commit to the answer of a client that waits."""
        words = [self._python, "-m", "benchmarks.pulling.site.latency", self.url, str(samples)]
        done = subprocess.run(words, env=self._environment, cwd=ROOT, check=True, capture_output=True, text=True)
        found: list[float] = json.loads(done.stdout)
        return found

    def _wait(self, connection: Connection, tasks: int) -> tuple[int, float]:
        """Wait until so many tasks are done; return how many are, and the seconds between the first and the last one."""
        deadline = time.monotonic() + 300
        while (found := self._done(connection))[0] < tasks:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {found[0]} tasks were done in time")
            time.sleep(0.1)
        return found

    def _done(self, connection: Connection) -> tuple[int, float]:
        if self._package == "bare":
            with urllib.request.urlopen(f"{self.url}done", timeout=10) as answer:
                found = json.load(answer)
        else:
            found = connection.rows(
                "SELECT count(done_time), coalesce(extract(epoch FROM max(done_time) - min(done_time)), 0)::float8"
                f" FROM site_{self._options.model}"
            )[0]
        return int(found[0]), float(found[1])

    def _start_client(self) -> int:
        config = {
            "server": self.url + "django-simpletask2/",
            "redis": f"redis://127.0.0.1:{self._redis.port}/0?decode_responses=True",
            "aclkey": KEY,
            "channels": "default",
            "task-pull-engine": self._engine,
            "threads": self._options.threads,
            "idle-sleep": 0,
            "error-sleep": 1,
            "loglevel": "ERROR",
        }
        (self._folder / "client.yml").write_text(json.dumps(config))  # JSON is YAML
        command = str(Path(self._options.peer).parent / "django-simpletask2-server")
        return self._start([command, "-c", str(self._folder / "client.yml"), "--no-daemon", "start"], cwd=self._folder)

    def _do(self, module: str, *words: str) -> None:
        subprocess.run([self._python, "-m", module, *words], env=self._environment, cwd=ROOT, check=True)

    def _start(self, command: list[str], cwd: Path = ROOT) -> int:
        with (self._folder / f"{Path(command[0]).name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self._environment, cwd=cwd, stdout=log, stderr=log, start_new_session=True
            )
        self._stack.callback(_end, process)
        return process.pid

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{self.url}django-simpletask2/do_auto_reset", b"{}", timeout=10).close()
                return
            time.sleep(0.1)
        raise SystemExit("the site does not answer")

    def _drop(self) -> None:
        with self._server.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)")


def _end(process: "subprocess.Popen[Any]") -> None:
    process.terminate()
    try:
        process.wait(20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def own_redis() -> Iterator[Redis]:
    """A server of Redis in memory, until the end of the block."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("benchmarks.pulling: redis-server is not installed")
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield Redis(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
