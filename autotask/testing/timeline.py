"""Pure decision: which tasks run next, by the clock of the test."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A waiting task, and when it is due by the clock of the test."""

    id: uuid.UUID
    name: str
    priority: int
    due: datetime


def due_by(moment: datetime, waiting: Iterable[Waiting]) -> list[Waiting]:
    """Return the due tasks in a worker's order: larger priorities first, then the longest waiting ones."""
    due = [task for task in waiting if task.due <= moment]
    return sorted(due, key=lambda task: (-task.priority, task.due, task.id))


def next_moment(waiting: Iterable[Waiting]) -> datetime | None:
    """Return when the first of them is due; None if there is none."""
    return min((task.due for task in waiting), default=None)
