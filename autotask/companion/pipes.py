"""The pipes between a Django process and its companion."""

import contextlib
import os

from autotask.offer import Offer, take
from autotask.processes import readable, streams
from autotask.wakeup import WORD, handing


class Pipes:
    """The ends of the pipes in the Django process.

    :ivar life: the end that the guard reads; the other one is never written to, and closes when this process is gone.
    :ivar wake: the end where the worker is woken after transactions that enqueue, and gets tasks that are handed over.
    :ivar offers: both ends of the pipe in which the worker offers to take the next task.
    :raises OSError: there are no more descriptors.
    """

    def __init__(self) -> None:
        self._all: list[int] = []
        try:
            for _ in range(3):
                self._all += streams.pipe()
        except OSError:
            self.close()
            raise
        self.life, _, self.wake, self._wake_write, *offers = self._all
        self.offers = (offers[0], offers[1])
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self.offers[0], False)

    def close(self) -> None:
        """Close all of them."""
        for descriptor in self._all:
            os.close(descriptor)

    def wake_worker(self) -> None:
        """Notify the worker that a task was enqueued."""
        # If the pipe is full of unread words, no further one is needed.
        self._write(WORD)

    def take_offer(self, patience: float = 0.0) -> Offer | None:
        """Take the offer of the worker to take a task, if it has made one, or makes one within *patience* seconds."""
        offer = take(self.offers[0])
        if offer is None and patience and readable.wait([self.offers[0]], patience):
            offer = take(self.offers[0])
        return offer

    def hand_over(self, body: bytes) -> None:
        """Give the worker a task that is stored as claimed by it."""
        # If the pipe is full, the worker soon finds the task in the table, and releases it.
        self._write(handing(body))

    def _write(self, words: bytes) -> None:
        with contextlib.suppress(OSError):
            os.writev(self._wake_write, [words])  # not os.write(), which eventlet replaces with one that waits
