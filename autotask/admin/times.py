"""The waiting and running times of tasks."""

from datetime import datetime, timedelta

from autotask.models import TaskRecord
from autotask.task import State


def waited(record: TaskRecord, now: datetime) -> timedelta | None:
    """Return the time that it waited for its last attempt, or has been due; None if it has not begun and is not due."""
    if record.state in (State.READY, State.HELD):
        return now - record.run_at
    return None if record.started_at is None else record.started_at - record.run_at


def ran(record: TaskRecord, now: datetime) -> timedelta | None:
    """Return the time that its last attempt took, or has run; None if there was none, or it waits for the next one."""
    if record.started_at is None or record.state in (State.SCHEDULED, State.READY, State.HELD):
        return None
    if record.state == State.RUNNING:
        return now - record.started_at
    return None if record.ended_at is None else record.ended_at - record.started_at
