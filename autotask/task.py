"""The states of tasks, their ids, and the record that a worker holds of one claimed row."""

import enum
import os
import struct
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Status(enum.StrEnum):
    """The status of a task, as its author sees it.

    The members are strings: ``handle.status == "done"`` is the same as ``handle.status == DONE``.
    """

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"


WAITING = Status.WAITING
RUNNING = Status.RUNNING
DONE = Status.DONE
ERROR = Status.ERROR
CANCELLED = Status.CANCELLED


class State(enum.IntEnum):
    """The states in the tables.

    Live tasks have the first three or HELD, results the next three, attempts that with which they end.
    """

    SCHEDULED = 0
    READY = 1
    RUNNING = 2
    DONE = 3
    ERROR = 4
    CANCELLED = 5
    RETRY = 6
    LOST = 7
    HELD = 8

    @property
    def status(self) -> Status:
        """The public status of a task in this state."""
        return _STATUS[self]

    @property
    def ended(self) -> bool:
        """Whether a task in this state has finished."""
        return self in (State.DONE, State.ERROR, State.CANCELLED)


_STATUS = {
    State.SCHEDULED: WAITING,
    State.READY: WAITING,
    State.RUNNING: RUNNING,
    State.DONE: DONE,
    State.ERROR: ERROR,
    State.CANCELLED: CANCELLED,
    State.RETRY: WAITING,
    State.LOST: WAITING,
    State.HELD: WAITING,
}

#: As in ``django.tasks``; larger priorities run first.
MIN_PRIORITY = -100
MAX_PRIORITY = 100
DEFAULT_PRIORITY = 0
DEFAULT_QUEUE = "default"

#: The place where a task runs, as stored: a thread of the worker, its event loop, or a process of its own. Any other value is
#: a name in AUTOTASK_EXECUTORS. Threads, by far the most frequent, take no byte.
THREAD = ""
COROUTINE = "coroutine"
PROCESS = "process"

#: The stored word for items in the queue of a background worker, and for its triggers. No pool has this name, so no pool
#: claims it.
BACKGROUND = "background"

#: The executor of tasks that no worker claims: a client from outside starts each step.
REMOTE = "remote"

#: A century, in seconds: anything longer is a mistake in the unit, and would sooner or later overflow a timestamp.
LONGEST_TIME = 100 * 366 * 86400


#: The fixed bits of a UUID of version 7.
_VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62

#: The parts of a millisecond that its 12 bits after the version count, and its random bits.
_PARTS = 1 << 12
_RANDOM_BITS = (1 << 62) - 1

#: Ids continue to grow while the clock is behind the last one by less than this: a second. Further back, somebody has set it.
_SET_BACK = 1000 * _PARTS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


#: When the last id of this process was made, in parts of a millisecond.
_last = 0
_last_lock = threading.Lock()


def new_id() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits of parts of one, then random bits.

    The caller makes it, so that the handle exists before the row is committed and the signature of the payload can cover
    it. It is greater than all that this process has made before, unless its clock was set back by more than a second; and
    it grows with time, so that the index of the primary key grows at one end.
    """
    return _id(_reserved(1), int.from_bytes(os.urandom(8), "big"))


def new_ids(count: int) -> list[uuid.UUID]:
    """Return this many new ids, in their order: faster than making each alone."""
    first = _reserved(count)
    randoms = struct.unpack(f">{count}Q", os.urandom(8 * count))
    return [_id(moment, random) for moment, random in enumerate(randoms, first)]


def _reserved(count: int) -> int:
    """Return the first of this many moments at which no other id was made, in parts of a millisecond.

    A few thousand ids at once may be a few milliseconds ahead of the clock: making and storing them takes longer.
    (RFC 9562, section 6.2, methods 1 and 3.)
    """
    global _last
    with _last_lock:
        first = time.time_ns() * _PARTS // 1_000_000
        if first <= _last < first + _SET_BACK:
            first = _last + 1
        _last = first + count - 1
    return first


def _id(moment: int, random: int) -> uuid.UUID:
    milliseconds, part = moment >> 12, moment & 0xFFF
    return uuid_of(milliseconds << 80 | part << 64 | random & _RANDOM_BITS | _VERSION_AND_VARIANT)


def uuid_of(number: int) -> uuid.UUID:
    """Return the UUID of a number of 128 bits.

    As ``uuid.UUID(int=…)``, which takes twice as long to look at all the other ways to make one: a bulk makes thousands.
    """
    made: uuid.UUID = _new(uuid.UUID)
    _set_number(made, number)
    _set_is_safe(made, _UNKNOWN)
    return made


_new, _UNKNOWN = object.__new__, uuid.SafeUUID.unknown
# By its slots: an assignment to an attribute is refused, since its instances are immutable for all others.
_set_number, _set_is_safe = vars(uuid.UUID)["int"].__set__, vars(uuid.UUID)["is_safe"].__set__


def _renew_in_fork() -> None:
    # A thread of the parent may have held the lock, and cannot release it here.
    global _last_lock
    _last_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_in_fork)


def enqueued_at(id: uuid.UUID) -> datetime:
    """Return when an id was made, in UTC and to the millisecond."""
    return _EPOCH + timedelta(milliseconds=id.int >> 80)


def last_id(moment: datetime) -> uuid.UUID:
    """Return the largest id that can have been made by a moment, to the millisecond."""
    return uuid.UUID(int=((moment - _EPOCH) // timedelta(milliseconds=1) + 1 << 80) - 1)


def may_be_of_a_task(id: uuid.UUID) -> bool:
    """Whether a call may have made an id: it has the shape of :func:`new_id`, and is not of tomorrow.

    (The clock of the machine that made it may be ahead of this one's.)
    """
    tomorrow = (time.time() + 86400) * 1000
    return id.version == 7 and id.int >> 80 < tomorrow


class ClaimedTask(NamedTuple):
    """A claimed task, as its worker knows it.

    A tuple: for each task, one is made of a row, in a third of the time of a frozen dataclass.

    :ivar fence: number of this claim; an outcome is accepted only while the row carries it.
    :ivar attempt: number of this attempt, from 1.
    :ivar failures: earlier attempts that raised.
    :ivar lost: earlier attempts whose worker died.
    :ivar unknown_for: seconds since a worker first did not know the function; None if none did.
    :ivar scheduled_for: the tick this task belongs to.
    :ivar cancel_requested: whether it was asked to stop during an earlier attempt; then it does not run again.
    :ivar late: seconds between its expiry and the claim, and then it does not run; None if it has not expired.
    :ivar at_most_once: whether a run that was cut off must not be repeated.
    :ivar timeout: seconds that one attempt may take; None: the worker's limit.
    :ivar flow: its gates and unique key, as ``autotask.flow.Flow`` writes them; None: it has no gates, and at most a key that is
        free with its end.
    :ivar worker_id: the worker that has claimed it.
    :ivar reply: the address of the thread that has handed it over and waits for its end, see ``autotask.answers``; "": nobody.
    :ivar row: the row that is its argument, as ``read_rows.pack()`` writes it; empty: it has to be fetched.
    """

    id: uuid.UUID
    fence: int
    name: str
    queue: str
    priority: int
    attempt: int
    failures: int
    lost: int
    retries: int
    unknown_for: float | None
    ready_at: datetime
    scheduled_for: datetime | None
    payload: bytes
    cancel_requested: bool = False
    late: float | None = None
    at_most_once: bool = False
    timeout: float | None = None
    flow: str | None = None
    worker_id: uuid.UUID | None = None
    reply: str = ""
    row: bytes = b""
