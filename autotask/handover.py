"""If this process's worker offers it, store a task as already claimed, and hand it over: no worker has to look for it.

The task is handed over after the commit. If that fails, the worker finds it in the table, among the tasks that run under
its name, and releases it; if the worker dies, the task is rescued like others.
"""

import base64
import binascii
import functools
import logging
import select
import struct
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import OperationalError, ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import lines
from autotask.offer import Offer
from autotask.own_worker import Line, own
from autotask.store import enqueue, notify
from autotask.store.claims import PLACE_BITS
from autotask.store.connection import is_alone
from autotask.store.enqueue import NewTask
from autotask.store.errors import is_conflict, is_forbidden
from autotask.task import ClaimedTask, uuid_of
from autotask.texts.lines import one_line

logger = logging.getLogger("autotask")

#: The most bytes to hand over: this many are written to a pipe at once or not at all, and not mixed with others.
LARGEST = select.PIPE_BUF - 64

#: Seconds without handing over after the role has turned out to lack a right.
TRY_AGAIN = 60.0

#: The version, id, worker and number of the offer, fence, priority, retries; then name, queue, address for the answer and
#: payload, with a NUL between them.
_VERSION = 1

#: The same, with the length of the payload before it, and after it the row that is the argument of the task. Only the process that
#: this worker serves can write to the pipe, so the row is not signed.
_WITH_ROW = 5
_LENGTH = 2

#: In place of the version, before the name of a background worker for which something was put.
_CALL = 2

#: In place of the version, before what came by NOTIFY.
_TOLD = 4

#: In place of the version, before an offer that comes back.
_BACK = 3
_BACK_FORM = struct.Struct("=B16sQ")
_HEAD = struct.Struct("=B16s16sQqhi")


_NO_OFFER = Offer(uuid.UUID(int=0), 0)


class Stored(NamedTuple):
    """A task that was stored.

    :ivar fence: of its claim; 0: it is not claimed.
    :ivar row: see :class:`autotask.task.ClaimedTask`.
    """

    task: NewTask
    fence: int
    row: bytes = b""


class HandedOver(NamedTuple):
    """A task that was handed over, and the offer taken for it."""

    task: ClaimedTask
    offer: Offer


#: When to hand over again, on the monotonic clock, after the database has refused it.
_not_before = float("-inf")

#: Whether it is worth waiting for an offer: there was one the last time, or since.
_is_patient = True


def call_for(name: str) -> bool:
    """Tell the worker of this process that a message for a background worker is there; it tells other hosts.

    :returns: False if there is no worker.
    """
    body = bytes((_CALL,)) + name.encode()
    line = own.line
    if line is None or len(body) > LARGEST:
        return False
    line.hand_over(body)
    return True


def called_for(body: bytes) -> str | None:
    """Return the name that :func:`call_for` has sent; None: it is something else."""
    return body[1:].decode() if body[:1] == bytes((_CALL,)) else None


def back(offer: Offer) -> bytes:
    """Return the bytes with which a worker gets its offer back: nothing was stored as claimed by it."""
    return _BACK_FORM.pack(_BACK, offer.worker_id.bytes, offer.number)


def given_back(body: bytes) -> Offer | None:
    """Return the offer in what :func:`back` has made; None: it is something else."""
    if body[:1] != bytes((_BACK,)) or len(body) != _BACK_FORM.size:
        return None
    _, id, number = _BACK_FORM.unpack(body)
    return Offer(uuid.UUID(bytes=id), number)


def insert(connection: BaseDatabaseWrapper, task: NewTask) -> None:
    """Insert one task, and hand it over if there is an offer; otherwise wake a worker after the commit."""
    can_hand = can_be_handed(task)
    if can_hand and own.line is not None:
        store = functools.partial(enqueue.insert_claimed, connection, task)
        if store_claimed(connection, lambda worker_id: Stored(task, store(worker_id))) is not None:
            return

    def store_it(telling: bool) -> bool:
        if telling and can_hand:
            enqueue.insert_handing(connection, task, words_for(task))
        else:
            enqueue.insert(connection, task, telling)
        return True

    notify.store_and_wake(connection, store_it, (task.kind.queue, task.kind.executor))


def store_claimed(
    connection: BaseDatabaseWrapper,
    store: Callable[[uuid.UUID], Stored | None],
    reply: str = "",
    patience: float = 0.0,
) -> int | None:
    """If there is an offer, store a task as claimed by the worker that has made it, and hand it over.

    :param store: does it; None: nothing was stored.
    :param reply: where the worker answers when the task has ended; "": nobody waits there.
    :param patience: seconds to wait for an offer; none if the last wait brought none.
    :returns: the fence; None: nothing was stored.
    """
    line = own.line
    # Inside a transaction, it is unknown when and whether it commits.
    if line is None or not is_alone(connection) or time.monotonic() < _not_before:
        return None
    if (offer := _offer(line, patience)) is None:
        return None
    stored = _store(store, offer)
    if stored is None or not stored.fence:
        line.hand_over(back(offer))
        return None if stored is None else 0
    line.hand_over(dump(stored.task, stored.fence, offer, reply, stored.row))
    return stored.fence


