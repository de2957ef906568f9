"""Fixtures: worker processes that host the background workers of the app, and the lines that these write."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from autotask import registry
from autotask.background.workers import BackgroundWorker
from autotask.store import read
from tests.helpers import ROOT, environment, wait_until
from tests.integration.background.app import tasks
from tests.programs import Program

# Other tests run workers in this process, which would host them.
_DEFINITIONS = {each.definition.name: each.definition for each in tasks.ALL}
for _name in _DEFINITIONS:
    registry._definitions.pop(_name)


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    """Have this process know the background workers of the app, and forget those that a test has declared."""
    before = dict(registry._definitions)
    registry._definitions.update(_DEFINITIONS)
    yield
    registry._definitions.clear()
    registry._definitions.update(before)


class Lines:
    """The lines that background workers have written so far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self, word: str) -> list[list[Any]]:
        """Return the lines with this first word: time, process, word, and more."""
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if line[2] == word]

    def wait_for(self, word: str, count: int = 1, seconds: float = 20.0) -> list[list[Any]]:
        """Wait until there are so many lines, and return them."""
        return wait_until(
            lambda: found if len(found := self.all(word)) >= count else None, seconds, f"{count} lines {word}"
        )

    def words(self, word: str) -> list[Any]:
        """Return the first further word of each line."""
        return [line[3] for line in self.all(word)]


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """The lines of all workers of this test."""
    return Lines(tmp_path / "lines")


Start = Callable[..., Program]


@pytest.fixture
def start(transactional_db: None, tmp_path: Path, lines: Lines) -> Iterator[Start]:
    """Start a worker as a process of its own, and return it when it is in the register; it is stopped after the test."""
    started: list[Program] = []

    def start(*words: str, **settings: Any) -> Program:
        more = {
            "DJANGO_SETTINGS_MODULE": "tests.integration.background.app.settings",
            "BACKGROUND_LINES": str(lines.path),
            "BACKGROUND_SETTINGS": json.dumps({"HEARTBEAT": 0.5, "SHUTDOWN_GRACE": 3, **settings}),
            "DEBUG": "false",
        }
        command = [sys.executable, "-m", "django", "autotask", "worker", *words]
        program = Program(command, environment(**more), tmp_path, cwd=ROOT / "testproject")
        started.append(program)
        wait_until(lambda: is_registered(program), what="the worker in the register")
        return program

    yield start
    for program in started:
        if not program.has_ended():
            program.stop()
        assert "Traceback" not in program.output() or os.environ.get("TRACEBACKS"), program.output()


def is_registered(program: Program) -> bool:
    """Whether a worker is in the register."""
    assert not program.has_ended(), program.output()
    return program.pid in {worker.pid for worker in read.workers(connection)}


def is_hosted(worker: BackgroundWorker) -> bool:
    """Whether a worker hosts this background worker."""
    return worker.is_started()
