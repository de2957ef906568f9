"""What a worker that has nothing to do offers the process it serves: the next task may be stored as claimed by it."""

import os
import struct
import threading
import time
import uuid
from typing import NamedTuple

from autotask.processes import readable

#: Seconds after which a task for which an offer was taken should have come.
OVERDUE = 0.5

#: The form of an offer, in its first byte: the code at the other end of the pipe may be older or newer.
_VERSION = 1
_FORM = struct.Struct("=B16sQ")


class Offer(NamedTuple):
    """An offer; its number comes back with the task."""

    worker_id: uuid.UUID
    number: int


def take(descriptor: int) -> Offer | None:
    """Return the offer that is there, if one is. Nobody else can take the same one.

    :param descriptor: the end of the pipe from which offers are read; it must not block.
    """
    words = bytearray(_FORM.size)
    try:
        # Not os.read(): eventlet replaces that by one that waits.
        if os.readv(descriptor, [words]) < len(words) or words[0] != _VERSION:
            return None
    except OSError:  # There is none, or the process has closed what it did not know.
        return None
    _, id, number = _FORM.unpack(words)
    return Offer(uuid.UUID(bytes=id), number)


class Offers:
    """The offers of one worker, in a pipe that it shares with the process it serves; there is one at most.

    Who reads an offer has it. So the worker can take back what is still there, and sees that it was taken.

    :param descriptors: the ends of the pipe, for reading and for writing; None if there is nobody to make offers to.
    """

    def __init__(self, descriptors: tuple[int, int] | None) -> None:
        self._descriptors = descriptors
        self._lock = threading.Lock()
        self._id: uuid.UUID | None = None
        #: Whether the last one may still be in the pipe.
        self._is_out = False
        #: When it was seen that the last one was taken, until it is known what has become of it.
        self._taken_at: float | None = None
        self._last = self._void = 0
        if descriptors is not None:
            for descriptor in descriptors:
                os.set_blocking(descriptor, False)
            # What is still there was offered by a worker that is dead.
            take(descriptors[0])

    def open(self, id: uuid.UUID) -> None:
        """Let the worker of this id make offers from now on."""
        with self._lock:
            self._id = id

    def make(self) -> None:
        """Make an offer, unless they are closed, or one is there or was taken. Any thread may call this."""
        with self._lock:
            self._look()
            if self._id is None or self._descriptors is None or self._is_out or self._taken_at is not None:
                return
            try:
                os.writev(self._descriptors[1], [_FORM.pack(_VERSION, self._id.bytes, self._last + 1)])
            except OSError:
                return  # There is nobody left to take it.
            self._last += 1
            self._is_out = True

    def close(self) -> None:
        """Take back what is still there, and let no more offers be made."""
        with self._lock:
            self._take_back()
            self._id = None

    def are_open(self) -> bool:
        """Whether offers are made, or one was taken: tasks may be stored as this worker's of which it does not know yet."""
        return self._id is not None or self._taken_at is not None

    def is_overdue(self) -> bool:
        """Whether an offer was taken a while ago, and nothing has come."""
        with self._lock:
            self._look()
            return self._taken_at is not None and time.monotonic() - self._taken_at >= OVERDUE

    def accept(self, number: int) -> bool:
        """Note that a task has come for an offer, and return whether that still counts."""
        with self._lock:
            if number == self._last:
                self._is_out, self._taken_at = False, None
            return number > self._void

    def void(self) -> bool:
        """Let nothing count any more that comes for an offer made so far: it is about to be looked for in the database.

        :returns: whether one was taken for which nothing has come.
        """
        with self._lock:
            self._take_back()
            missing = self._taken_at is not None
            self._void, self._taken_at = self._last, None
            return missing

    def _look(self) -> None:
        """See whether the last one was taken."""
        if self._is_out and self._descriptors is not None and not readable.wait([self._descriptors[0]], 0):
            self._note_taken()

    def _take_back(self) -> None:
        if self._is_out and self._descriptors is not None and take(self._descriptors[0]) is None:
            self._note_taken()
        self._is_out = False

    def _note_taken(self) -> None:
        self._is_out, self._taken_at = False, time.monotonic()
