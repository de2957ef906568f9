"""A Django process as its guard sees it: the worker that is kept for it, until it is gone; standard library only."""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from autotask.processes import readable, supervised
from autotask.processes.supervised import LOOK_EVERY, SupervisedProcess


class DjangoProcess(NamedTuple):
    """The state of a Django process, as it has told its guard.

    :ivar pid: its process id.
    :ivar life: what has its end when the process is gone: a pipe that it holds open, or its socket to the guard.
    :ivar wake: the read end of the pipe with which it wakes the worker.
    :ivar offers: both ends of the pipe for offers. An older one has none.
    :ivar grace: seconds that its worker gets to finish its tasks.
    """

    pid: int
    life: int
    wake: int
    offers: Sequence[int]
    grace: float

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors that its worker gets, in the order of :func:`variables`."""
        return (self.wake, *self.offers)

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which its worker knows it, and the descriptors if their numbers are the same."""
        offers = {"AUTOTASK_OFFER_FDS": ",".join(map(str, self.offers))} if self.offers else {}
        return {"AUTOTASK_SERVES": str(self.pid), "AUTOTASK_WAKE_FD": str(self.wake), **offers}


class Served:
    """Keeps one worker running until its Django process is gone, and stops it then.

    :param is_gone: whether the process is gone, if something else than the end of its pipe can tell that.
    :param pidfd: can be read when the process is gone; None where the kernel tells it in another way.
    """

    def __init__(
        self, django: DjangoProcess, worker: SupervisedProcess, is_gone: Callable[[], bool], pidfd: int | None = None
    ) -> None:
        self._django = django
        self._worker = worker
        self._is_gone = is_gone
        self._ties = [django.life, *([] if pidfd is None else [pidfd])]
        self._stop: supervised.Stop | None = None

    def look_after(self) -> None:
        """Start its worker, or the next one, if it is time; let it stop once the process is gone."""
        if self._stop is None:
            if self._is_gone() or self._has_let_go():
                self.stop()
            else:
                if self._django.offers and not self._worker.running():
                    self._drop_offer()
                self._worker.look_after()

    def stop(self, *, at_once: bool = False) -> None:
        """Let its worker stop; *at_once*: without the grace."""
        if self._stop is None:
            self._stop = supervised.Stop([self._worker], self._django.grace)
        if at_once:
            self._stop.hurry()

    def is_over(self) -> bool:
        """Whether its worker was stopped, and has ended."""
        return self._stop is not None and self._stop.is_over()

    def pids(self) -> list[int]:
        """Return the process ids of its workers that were not buried yet."""
        return self._worker.pids()

    def rest(self) -> float:
        """Return the number of seconds that it can be left alone."""
        return min(LOOK_EVERY, self._worker.rest() if self._stop is None else self._stop.rest())

    def descriptors(self) -> list[int]:
        """Return the descriptors that can be read when there is something to do."""
        return self._ties if self._stop is None else []

    def close(self) -> None:
        """Close all that came from the process."""
        for descriptor in (*self._ties, *self._django.descriptors()):
            os.close(descriptor)

    def _has_let_go(self) -> bool:
        ready = readable.wait(self._ties, 0)
        if self._django.life in ready:
            with contextlib.suppress(OSError):  # it has gone without reading what was sent to it
                return not os.read(self._django.life, 1)
            return True
        return bool(ready)

    def _drop_offer(self) -> None:
        """Remove the offer of a dead worker."""
        # Without autotask.offer and its imports: this process should stay small.
        with contextlib.suppress(OSError):  # there is none
            os.readv(self._django.offers[0], [bytearray(64)])
