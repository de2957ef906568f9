"""The pipes between a Django process and its companion."""

import contextlib
import os

from autotask.offer import Offer, take
from autotask.processes import streams
from autotask.wakeup import WORD, handing


class Pipes:
    """What the Django process holds of them.

    :ivar life: the end that the guard reads; nobody ever writes to the other one, which is closed when this process is gone.
    :ivar wake: the end at which the worker hears of transactions that have enqueued something, and is handed tasks.
    :ivar offers: both ends of the one in which the worker offers to be handed the next task.
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
        """Tell the worker that something was enqueued."""
        # If the pipe is full of words that nobody has read yet, it need not be told again.
        self._write(WORD)

    def take_offer(self) -> Offer | None:
        """Take the offer of the worker to be handed a task, if it has made one."""
        return take(self.offers[0])

    def hand_over(self, body: bytes) -> None:
        """Give the worker a task that is stored as claimed by it."""
        # If the pipe is full, the worker finds the task in the table before long, and gives it back.
        self._write(handing(body))

    def _write(self, words: bytes) -> None:
        with contextlib.suppress(OSError):
            os.writev(self._wake_write, [words])  # not os.write(): eventlet replaces that by one that waits
