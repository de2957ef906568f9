"""run_background(): runs of a background worker in the thread of a test."""

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotask.store import inbox
from autotask.store.connection import current
from autotask.testing.runner import Runner

if TYPE_CHECKING:
    from autotask.background import BackgroundWorker


def run_background(
    worker: "BackgroundWorker", *args: Any, times: int = 1, options: Mapping[str, Any] | None = None
) -> int:
    """Run a background worker in place, without pauses, as if it were started with these arguments.

    ::

        send.put("mail")
        assert run_background(send) == 1

    A queue worker handles the values that wait, in their order, each as a task: so an error is in its result. A run of any
    other kind raises what its function raises.

    :param args: the arguments of its start.
    :param times: the most runs, or values.
    :param options: the keyword arguments of its start.
    :returns: how many there were: fewer if the function has returned False, or no more values wait.
    """
    here = worker.here_after(args, dict(options or {}))
    worker.hosted(here)
    try:
        if hasattr(worker, "put"):
            return _handle(worker, times)
        for run in range(1, times + 1):
            worker.handle("test")
            if here.is_over:
                return run
        return times
    finally:
        worker.hosted(None)


def _handle(worker: "BackgroundWorker", times: int) -> int:
    runner, count = Runner(), 0
    with runner.signed_on():
        while count < times and (id := _next(worker)) is not None:
            here = worker.present
            runner.run(id)
            count += 1
            if here is not None and here.is_over:
                break
    return count


def _next(worker: "BackgroundWorker") -> uuid.UUID | None:
    return inbox.first(current(), worker.definition.name)
