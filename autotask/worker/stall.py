"""The stall watch: log when the database does not answer, and end a worker in time that has to stop meanwhile."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from autotask.conf import settings
from autotask.processes import readable
from autotask.store import health
from autotask.store.connection import dedicated, unanswered
from autotask.wakeup import Wakeup
from autotask.worker import ending
from autotask.worker.outage import SAY_EVERY, Outage

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks, and between two while the worker has to stop.
LOOK_EVERY = 1.0
LOOK_OFTEN = 0.1

#: Seconds without an answer after which the watch takes over from a worker that has to stop.
TAKE_OVER = 0.5

#: Seconds that the process lives after the grace: enough to interrupt its tasks and to write the last outcomes.
LAST = 2.0

#: Seconds before a line to ask, on another connection, why there is no answer.
ASK_BEFORE = 2.0

#: Signals within this many seconds are one request to stop, as for the worker itself.
SAME_REQUEST = 0.3

WAITS_FOR_STANDBY = (
    ": PostgreSQL waits for a synchronous standby to confirm a commit, which no timeout ends; bring the standby back, or "
    "correct synchronous_standby_names"
)


class StallWatch:
    """A thread that looks, once a second, whether a connection of this process waits for an answer.

    The main thread itself may wait, in C, where it handles no signals. So their numbers come to this thread first: it wakes
    the loop, and ends the process itself if the main thread does not do so in time.

    :param wakeup: wakes the loop of the worker.
    :param stop_tasks: called repeatedly while the worker has to stop and its loop cannot, with whether the grace is over.
    :param exit_status: returns the exit status of the process.
    :ivar signal_fd: for :func:`signal.set_wakeup_fd`.
    """

    def __init__(self, wakeup: Wakeup, stop_tasks: Callable[[bool], None], exit_status: Callable[[], int]) -> None:
        self._wakeup = wakeup
        self._stop_tasks = stop_tasks
        self._exit_status = exit_status
        self._signals, self.signal_fd = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(self.signal_fd, False)
        self._asked_at: float | None = None
        self._stop_at = float("inf")
        self._longest = 0.0
        self._why = ""
        self._ask_at = float("-inf")
        self.asking_thread: threading.Thread | None = None
        self._ended = False
        self.thread = threading.Thread(target=self._run, name="autotask-stall", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread, soon."""
        self._ended = True

    def _run(self) -> None:
        while not self._ended:
            if readable.wait([self._signals], LOOK_EVERY if self._asked_at is None else LOOK_OFTEN):
                self._note_signals(os.read(self._signals, 4096), time.monotonic())
            try:
                self._look(time.monotonic(), *(unanswered() or (0.0, "")))
            except Exception:
                logger.exception("The watch over the answers of the database has failed, and continues")

    def _note_signals(self, numbers: bytes, now: float) -> None:
        self._wakeup.wake()
        if not {signal.SIGTERM, signal.SIGINT}.intersection(numbers):
            return
        if self._asked_at is None:
            self._stop_at = now + settings.SHUTDOWN_GRACE
        elif now - self._asked_at >= SAME_REQUEST:
            self._stop_at = min(self._stop_at, now)
        self._asked_at = now

    def _look(self, now: float, seconds: float, role: str) -> None:
        """Log and act, when a connection has waited for *seconds*."""
        if seconds >= SAY_EVERY:
            self._longest = seconds
            if Outage.may_tell():
                logger.warning(
                    "The database has not answered for %d s; still waiting (connection: %s)%s",
                    seconds,
                    role,
                    self._why,
                )
        elif self._longest:
            logger.info("The database answers again, after more than %d s", self._longest)
            self._longest, self._why = 0.0, ""
        if seconds >= SAY_EVERY - ASK_BEFORE and not self._why and now >= self._ask_at:
            self._ask_at = now + SAY_EVERY
            self._ask_why()
        if self._asked_at is not None and seconds >= TAKE_OVER:
            self._stop_tasks(now >= self._stop_at)
            if now >= self._stop_at + LAST:
                self._leave(seconds)

    def _ask_why(self) -> None:
        # In a thread of its own: that question may not be answered either.
        if self.asking_thread is None or not self.asking_thread.is_alive():
            self.asking_thread = threading.Thread(target=self._find_out_why, name="autotask-why", daemon=True)
            self.asking_thread.start()

    def _find_out_why(self) -> None:
        # If it fails, the line says nothing about the reason.
        with contextlib.suppress(Exception), contextlib.closing(dedicated("stall")) as connection:
            if health.waits_for_standby(connection.wrapper):
                self._why = WAITS_FOR_STANDBY

    def _leave(self, seconds: float) -> None:
        logger.warning(
            "worker %d ends without an answer from the database, after waiting for %d s; tasks whose outcomes "
            "did not reach it run again",
            os.getpid(),
            seconds,
        )
        ending.leave(self._exit_status())
