"""Several workers, or one that is renewed, under one supervisor: whoever goes, no task is lost or run twice."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from autotask.store import read
from autotask.store.connection import current, rows
from autotask.task import DONE
from tests.helpers import LONG, wait_until
from tests.integration.worker.app.tasks import hoard, is_fork, leave_behind, sign, sign_and_wait

pytestmark = pytest.mark.django_db(transaction=True)

TASKS = 1000 if LONG else 60
MAX_TASKS = 50 if LONG else 20


@pytest.fixture
def ledger(tmp_path) -> Path:
    """A file in which tasks leave a line, and the id of their process."""
    path = tmp_path / "ledger"
    path.touch()
    return path


def signed(ledger: Path) -> list[tuple[str, int]]:
    """Return the lines of the ledger, each with the process that has written it."""
    lines = [line.rpartition(" ") for line in ledger.read_text().splitlines()]
    return [(line, int(pid)) for line, _, pid in lines]


def members(crew) -> set[int]:
    """Return the workers that have entered the register and still live."""
    children = {child.pid for child in psutil.Process(crew.pid).children()}
    return children & {worker.pid for worker in read.workers(current()) if not worker.stopping}


def attempts() -> set[int]:
    """Return how often tasks that have ended were begun."""
    return {attempt for (attempt,) in rows(current(), "SELECT DISTINCT attempt FROM autotask_result")}


def test_workers_that_are_replaced_after_some_tasks_lose_none_and_run_none_twice(start_crew, ledger):
    # Given
    sign.enqueue_many([(str(ledger), str(number)) for number in range(TASKS)])

    # When
    crew = start_crew("--workers=2", "--threads=2", f"--max-tasks={MAX_TASKS}", "--burst")

    # Then
    assert crew.wait(300 if LONG else 60) == 0, crew.output()
    assert Counter(line for line, _ in signed(ledger)) == {str(number): 1 for number in range(TASKS)}
    by_worker = Counter(pid for _, pid in signed(ledger))
    assert max(by_worker.values()) <= MAX_TASKS
    assert len(by_worker) >= TASKS / MAX_TASKS
    assert attempts() == {1}
    assert not read.workers(current())
    assert "Traceback" not in crew.output() and "WARNING" not in crew.output(), crew.output()


def test_a_worker_that_leaks_is_replaced_and_its_running_tasks_finish(start_crew, ledger, tmp_path):
    # Given
    crew = start_crew("--max-memory=150M", "--threads=2")
    sign_and_wait(str(ledger), "long", str(tmp_path / "end"))
    wait_until(lambda: signed(ledger), what="the start of the long task")

    # When
    hoard(str(ledger), 150 * 2**20).wait(20)
    wait_until(lambda: "uses much memory" in crew.output(), what="a look at the memory")

    # Then its successor comes while it still runs something
    sign(str(ledger), "after").wait(20)
    [(_, long), (_, leaking), (_, after)] = signed(ledger)
    assert long == leaking != after
    assert psutil.pid_exists(leaking)

    # When
    (tmp_path / "end").touch()

    # Then
    wait_until(lambda: not psutil.pid_exists(leaking), what="the end of the worker")
    assert attempts() == {1}
    assert members(crew) == {after}


def test_a_long_task_does_not_hold_up_the_successor_of_its_worker(start_crew, ledger, tmp_path):
    # Given
    start_crew("--max-tasks=1", "--threads=1")
    long = sign_and_wait(str(ledger), "long", str(tmp_path / "end"))
    wait_until(lambda: signed(ledger), what="the start of the long task")

    # When
    sign(str(ledger), "short").wait(20)
    (tmp_path / "end").touch()

    # Then
    long.wait(20)
    assert len({pid for _, pid in signed(ledger)}) == 2
    assert attempts() == {1}


def test_a_worker_of_a_crew_that_is_killed_is_replaced_and_its_task_runs_again(start_crew, ledger, tmp_path):
    # Given
    crew = start_crew("--workers=2", "--threads=1")
    wait_until(lambda: len(members(crew)) == 2, what="two workers")
    handle = sign_and_wait(str(ledger), "once more", str(tmp_path / "end"))
    [(_, victim)] = wait_until(lambda: signed(ledger), what="the start of the task")

    # When
    os.kill(victim, signal.SIGKILL)

    # Then
    [_, (_, other)] = wait_until(
        lambda: signed(ledger)[1:] and signed(ledger), 5 if LONG else 20, "the second start of the task"
    )
    assert other != victim
    wait_until(lambda: len(members(crew)) == 2, what="two workers")
    (tmp_path / "end").touch()
    wait_until(lambda: handle.status is DONE)
    assert "the worker ended (signal 9 (SIGKILL))" in crew.output()


def test_a_crew_that_has_to_stop_finishes_its_running_tasks(start_crew, ledger, tmp_path):
    # Given
    crew = start_crew("--workers=2", "--threads=1")
    wait_until(lambda: len(members(crew)) == 2, what="two workers")
    handle = sign_and_wait(str(ledger), "last", str(tmp_path / "end"))
    [(_, worker)] = wait_until(lambda: signed(ledger), what="the start of the task")

    # When
    os.kill(crew.pid, signal.SIGTERM)
    wait_until(lambda: {each.pid for each in read.workers(current())} == {worker}, what="the end of the idle worker")
    (tmp_path / "end").touch()

    # Then
    assert crew.wait() == 0, crew.output()
    assert (handle.status, handle.attempts) == (DONE, 1)
    assert not read.workers(current())
    assert not psutil.pid_exists(worker)


def test_workers_whose_supervisor_is_killed_finish_their_running_tasks_and_stop(start_crew, ledger, tmp_path):
    # Given
    crew = start_crew("--workers=2", "--threads=1")
    wait_until(lambda: len(members(crew)) == 2, what="two workers")
    handle = sign_and_wait(str(ledger), "last", str(tmp_path / "end"))
    [(_, worker)] = wait_until(lambda: signed(ledger), what="the start of the task")
    workers = members(crew)

    # When
    os.kill(crew.pid, signal.SIGKILL)
    wait_until(lambda: len(read.workers(current())) == 1, what="the end of the idle worker")
    (tmp_path / "end").touch()

    # Then
    wait_until(lambda: not any(map(psutil.pid_exists, workers)), what="the end of the workers")
    assert (handle.status, handle.attempts) == (DONE, 1)


@pytest.mark.parametrize("what", ["thread", "executor", "child", "atexit"] if LONG else ["child"])
def test_a_worker_ends_whatever_its_tasks_have_left_behind(start_crew, ledger, what):
    # Given
    crew = start_crew("--max-tasks=1", "--threads=1")

    # When
    for _ in range(2):
        leave_behind(what, str(ledger)).wait(30)
    sign(str(ledger), "third").wait(30)

    # Then
    pids = [int(line.split()[-1]) for line in ledger.read_text().splitlines() if not line.startswith("goodbye")]
    assert len({*pids}) == 3
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), 30, what="the end of the workers")
    assert ledger.read_text().count("goodbye") == (0 if what == "atexit" else 2)
    assert "the worker ended" not in crew.output(), crew.output()


@pytest.fixture
def module(tmp_path, monkeypatch) -> Path:
    """A module that crews import, in which a test writes what it likes."""
    monkeypatch.setenv("AUTOTASK_TEST_MODULES", "imported_by_crew")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    path = tmp_path / "imported_by_crew.py"
    path.touch()
    return path


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

APART = r"supervisor \d+: each worker loads the project itself, not as a fork that shares its memory: "


@ON_LINUX
def test_workers_are_forks_until_the_code_changes(start_crew, module):
    # Given
    crew = start_crew("--workers=1", "--max-tasks=1")
    assert is_fork().wait(20)
    assert is_fork().wait(20)

    # When
    module.write_text("CHANGED = True")

    # Then the next worker, which may have begun before, or the one after it, has the new code
    assert not [is_fork().wait(20) for _ in range(2)][-1]
    [line] = crew.lines(APART + "the code has changed since this process has loaded it")
    assert "WARNING" not in crew.output(), crew.output()


@ON_LINUX
def test_a_thread_that_a_library_starts_when_it_is_imported_forbids_forks(start_crew, module):
    # Given
    module.write_text("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()")

    # When
    crew = start_crew("--workers=2", "--threads=1")

    # Then
    assert not is_fork().wait(20)
    [line] = crew.lines(APART + "something that the project imports has started threads")


@ON_LINUX
def test_a_connection_that_is_opened_while_django_is_set_up_is_not_shared(start_crew, module):
    # Given
    module.write_text("from django.db import connection; connection.ensure_connection()")

    # When
    crew = start_crew("--workers=2", "--threads=1")

    # Then
    assert is_fork().wait(20)
    supervisor = psutil.Process(crew.pid)
    assert [each.laddr for each in supervisor.net_connections("all")] == []


def test_without_forks_each_worker_loads_the_project_itself(start_crew, monkeypatch):
    # Given
    monkeypatch.setenv("AUTOTASK_TEST_FORK", "false")

    # When
    crew = start_crew("--workers=1", "--max-tasks=9")

    # Then
    assert not is_fork().wait(20)
    assert not crew.lines(APART)
