"""Service: tell those in AUTOTASK_TELEMETRY of attempts whose worker or child process died; nobody else is left to do so."""

import contextlib
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import registry, telemetry
from autotask.conf import settings
from autotask.scheduled import ScheduledTask
from autotask.schedules.base import Timetable
from autotask.signals import task_lost
from autotask.store import lost_attempts
from autotask.store.lost_attempts import LostAttempt
from autotask.task import State
from autotask.telemetry.interface import Attempt

#: Seconds between two looks at the memory of this process; they cost no statement.
EVERY = 1.0

#: The most attempts that wait to be reported: a host with thousands of tasks may be gone.
MOST_WAITING = 10_000

#: The most that are read with one statement.
AT_ONCE = 100


class LostAttempts:
    """Tells of attempts that the workers of this process have found lost, each once."""

    doing = "report lost attempts"

    def __init__(self) -> None:
        # The same receiver for all workers of a process.
        task_lost.connect(_hear, dispatch_uid="autotask.worker.lost_attempts")

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Tell of those found since the last time."""
        while has_ended := dict(_taken()):
            try:
                found = lost_attempts.read(connection, list(has_ended))
            except (
                Exception
            ):  # The database is away, which may be why they were lost: they are reported when it is back.
                _waiting.extendleft(has_ended.items())
                raise
            for lost in found:
                if telemetry.used is not None:
                    telemetry.used.lost(_attempt(lost, has_ended[lost.id]), lost.payload)
        return EVERY


def _taken() -> Iterator[tuple[uuid.UUID, bool]]:
    # Another worker of this process may take from the same ones.
    with contextlib.suppress(IndexError):
        for _ in range(AT_ONCE):
            yield _waiting.popleft()


#: Ids of tasks, and whether they have ended with that.
_waiting: deque[tuple[uuid.UUID, bool]] = deque(maxlen=MOST_WAITING)


def _hear(task_id: uuid.UUID, ended: bool, **_: Any) -> None:
    if telemetry.used is not None:
        _waiting.append((task_id, ended))


def _attempt(lost: LostAttempt, has_ended: bool) -> Attempt:
    return Attempt(
        id=lost.id,
        name=lost.name,
        queue=lost.queue,
        number=lost.number,
        retries=lost.retries,
        ready_at=lost.run_at,
        began=lost.started_at.timestamp(),
        timeout=settings.TIMEOUT if lost.timeout is None else lost.timeout,
        worker_id=lost.worker_id,
        scheduled_for=lost.scheduled_for,
        timetable=_timetable(lost),
        is_here=False,
        state=State.LOST,
        message=lost.reason,
        seconds=(lost.ended_at - lost.started_at).total_seconds(),
        next_in=None if has_ended else 0.0,
    )


def _timetable(lost: LostAttempt) -> Timetable | None:
    definition = None if lost.scheduled_for is None else registry.known(lost.name)
    return definition.schedule if isinstance(definition, ScheduledTask) else None
