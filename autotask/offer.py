"""What a worker that has nothing to do offers the process it serves: the next task may be stored as claimed by it."""

import contextlib
import os
import threading
import uuid

#: Bytes of an offer: it is the id of the worker.
_SIZE = 16


def take(descriptor: int) -> uuid.UUID | None:
    """Return the worker that makes an offer, if one does. Nobody else can take the same offer.

    :param descriptor: the end of the pipe from which offers are read.
    """
    try:
        offer = os.read(descriptor, _SIZE)
    except BlockingIOError:
        return None
    return uuid.UUID(bytes=offer) if len(offer) == _SIZE else None


class Offers:
    """The offers of one worker, in a pipe that it shares with the process it serves; there is one at most.

    Who reads an offer has it. So the worker can take back what is still there, and learns whether it was taken.

    :param descriptors: the ends of the pipe, for reading and for writing; None if there is nobody to make offers to.
    :ivar taken: whether one was taken of which nothing more is known yet: a task is on its way, or its caller has died.
    """

    def __init__(self, descriptors: tuple[int, int] | None) -> None:
        self._descriptors = descriptors
        self._lock = threading.Lock()
        self._id: uuid.UUID | None = None
        self._made = False
        self.taken = False
        if descriptors is not None:
            for descriptor in descriptors:
                os.set_blocking(descriptor, False)
            # What is still there was offered by a worker that is dead.
            take(descriptors[0])

    def open(self, id: uuid.UUID) -> None:
        """Let offers be made from now on.

        :param id: of the worker.
        """
        with self._lock:
            self._id = id

    def make(self) -> None:
        """Make an offer, if they are open and none was taken that is not settled. Any thread may call this."""
        with self._lock:
            self._take_back()
            if self._id is not None and self._descriptors is not None and not self.taken:
                # Where the pipe is broken there is nobody left to take it.
                with contextlib.suppress(OSError):
                    os.write(self._descriptors[1], self._id.bytes)
                    self._made = True

    def close(self) -> None:
        """Take back what is still there, and let no more offers be made."""
        with self._lock:
            self._take_back()
            self._id = None

    def settle(self) -> None:
        """Note that it is known what has become of the offer that was taken."""
        with self._lock:
            self._made = self.taken = False

    def _take_back(self) -> None:
        if self._descriptors is not None and take(self._descriptors[0]) is None:
            self.taken = self.taken or self._made
        self._made = False
