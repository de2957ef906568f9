"""Carry out orders on one server, each on its own database and in its own process."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import probe
from benchmarks.errors import BenchmarkError
from benchmarks.order import Order
from benchmarks.server import Server

ROOT = Path(__file__).parent.parent

#: Seconds that a driver has beyond the limit of its order: to start, to fill tables, to stop workers.
_MORE = 600.0

Figures = dict[str, Any]


class RunFailed(BenchmarkError):
    """A driver that failed, or a queue without the feature to measure."""


class Session:
    """A server, and the databases on it that orders start from.

    :param pythons: for each peer the interpreter of its environment; the others run in this one.
    :param checkouts: by the name that orders have for it, another checkout of autotask, with benchmarks of its own.
    :param log: the output of drivers and workers is appended to this file.
    """

    def __init__(
        self,
        server: Server,
        log: Path,
        pythons: Mapping[str, Path] | None = None,
        checkouts: Mapping[str, Path] | None = None,
    ) -> None:
        self.server = server
        self._log = log
        self._pythons = pythons or {}
        self._checkouts = checkouts or {}
        self._templates: dict[Order, str] = {}
        self._count = 0
        self._admin = server.connect()
        self._probe = _probe_file()

    def close(self) -> None:
        """Drop all databases, wherever it was interrupted."""
        self._admin.close()
        self._admin = self.server.connect()
        for number in range(1, self._count + 1):
            self._drop(self._name(number))
        self._admin.close()
        self._probe.unlink()

    def run(self, order: Order) -> Figures:
        """Measure and return the figures.

        :raises RunFailed: the driver failed; the message has its last line.
        """
        template = self._template(order.preparation)
        name = self._create(template)
        try:
            return self._drive(order, name)
        finally:
            self._drop(name)

    def forget(self) -> None:
        """Drop the databases that orders start from."""
        for name in self._templates.values():
            self._drop(name)
        self._templates.clear()

    def _template(self, preparation: Order) -> str:
        """Return the name of a database to start from, made when first needed."""
        if preparation not in self._templates:
            name = self._create("template1")
            try:
                self._drive(preparation, name)
            except BaseException:
                self._drop(name)
                raise
            self._templates[preparation] = name
        return self._templates[preparation]

    def _create(self, template: str) -> str:
        self._count += 1
        name = self._name(self._count)
        # Copied as files: through the WAL, a large database would take long, and keep the server busy afterwards.
        strategy = " STRATEGY file_copy" if self._admin.value("SHOW server_version_num") >= "150000" else ""
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}")
        return name

    def _name(self, number: int) -> str:
        return f"autotask_benchmark_{os.getpid()}_{number}"

    def _drop(self, name: str) -> None:
        self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _drive(self, order: Order, database: str) -> Figures:
        checkout = self._checkouts.get(order.peer)
        # Over there it is called autotask, too.
        sent = dataclasses.replace(order, peer="autotask") if checkout else order
        command = [str(self._pythons.get(order.peer, sys.executable)), "-m", "benchmarks.drivers", sent.to_json()]
        with self._log.open("ab") as log:
            log.write(f"\n=== {order.to_json()}\n".encode())
            log.flush()
            began = log.tell()
            process = subprocess.Popen(
                command,
                # Python looks there first, even before PYTHONPATH.
                cwd=checkout or ROOT,
                env=self._environment(database, checkout or ROOT),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
            # A companion inherits the standard output of its driver, so this waits for its end, too.
            with _killed_on_error(process):
                answer, _ = process.communicate(timeout=order.limit + _MORE)
        if process.returncode:
            raise RunFailed(f"{order.label} {order.metric} failed: {self._last_words(began)}")
        figures: Figures = json.loads(answer.splitlines()[-1])
        if "unsupported" in figures:
            raise RunFailed(f"{order.label} cannot be measured: {figures['unsupported']}")
        return figures

    def _environment(self, database: str, root: Path) -> dict[str, str]:
        # No address but this one.
        kept = {name: text for name, text in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
        return {
            **kept,
            **self.server.environment(database),
            probe.VARIABLE: str(self._probe),
            # Companions and workers have to find the same modules and settings.
            "PYTHONPATH": str(root),
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        }

    def _last_words(self, began: int) -> str:
        with self._log.open("rb") as log:
            log.seek(began)
            lines = log.read().decode(errors="replace").strip().splitlines()
        # The line that names the exception; the lines after it may only point into an SQL statement.
        named = [line for line in lines if re.match(r"(\w+\.)*[A-Z]\w+[a-z]: |\w+Error\b", line)]
        return f"{(named or lines or ['it said nothing'])[-1]} (--log FILE keeps what it wrote)"


@contextmanager
def session(
    server: Server,
    log: Path,
    pythons: Mapping[str, Path] | None = None,
    checkouts: Mapping[str, Path] | None = None,
) -> Iterator[Session]:
    """A session that leaves nothing behind on the server."""
    opened = Session(server, log, pythons, checkouts)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _killed_on_error(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a driver with its workers on errors and Ctrl-C: their process group does not get the signal."""
    try:
        yield
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _probe_file() -> Path:
    memory = Path("/dev/shm")
    descriptor, name = tempfile.mkstemp(prefix="benchmark-", dir=memory if memory.is_dir() else None)
    os.close(descriptor)
    return Path(name)
