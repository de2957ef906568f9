"""Store a task as claimed by the worker of this process, if that offers it, and hand it over: nobody has to look for it.

The worker is told after the commit. Should it not be told, it finds the task in the table, among those that run under its
name, and gives it back; should it die, its tasks are rescued like all others.
"""

import select
import struct
import uuid
from datetime import UTC, datetime
from typing import Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import enqueue
from autotask.store.enqueue import NewTask
from autotask.task import ClaimedTask

#: Bytes of what is handed over at most: so much is written to a pipe at once or not at all, and not mixed with anything else.
LARGEST = select.PIPE_BUF - 64

#: Id, worker, fence, priority, retries; then name, queue and payload, with a NUL between them.
_HEAD = struct.Struct("=16s16sqhi")


class Line(Protocol):
    """The way to the worker of this process."""

    def take_offer(self) -> uuid.UUID | None:
        """Return the worker to store a task for, if it has made an offer."""

    def hand_over(self, body: bytes) -> None:
        """Give it the task."""


_line: Line | None = None


def set_line(line: Line | None) -> None:
    """Say how this process reaches a worker of its own; None: it has none."""
    global _line
    _line = line


def insert(connection: BaseDatabaseWrapper, task: NewTask) -> bool:
    """Insert one task, and hand it over if there is an offer.

    :returns: whether it was handed over.
    """
    line = _line
    # Inside a transaction nobody knows when it is committed, nor whether.
    if line is not None and not connection.in_atomic_block and connection.get_autocommit() and can_be_handed(task):
        worker_id = line.take_offer()
        if worker_id is not None:
            fence = enqueue.insert_claimed(connection, task, worker_id)
            line.hand_over(dump(task, fence, worker_id))
            return True
    enqueue.insert(connection, task)
    return False


def can_be_handed(task: NewTask) -> bool:
    """Whether there is nothing special about a task, and it is small enough."""
    kind = task.kind
    # A character takes four bytes at most.
    return kind.is_plain and len(task.payload) + 4 * (len(kind.name) + len(kind.queue)) + _HEAD.size <= LARGEST


def dump(task: NewTask, fence: int, worker_id: uuid.UUID) -> bytes:
    """Return what a worker is given of a task that was stored as claimed by it."""
    id, kind, _, payload = task
    head = _HEAD.pack(id.bytes, worker_id.bytes, fence, kind.priority, kind.retries)
    return b"\0".join((head + kind.name.encode(), kind.queue.encode(), payload))


def load(body: bytes) -> ClaimedTask:
    """Return the task from what :func:`dump` has made of it."""
    id, worker_id, fence, priority, retries = _HEAD.unpack_from(body)
    name, queue, payload = body[_HEAD.size :].split(b"\0", 2)
    return ClaimedTask(
        id=uuid.UUID(bytes=id),
        fence=fence,
        name=name.decode(),
        queue=queue.decode(),
        priority=priority,
        attempt=1,
        failures=0,
        lost=0,
        retries=retries,
        unknown_for=None,
        ready_at=datetime.now(UTC),
        scheduled_for=None,
        payload=payload,
        worker_id=uuid.UUID(bytes=worker_id),
    )
