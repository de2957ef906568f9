"""Fixtures: workers that are processes of their own."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotask.signals import worker_stopping
from autotask.store import read
from autotask.store.connection import current
from tests.helpers import ROOT, environment, wait_until
from tests.programs import Program

#: Those that were started since the beginning of the test.
_programs: list[Program] = []


def worker_program(folder: Path, words: tuple[str, ...]) -> Program:
    """Start the command of the worker; what is left of it after the test is killed, or it would run tasks of the next ones."""
    program = Program(
        [sys.executable, "-m", "django", "autotask", "worker", *words],
        environment(DJANGO_SETTINGS_MODULE="tests.integration.worker.app.settings", DEBUG="false"),
        folder,
        cwd=ROOT / "testproject",
    )
    _programs.append(program)
    return program


@pytest.fixture(autouse=True)
def no_program_is_left() -> Iterator[None]:
    """End the workers that a test has left, as one does that has failed, and show what they have written."""
    yield
    while _programs:
        program = _programs.pop()
        if not program.has_ended():
            program.kill()
            print(program.output())


@pytest.fixture
def stopping() -> Iterator[threading.Event]:
    """Is set when a worker begins to stop."""
    event = threading.Event()

    def note(**_) -> None:
        event.set()

    worker_stopping.connect(note)
    yield event
    worker_stopping.disconnect(note)


@pytest.fixture
def path(tmp_path) -> Path:
    """The file that tasks of ``stubborn`` write their lines to."""
    return tmp_path / "lines"


@pytest.fixture
def start_processes(transactional_db, tmp_path) -> Iterator[Callable[..., list[Program]]]:
    """Start workers in processes of their own, and return when they are ready; they are stopped after the test."""
    started: list[Program] = []

    def start(number: int, *words: str) -> list[Program]:
        new = []
        for _ in range(number):
            new.append(worker_program(tmp_path, words))
            started.append(new[-1])
        wait_until(lambda: ready(new), what="the entry of the workers in the register")
        return new

    def ready(new: list[Program]) -> bool:
        for process in new:
            assert not process.has_ended(), process.output()
        return {process.pid for process in new} <= {worker.pid for worker in read.workers(current())}

    yield start
    statuses = [process.stop() for process in started]
    assert statuses == [0] * len(started), [process.output() for process in started]


@pytest.fixture
def start_crew(transactional_db, tmp_path) -> Iterator[Callable[..., Program]]:
    """Start the command that looks after workers of its own; what is left of it after the test is killed."""
    started: list[Program] = []

    def start(*words: str) -> Program:
        started.append(worker_program(tmp_path, words))
        return started[-1]

    yield start
    for process in started:
        if not process.has_ended():
            process.stop()