def _offer(line: Line, patience: float) -> Offer | None:
    global _is_patient
    offer = line.take_offer(patience if _is_patient else 0.0)
    if patience or offer is not None:
        _is_patient = offer is not None
    return offer


def _store(store: Callable[[uuid.UUID], Stored | None], offer: Offer) -> Stored | None:
    """Store a task as claimed; None if nothing was stored: the role may not number claims, or there was a conflict."""
    global _not_before
    try:
        return store(offer.worker_id)
    except OperationalError as error:
        if not is_conflict(error):
            raise
        return None  # It may read what others write, which the transaction of a serializable session may not.
    except ProgrammingError as error:
        if not is_forbidden(error):
            raise
        _not_before = time.monotonic() + TRY_AGAIN
        logger.warning(
            "Tasks are not handed to the companion for %g s, and start later than they could: %s. "
            "The documentation lists the rights that the role needs, on the page about deployment.",
            TRY_AGAIN,
            one_line(str(error)),
        )
        return None


def can_be_handed(task: NewTask) -> bool:
    """Whether a task is plain and small enough."""
    return task.kind.is_plain and fits(task)


def fits(task: NewTask) -> bool:
    """Whether a task is small enough."""
    kind = task.kind
    # A character takes four bytes at most.
    return len(task.payload) + 4 * (len(kind.name) + len(kind.queue)) + _HEAD.size <= LARGEST


def dump(task: NewTask, fence: int, offer: Offer, reply: str = "", row: bytes = b"") -> bytes:
    """Return the bytes that a worker gets for a task that was stored as claimed by it.

    :param reply: as for :func:`store_claimed`.
    :param row: goes along if there is room for it.
    """
    id, kind, _, payload, *_ = task
    words = b"\0".join((kind.name.encode(), kind.queue.encode(), reply.encode(), b""))
    version = _VERSION
    if row and _HEAD.size + len(words) + _LENGTH + len(payload) + len(row) <= LARGEST:
        version, payload = _WITH_ROW, len(payload).to_bytes(_LENGTH, "big") + payload + row
    numbers = (offer.worker_id.bytes, offer.number, fence, kind.priority, kind.retries)
    return _HEAD.pack(version, id.bytes, *numbers) + words + payload


def words_for(task: NewTask) -> str:
    """Return the words of the NOTIFY that hands a task to a worker, after the number of the claim."""
    return base64.b64encode(dump(task, 0, _NO_OFFER)).decode()


def as_told(channel: str, words: str) -> bytes:
    """Return the bytes that stand for words that came by NOTIFY among those that are handed over."""
    return bytes((_TOLD,)) + f"{channel} {words}".encode()


def told(body: bytes, worker_id: uuid.UUID) -> ClaimedTask | None:
    """Return the task in what :func:`as_told` has made; None: it is something else.

    :param worker_id: of this worker now. Words for another name, which it had before, are of a task without a worker.
    :raises ValueError: the words cannot be understood.
    """
    if body[:1] != bytes((_TOLD,)):
        return None
    channel, number, words = body[1:].split(b" ", 2)
    is_mine = channel.decode() == lines.current().channel(worker_id)
    return _unpacked(binascii.a2b_base64(words), int(number) << PLACE_BITS, worker_id if is_mine else None)


def load(body: bytes) -> HandedOver:
    """Return the task and the offer that :func:`dump` has packed.

    :raises ValueError: older or newer code has packed them.
    """
    task = _unpacked(body)
    _, _, _, number, *_ = _HEAD.unpack_from(body)
    assert task.worker_id is not None
    return HandedOver(task, Offer(task.worker_id, number))


def _unpacked(body: bytes, told_fence: int | None = None, told_id: uuid.UUID | None = None) -> ClaimedTask:
    """Return the task that :func:`dump` has packed.

    :param told_fence: the fence, if that came by NOTIFY; then it is a claim by the worker *told_id*.
    """
    if not body or body[0] not in (_VERSION, _WITH_ROW) or len(body) < _HEAD.size:
        raise ValueError(f"{len(body)} bytes were handed over in a form that this version of autotask does not know")
    version, id, worker_id, _, fence, priority, retries = _HEAD.unpack_from(body)
    name, queue, reply, payload = body[_HEAD.size :].split(b"\0", 3)
    row = b""
    if version == _WITH_ROW:
        end = _LENGTH + int.from_bytes(payload[:_LENGTH], "big")
        payload, row = payload[_LENGTH:end], payload[end:]
    return ClaimedTask(
        id=uuid_of(int.from_bytes(id, "big")),
        fence=fence if told_fence is None else told_fence,
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
        worker_id=uuid_of(int.from_bytes(worker_id, "big")) if told_fence is None else told_id,
        reply=reply.decode(),
        # Anybody who can connect to the database can notify, and a row is not signed: it counts only if it came through the pipe.
        row=row if told_fence is None else b"",
    )
