"""The offers of an idle worker to the process it serves: to store the next task as already claimed by it."""

import os
import struct
import threading
import time
import uuid
from typing import NamedTuple

from autotask.processes import readable

#: Seconds within which the task should come after its offer was taken.
OVERDUE = 0.5

#: The form of an offer, in its first byte: the code at the other end of the pipe may be older or newer.
_VERSION = 1
_FORM = struct.Struct("=B16sQ")


class Offer(NamedTuple):
    """An offer; its number comes back with the task."""

    worker_id: uuid.UUID
    number: int


def take(descriptor: int) -> Offer | None:
    """Take and return the offer in the pipe, if there is one. Only one reader can get it.

    :param descriptor: the end of the pipe from which offers are read; it must not block.
    """
    words = bytearray(_FORM.size)
    try:
        # Not os.read(): eventlet replaces that by one that waits.
        if os.readv(descriptor, [words]) < len(words) or words[0] != _VERSION:
            return None
    except OSError:  # There is none, or the process has closed a descriptor that it did not know.
        return None
    _, id, number = _FORM.unpack(words)
    return Offer(uuid.UUID(bytes=id), number)


class Offers:
    """The offers of one worker, at most one at a time, in a pipe that it shares with the process it serves.

    Reading an offer takes it. So the worker can withdraw one that is still there, and sees whether one was taken.

    :param descriptors: the ends of the pipe, for reading and for writing; None if there is no process to make offers to.
    """

    def __init__(self, descriptors: tuple[int, int] | None) -> None:
        self._descriptors = descriptors
        self._lock = threading.Lock()
        self._id: uuid.UUID | None = None
        #: Whether the last one may still be in the pipe.
        self._is_out = False
        #: When the worker saw that the last one was taken; None again once it knows what happened to it.
        self._taken_at: float | None = None
        self._last = self._void = 0
        if descriptors is not None:
            for descriptor in descriptors:
                os.set_blocking(descriptor, False)
            # An offer that is still there is from a dead worker.
            take(descriptors[0])

    def open(self, id: uuid.UUID) -> None:
        """Make offers for this worker from now on."""
        with self._lock:
            self._id = id

    def make(self) -> None:
        """Make an offer, unless closed, or one is in the pipe, or was taken and its task is missing. Thread-safe."""
        with self._lock:
            self._look()
            if self._id is None or self._descriptors is None or self._is_out or self._taken_at is not None:
                return
            try:
                os.writev(self._descriptors[1], [_FORM.pack(_VERSION, self._id.bytes, self._last + 1)])
            except OSError:
                return  # No process is left to take it.
            self._last += 1
            self._is_out = True

    def close(self) -> None:
        """Withdraw the offer that is still there, and make no more."""
        with self._lock:
            self._withdraw()
            self._id = None

    def are_open(self) -> bool:
        """Whether offers are made, or one was taken: tasks may be stored as claimed that the worker does not know yet."""
        return self._id is not None or self._taken_at is not None

    def is_overdue(self) -> bool:
        """Whether an offer was taken a while ago, and its task has not come."""
        with self._lock:
            self._look()
            return self._taken_at is not None and time.monotonic() - self._taken_at >= OVERDUE

    def accept(self, number: int) -> bool:
        """Note that the task of an offer has come, and return whether the offer is still valid."""
        with self._lock:
            if number == self._last:
                self._is_out, self._taken_at = False, None
            return number > self._void

    def void(self) -> bool:
        """Make all offers so far invalid: the worker is about to look for their tasks in the database.

        :returns: whether one was taken whose task has not come.
        """
        with self._lock:
            self._withdraw()
            missing = self._taken_at is not None
            self._void, self._taken_at = self._last, None
            return missing

    def _look(self) -> None:
        """Note whether the last one was taken."""
        if self._is_out and self._descriptors is not None and not readable.wait([self._descriptors[0]], 0):
            self._note_taken()

    def _withdraw(self) -> None:
        if self._is_out and self._descriptors is not None and take(self._descriptors[0]) is None:
            self._note_taken()
        self._is_out = False

    def _note_taken(self) -> None:
        self._is_out, self._taken_at = False, time.monotonic()
