"""Fixtures: workers that are processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotask.store import read
from autotask.store.connection import current
from tests import tether
from tests.helpers import ROOT, environment, patient, wait_until


class WorkerProcess:
    """A worker that was started for a test."""

    def __init__(self, log: Path, words: tuple[str, ...]) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "django", "autotask", "worker", *words],
                env=environment(DJANGO_SETTINGS_MODULE="tests.integration.worker.app.settings", DEBUG="false"),
                cwd=ROOT / "testproject",
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid
        tether.hold_process(self.pid)

    @property
    def output(self) -> str:
        """What it has written."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def wait(self, seconds: float = 20.0) -> int:
        """Wait until it ends by itself, and return its exit status."""
        return self._process.wait(patient(seconds))

    def stop(self) -> int:
        """Tell it to leave and return its exit status; kill it if it does not leave."""
        if not self.has_ended():
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self._process.wait(patient(15))
        finally:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def start_processes(transactional_db, tmp_path) -> Iterator[Callable[..., list[WorkerProcess]]]:
    """Start workers in processes of their own, and return when they are ready; they are stopped after the test."""
    started: list[WorkerProcess] = []

    def start(number: int, *words: str) -> list[WorkerProcess]:
        new = []
        for _ in range(number):
            new.append(WorkerProcess(tmp_path / f"worker{len(started)}.log", words))
            started.append(new[-1])
        wait_until(lambda: ready(new), what="the entry of the workers in the register")
        return new

    def ready(new: list[WorkerProcess]) -> bool:
        for process in new:
            assert not process.has_ended(), process.output
        return {process.pid for process in new} <= {worker.pid for worker in read.workers(current())}

    yield start
    statuses = [process.stop() for process in started]
    assert statuses == [0] * len(started), [process.output for process in started]


@pytest.fixture
def start_crew(transactional_db, tmp_path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start the command that looks after workers of its own; what is left of it after the test is killed."""
    started: list[WorkerProcess] = []

    def start(*words: str) -> WorkerProcess:
        started.append(WorkerProcess(tmp_path / f"crew{len(started)}.log", words))
        return started[-1]

    yield start
    for process in started:
        if not process.has_ended():
            process.stop()
