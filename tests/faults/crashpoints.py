"""Named points in a worker or a caller, at which it can be killed, made to fail, or paused for longer than its lease.

The package has nothing of this: in processes of the suite with the variable ``FAULTS_CRASH``, the functions around the
points are wrapped. The variable names a folder. A file in it arms a point; the first process that gets there removes the
file and crashes. So one worker can go through all points, one by one.

``before … commit`` means that the statement was executed, but not committed: as long as a point is armed, the wrapped
function runs in a transaction.
"""

import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute
from tests.faults.ledger import Ledger

VARIABLE = "FAULTS_CRASH"

#: The functions that run in a transaction of the worker, by the names of the points around its commit.
COMMITS = {
    "claim": "autotask.store.claim.claim",
    "outcome": "autotask.store.finish.end",
    "retry": "autotask.store.finish.retry",
    "promotion": "autotask.store.promote.promote",
    "rescue": "autotask.store.rescue.rescue",
    "heartbeat": "autotask.store.workers.beat",
}

#: The function that runs the body of a task.
BODY = "autotask.worker.forks.call"

#: The function that reads the word of a task that another process has stored as claimed by this worker.
WORD = "autotask.handover.told"

POINTS = (
    *(f"{when} {name} commit" for name in COMMITS for when in ("before", "after")),
    "before body",
    "after body",
    "after word",
)

#: In the process of a site: it stores a call as claimed by its companion, and then hands it over.
HANDOVER = "handover", "autotask.store.enqueue.insert_claimed"

HANDOVER_POINTS = tuple(f"{when} {HANDOVER[0]} commit" for when in ("before", "after"))

ACTIONS = ("kill", "raise", "sleep")


class Crash(Exception):
    """Is raised at a crash point."""


class CrashPoints:
    """Arms points, for tests.

    :param folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arm(self, point: str, action: str, seconds: float = 0.0) -> None:
        """Make the next process at the point crash; *seconds* are for "sleep"."""
        assert point in POINTS + HANDOVER_POINTS and action in ACTIONS
        scratch = self.folder / "scratch"
        scratch.write_text(f"{action} {seconds}")
        scratch.rename(self.folder / _file(point))

    def is_armed(self, point: str) -> bool:
        """Whether no process has got there yet."""
        return (self.folder / _file(point)).exists()


def install(ledger: Ledger) -> None:
    """Wrap the functions around the points in this process."""
    folder = Path(os.environ[VARIABLE])
    for name, path in (*COMMITS.items(), HANDOVER):
        _wrap(path, lambda function, name=name: _committing(function, name, folder, ledger))
    _wrap(BODY, lambda function: _running(function, folder, ledger))
    _wrap(WORD, lambda function: _told(function, folder, ledger))


def _wrap(path: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    module, _, name = path.rpartition(".")
    home = importlib.import_module(module)
    setattr(home, name, wrapper(getattr(home, name)))


def _committing(function: Callable[..., Any], name: str, folder: Path, ledger: Ledger) -> Callable[..., Any]:
    before, after = f"before {name} commit", f"after {name} commit"

    def in_transaction(connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        execute(connection, "BEGIN")
        value = function(connection, *args, **kwargs)
        try:
            if _has_done_something(value):
                _reach(before, folder, ledger)
        except Crash:
            execute(connection, "ROLLBACK")  # as after a statement that fails
            raise
        execute(connection, "COMMIT")
        return value

    def wrapped(connection: BaseDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        if (folder / _file(before)).exists():
            value = in_transaction(connection, *args, **kwargs)
        else:
            value = function(connection, *args, **kwargs)
        if _has_done_something(value):
            _reach(after, folder, ledger)
        return value

    return wrapped


def _has_done_something(value: Any) -> bool:
    """Whether a statement has touched rows: only then is there something to lose at the point.

    They return a count, a truth value, a list of rows, or several numbers of which the first is a count.
    """
    return bool(value[0] if isinstance(value, tuple) else value)


def _running(function: Callable[..., Any], folder: Path, ledger: Ledger) -> Callable[..., Any]:
    def wrapped(*args: Any) -> Any:
        _reach("before body", folder, ledger)
        value = function(*args)
        _reach("after body", folder, ledger)
        return value

    return wrapped


def _told(function: Callable[..., Any], folder: Path, ledger: Ledger) -> Callable[..., Any]:
    def wrapped(*args: Any) -> Any:
        task = function(*args)
        if task is not None:
            _reach("after word", folder, ledger)
        return task

    return wrapped


def _reach(point: str, folder: Path, ledger: Ledger) -> None:
    armed, taken = folder / _file(point), folder / f"taken by {os.getpid()}"
    try:
        armed.rename(taken)  # of several processes only one succeeds
    except FileNotFoundError:
        return
    action, seconds = taken.read_text().split()
    taken.unlink()
    ledger.write("fault", point=point, action=action, seconds=float(seconds) if action == "sleep" else 0.0)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise Crash(point)
    else:
        time.sleep(float(seconds))


def _file(point: str) -> str:
    return point.replace(" ", "-")
