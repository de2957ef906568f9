"""``python -m benchmarks.pulling --peer PYTHON``: both packages in turns, on one server of PostgreSQL.

PYTHON belongs to an environment with django-simpletask2, django-redis, django-simpletask2-server, gunicorn and psycopg2-binary.
The client comes from there for both. Redis is ``redis-server`` on the path.

Both sites have one worker of gunicorn with 8 threads, connections that last, ``DEBUG = False`` and no middleware. For a fair comparison,
install autotask and django-simpletask2 into one environment, so that Python, Django and driver are the same, and let it be PYTHON, too;
what differs is printed.
"""

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
from typing import Any

from benchmarks.server import DATA, Server, measured_server

ROOT = Path(__file__).parents[2]
KEY = "a-key-of-benchmarks-1234567890"

#: By name: the package, the engine of the client.
SIDES = {
    "autotask": ("autotask", "api"),
    "autotask, engine redis": ("autotask", "redis"),
    "django-simpletask2": ("django_simpletask2", "api"),
    "django-simpletask2, engine redis": ("django_simpletask2", "redis"),
}


def main() -> None:
    """Measure, and print the figures as JSON lines and a summary."""
    options = _parser().parse_args()
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    _say_what_differs(options.peer)
    with measured_server(DATA) as server, _redis() as redis_port:
        for round in range(options.repeat):
            sides = list(SIDES) if round % 2 == 0 else list(reversed(SIDES))
            for side in sides:
                with _Run(server, redis_port, *SIDES[side], options) as run:
                    rates[side].append(run.rate(options.model, options.tasks))
                print(json.dumps({"round": round, "side": side, "tasks_per_s": round_(rates[side][-1])}), flush=True)
        with _Run(server, redis_port, "autotask", "api", options) as run:
            latencies = sorted(run.latencies(options.samples))
            bare, tasks = run.rows(1000, 30)
    for side, found in rates.items():
        print(f"{side:35} {statistics.median(found):8.1f} tasks/s")
    for side in ("django-simpletask2", "django-simpletask2, engine redis"):
        for ours in ("autotask", "autotask, engine redis"):
            ratio = statistics.median(one / other for one, other in zip(rates[ours], rates[side], strict=True))
            print(f"{ours + ' / ' + side:60} {ratio:8.2f} x")
    middle, late = statistics.median(latencies), latencies[int(len(latencies) * 0.95)]
    print(f"commit to answer of get_a_task: p50 {middle:.1f} ms, p95 {late:.1f} ms")
    print(f"1,000 rows by bulk_create(): {1000 * tasks:.0f} ms, bare {1000 * bare:.0f} ms: {tasks / bare:.2f} x")


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.pulling", description=__doc__)
    made.add_argument("--peer", required=True, help="the Python of the environment with django-simpletask2")
    made.add_argument("--model", choices=("hellotask", "twotask"), default="hellotask", help="one step, or two")
    made.add_argument("--tasks", type=int, default=300)
    made.add_argument("--threads", type=int, default=1, help="threads of the client")
    made.add_argument("--repeat", type=int, default=3)
    made.add_argument("--samples", type=int, default=50, help="samples of the latency")
    return made


def _say_what_differs(peer: str) -> None:
    """Print in what the environments of both sides differ."""
    code = (
        "import json, sys, django, gunicorn; from django.db.backends.postgresql.psycopg_any import is_psycopg3;"
        "print(json.dumps({'Python': sys.version, 'Django': django.__version__, 'gunicorn': gunicorn.__version__,"
        " 'psycopg': 3 if is_psycopg3 else 2}))"
    )
    ours, theirs = (
        json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True).stdout)
        for python in (sys.executable, peer)
    )
    for name, value in ours.items():
        if value != theirs[name]:
            print(f"NOT A FAIR COMPARISON: autotask has {name} {value}, django-simpletask2 {theirs[name]}")


def round_(value: float) -> float:
    """Return a figure to print."""
    return round(value, 1)


class _Run:
    """A site with a fresh database, until the end of a block."""

    def __init__(self, server: Server, redis_port: int, package: str, engine: str, options: argparse.Namespace) -> None:
        self._server, self._redis_port, self._engine, self._options = server, redis_port, engine, options
        self._python = sys.executable if package == "autotask" else options.peer
        self._database = f"pulling_{os.getpid()}"
        self._environment = {
            **os.environ,
            **server.environment(self._database),
            "DJANGO_SETTINGS_MODULE": "benchmarks.pulling.site.settings",
            "PULLED_FROM": package,
            "PULL_KEY": KEY,
            "PYTHONPATH": str(ROOT),
            "REDIS_PORT": str(redis_port),
            "PULL_ENGINE": engine,
        }
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Run":
        with self._server.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self._database}")
            connection.execute(f"CREATE DATABASE {self._database}")
        self._stack.callback(self._drop)
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._do("django", "migrate", "--run-syncdb", "--verbosity=0")
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/"
        words = [
            "gunicorn",
            "benchmarks.pulling.site.wsgi",
            f"--bind=127.0.0.1:{port}",
            "--threads=8",
            "--log-level=error",
        ]
        self._start([self._python, "-m", *words])
        self._wait_for_answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rate(self, model: str, tasks: int) -> float:
        """Return the tasks that one client pulls and has done in a second."""
        self._do("benchmarks.pulling.site.make", model, str(tasks))
        self._start_client()
        done = f"SELECT count(done_time), extract(epoch FROM max(done_time) - min(done_time))::float8 FROM site_{model}"
        with self._server.connect(self._database) as connection:
            deadline = time.monotonic() + 300
            while (found := connection.rows(done)[0])[0] < tasks:
                if time.monotonic() > deadline:
                    raise SystemExit(f"only {found[0]} tasks were done in time")
                time.sleep(0.2)
        return (tasks - 1) / float(found[1])

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

    def _start_client(self) -> None:
        config = {
            "server": self.url + "django-simpletask2/",
            "redis": f"redis://127.0.0.1:{self._redis_port}/0?decode_responses=True",
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
        self._start([command, "-c", str(self._folder / "client.yml"), "--no-daemon", "start"], cwd=self._folder)

    def _do(self, module: str, *words: str) -> None:
        subprocess.run([self._python, "-m", module, *words], env=self._environment, cwd=ROOT, check=True)

    def _start(self, command: list[str], cwd: Path = ROOT) -> None:
        with (self._folder / f"{Path(command[0]).name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self._environment, cwd=cwd, stdout=log, stderr=log, start_new_session=True
            )
        self._stack.callback(_end, process)

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
def _redis() -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("benchmarks.pulling: redis-server is not installed")
    port = _free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
