"""How a worker is kept running: with real processes that make way, die, or cannot be started."""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotask.processes import readable
from autotask.processes.starting import Interpreter
from autotask.processes.supervised import LOOK_EVERY, SupervisedProcess
from tests.helpers import wait_until

#: Leaves a note of what it knows of the death of its predecessor, makes way if it shall, and ends when it is killed.
WORKER = """
import os, signal, sys
notes, leaves = sys.argv[1:]
with open(os.path.join(notes, str(os.getpid())), "w") as file:
    print(os.environ["AUTOTASK_EARLY_DEATHS"], os.environ["AUTOTASK_PREDECESSOR"], file=file)
if os.path.exists(leaves):
    os.write(int(os.environ["AUTOTASK_LEAVE_FD"]), b"0")
    open(os.path.join(notes, f"{os.getpid()} leaves"), "w").close()
signal.pause()
"""


class Keeper:
    """Somebody who keeps a worker."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.leaves = folder / "leaves"
        self._notes = folder / "notes"
        self._notes.mkdir()
        command = [sys.executable, "-S", "-c", WORKER, str(self._notes), str(self.leaves)]
        self.worker = SupervisedProcess(Interpreter(command, os.environ), 10.0, self._note, overlap=True)

    def _note(self, what: str, *, serious: bool = False) -> None:
        self.said.append(what)

    def pids(self) -> set[int]:
        """Return the workers that live."""
        return {process.pid for process in self.worker.running()}

    def next(self, *known: int) -> int:
        """Look after the worker until there is one that is not known, and return it."""
        [new] = wait_until(lambda: self.worker.look_after() or self.pids() - {*known}, what="a new worker")
        return new

    def note(self, pid: int) -> str:
        """Return the note that a worker has left."""
        note = self._notes / str(pid)
        return wait_until(lambda: note.exists() and note.read_text())

    def await_leave(self, pid: int) -> None:
        """Wait until a worker has said that it leaves."""
        wait_until((self._notes / f"{pid} leaves").exists, what="a worker that leaves")

    def kill(self, pid: int) -> None:
        """Kill a worker, and wait for its end."""
        [victim] = [process for process in self.worker.running() if process.pid == pid]
        victim.kill()
        victim.wait()


@pytest.fixture
def keeper(tmp_path) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path)
    yield keeper
    for pid in keeper.pids():
        keeper.kill(pid)
    keeper.worker.bury()


def test_only_one_worker_that_makes_way_comes_to_its_end_beside_its_successor(keeper):
    # Given
    keeper.leaves.touch()
    first = keeper.next()
    second = keeper.next(first)
    keeper.await_leave(second)

    # When
    for _ in range(3):
        keeper.worker.look_after()

    # Then nothing is started, and the byte that is not read yet does not wake the keeper again and again
    assert keeper.pids() == {first, second}
    assert not readable.wait(keeper.worker.descriptors(), 0)
    assert keeper.worker.rest() == LOOK_EVERY

    # When
    keeper.kill(first)

    # Then
    third = keeper.next(second)
    assert keeper.pids() == {second, third}


def test_a_worker_that_has_made_way_leaves_no_early_deaths_to_its_successor(keeper):
    # Given
    first = keeper.next()
    keeper.note(first)
    keeper.kill(first)
    keeper.leaves.touch()

    # When
    second = keeper.next(first)
    keeper.await_leave(second)
    third = keeper.next(second)

    # Then
    assert keeper.note(second) == "1 signal 9 (SIGKILL)\n"
    assert keeper.note(third) == "0 \n"


def test_a_worker_for_which_there_are_no_descriptors_is_started_later(keeper):
    # Given
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))

    # When
    try:
        keeper.worker.look_after()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    # Then
    assert not keeper.pids()
    [line] = keeper.said
    assert "could not be started: [Errno 24] Too many open files" in line
    assert keeper.next()


def test_a_worker_that_makes_way_and_does_not_end_is_killed(keeper, monkeypatch):
    # Given
    monkeypatch.setattr(keeper.worker, "_leaves_within", 0.2)
    keeper.leaves.touch()
    first = keeper.next()

    # When
    second = keeper.next(first)

    # Then
    third = keeper.next(first, second)
    assert first not in keeper.pids() and third in keeper.pids()
    assert keeper.said[0] == f"worker {first} has not ended 0.2 s after recycling began, and is killed"
