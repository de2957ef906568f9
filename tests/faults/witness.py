"""Make a worker write to the ledger: start and end of each attempt, and refused outcomes."""

import threading
from typing import Any

from autotask.signals import task_ended, task_started
from autotask.task import ClaimedTask
from autotask.worker.recorder import Recorder
from tests.faults.ledger import Ledger

_current = threading.local()


def current() -> ClaimedTask:
    """Return the task that this thread runs. Tasks of this suite return its fence."""
    task: ClaimedTask = _current.task
    return task


def install(ledger: Ledger) -> None:
    """Write to a ledger from now on."""

    # Signals are sent in the thread that runs the task, just before and after its function.
    def started(*, task: ClaimedTask, **_: Any) -> None:
        _current.task = task
        ledger.write("start", id=task.id, fence=task.fence, attempt=task.attempt, lost=task.lost)

    def ended(*, task: ClaimedTask, state: Any, **_: Any) -> None:
        ledger.write("end", id=task.id, fence=task.fence, state=state.name)

    refuse = Recorder._refuse

    def refused(self: Recorder, stale: list[Any]) -> None:
        for task, _ in stale:
            ledger.write("refused", id=task.id, fence=task.fence)
        refuse(self, stale)

    task_started.connect(started, weak=False)
    task_ended.connect(ended, weak=False)
    Recorder._refuse = refused  # type: ignore[method-assign]
