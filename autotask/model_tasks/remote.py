"""Model tasks for clients from outside: offer one, begin a step, wait for its end, read what a step has returned.

A remote task waits with the executor "remote", which no worker claims. :func:`offer` gives it to one client for half a minute.
:func:`begin` makes one step of it ready for the workers, so that time limits, cancelling, retries and fences are those of any
task, and :func:`wait` waits for the end of that step. After a step with more to come, the task waits for a client again; it is
offered again when ``do_task_timeout`` is over.

None of these may be called in a transaction.
"""

import enum
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotask import payload
from autotask.conf import settings
from autotask.model_tasks.base import SimpleTask
from autotask.store import notify, pull, read, steps
from autotask.store.connection import current, shares_sessions
from autotask.store.pull import Offered, Place
from autotask.task import CANCELLED, DONE, ERROR

#: Seconds between two looks, in case no notification arrives.
LOOK = 1.0


class Begin(enum.Enum):
    """The answer to a request to begin a step."""

    BEGUN = "a worker will run it"
    ENDED = "the task has ended"
    BUSY = "a worker runs a step of it, or is about to"
    WRONG_STEP = "another step comes next"
    GONE = "the row has no task"


class How(enum.Enum):
    """How a step has ended, as far as is known."""

    MORE = "well, and more steps follow"
    DONE = "well, and it was the last one"
    FAILED = "it failed for good, or was cancelled"
    UNFINISHED = "it has not ended in time"
    GONE = "the task is not in the database any more"


@dataclass(frozen=True, slots=True)
class StepEnded:
    """The end of a step.

    :ivar value: what it returned.
    :ivar error: why it failed.
    """

    how: How
    value: Any = None
    error: str = ""


def offer(channels: Sequence[str]) -> Offered | None:
    """Offer the oldest ready remote task of some channels to one client; None: there is none now."""
    return pull.take(current(), channels)


def listen() -> notify.ChannelListener | notify.PollingOnly:
    """Return a listener that hears when a remote task was stored; close it."""
    return notify.PollingOnly() if shares_sessions() else notify.ChannelListener(current(), notify.REMOTE_CHANNEL)


def place(row: SimpleTask) -> Place:
    """Return where the task of a row is, and which step comes next."""
    return Place(None) if row.task_id is None else pull.place(current(), row.task_id)


def begin(row: SimpleTask, step: int, body: Mapping[str, Any]) -> Begin:
    """Make a step of a row ready for a worker, unless another step comes next.

    :param body: the payload for the method of the step; without secrets.
    """
    if row.task_id is None:
        return Begin.GONE if row.done_time is None else Begin.ENDED
    definition, connection = row.task_definition, current()
    signed = definition.payload_of(row, {**body, "step": step}, row.task_id)
    if pull.start(connection, row.task_id, definition.executor, step=step, payload=signed):
        notify.wake_after_commit(connection)
        return Begin.BEGUN
    where = pull.place(connection, row.task_id)
    if where.state is None:
        return Begin.GONE if row.done_time is None else Begin.ENDED
    if where.state.ended:
        return Begin.ENDED
    return Begin.BUSY if not where.is_remote else Begin.WRONG_STEP


def wait(row: SimpleTask, step: int, seconds: float) -> StepEnded:
    """Wait until a step has ended, or until the task has.

    :param seconds: how long at most.
    """
    assert row.task_id is not None
    connection, deadline = current(), time.monotonic() + seconds
    listener: notify.ChannelListener | notify.PollingOnly = notify.PollingOnly()
    if not shares_sessions():
        listener, _ = read.listen(connection, row.task_id)
    try:
        while (ended := result(row.task_id, step)).how is How.UNFINISHED:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            listener.wait(min(LOOK, left))
        return ended
    finally:
        listener.close()


def result(id: uuid.UUID, step: int) -> StepEnded:
    """Return how a step of a task has ended, without waiting."""
    connection = current()
    if (value := returned(id, step)) is not None:
        return value
    stored = read.task(connection, id)
    if stored is None:
        return StepEnded(How.GONE)
    if stored.state.status is DONE:
        return StepEnded(How.DONE, payload.load_result(stored.value, id=id, fence=stored.fence or 0))
    if stored.state.status in (ERROR, CANCELLED):
        return StepEnded(How.FAILED, error=stored.error_message or "it was cancelled")
    # It may have ended between the two looks.
    return returned(id, step) or StepEnded(How.UNFINISHED)


def returned(id: uuid.UUID, step: int) -> StepEnded | None:
    """Return what a step that is not the last has returned; None: it has not ended."""
    for each in steps.numbered(current(), id):
        if each.number == step:
            value = payload.load_step(each.value, id=id, step=steps.word(step))
            return StepEnded(How.MORE, value)
    return None


def lapse() -> dict[str, int]:
    """Offer the tasks again whose clients did not begin their next step in time; return how many, by the names of tasks."""
    names = pull.lapse(current())
    if names:
        notify.tell_after_commit(current(), {notify.REMOTE_CHANNEL: ""})
    return {name: names.count(name) for name in names}


def channels() -> tuple[str, ...]:
    """Return the channels whose tasks wait for clients from outside, whatever their models say."""
    return settings.REMOTE_CHANNELS
