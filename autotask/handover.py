"""Store a task as claimed by the worker of this process, if that offers it, and hand it over: nobody has to look for it.

The worker is told after the commit. Should it not be told, it finds the task in the table, among those that run under its
name, and gives it back; should it die, its tasks are rescued like others.
"""

import logging
import select
import struct
import time
import uuid
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.offer import Offer
from autotask.store import enqueue
from autotask.store.connection import is_alone
from autotask.store.enqueue import NewTask
from autotask.store.errors import is_forbidden
from autotask.task import ClaimedTask
from autotask.texts.lines import one_line

logger = logging.getLogger("autotask")

#: Bytes of what is handed over at most: so much is written to a pipe at once or not at all, and not mixed with anything else.
LARGEST = select.PIPE_BUF - 64

#: Seconds for which nothing is handed over after the role has turned out to lack a right.
TRY_AGAIN = 60.0

#: The form of what follows, id, worker and number of the offer, fence, priority, retries; then name, queue and payload, with a
#: NUL between them.
_VERSION = 1
_HEAD = struct.Struct("=B16s16sQqhi")


class HandedOver(NamedTuple):
    """A task that was handed over, and the offer that was taken for it."""

    task: ClaimedTask
    offer: Offer


class Line(Protocol):
    """The way to the worker of this process."""

    def take_offer(self) -> Offer | None:
        """Take the offer of the worker to be handed a task, if it has made one."""

    def hand_over(self, body: bytes) -> None:
        """Give it the task."""


_line: Line | None = None

#: When handing over is tried again, on the monotonic clock, after the database has refused it.
_not_before = float("-inf")


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
    if line is not None and is_alone(connection) and can_be_handed(task) and time.monotonic() >= _not_before:
        offer = line.take_offer()
        if offer is not None and (fence := _insert_claimed(connection, task, offer)) is not None:
            line.hand_over(dump(task, fence, offer))
            return True
    enqueue.insert(connection, task)
    return False


def _insert_claimed(connection: BaseDatabaseWrapper, task: NewTask, offer: Offer) -> int | None:
    """Insert a task as claimed, and return its fence; None if this role may not number claims, and nothing was stored."""
    global _not_before
    try:
        return enqueue.insert_claimed(connection, task, offer.worker_id)
    except ProgrammingError as error:
        if not is_forbidden(error):
            raise
        _not_before = time.monotonic() + TRY_AGAIN
        logger.warning(
            "Tasks are not handed to the companion for %g s, and start later than they could: %s. "
            "The rights that the role of a site needs are listed in the documentation, on the page about deployment.",
            TRY_AGAIN,
            one_line(str(error)),
        )
        return None


def can_be_handed(task: NewTask) -> bool:
    """Whether there is nothing special about a task, and it is small enough."""
    kind = task.kind
    # A character takes four bytes at most.
    return kind.is_plain and len(task.payload) + 4 * (len(kind.name) + len(kind.queue)) + _HEAD.size <= LARGEST


def dump(task: NewTask, fence: int, offer: Offer) -> bytes:
    """Return what a worker is given of a task that was stored as claimed by it."""
    id, kind, _, payload = task
    head = _HEAD.pack(_VERSION, id.bytes, *(offer.worker_id.bytes, offer.number), fence, kind.priority, kind.retries)
    return b"\0".join((head + kind.name.encode(), kind.queue.encode(), payload))


def load(body: bytes) -> HandedOver:
    """Return what :func:`dump` was given.

    :raises ValueError: it was made by code that is older or newer than this.
    """
    if not body or body[0] != _VERSION or len(body) < _HEAD.size:
        raise ValueError(f"{len(body)} bytes were handed over in a form that this version of autotask does not know")
    _, id, worker_id, number, fence, priority, retries = _HEAD.unpack_from(body)
    name, queue, payload = body[_HEAD.size :].split(b"\0", 2)
    offer = Offer(uuid.UUID(bytes=worker_id), number)
    task = ClaimedTask(
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
        worker_id=offer.worker_id,
    )
    return HandedOver(task, offer)
