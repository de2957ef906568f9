"""The database connections that an attempt opens in threads other than its own, and their end with it.

The thread of a pool tidies its own connections. But a task may use the database from other threads too: from those in which
asgiref runs synchronous code under an event loop of the task, from those of ``asyncio.to_thread()``, and from threads that it
starts. Nobody would close what they leave open, and after a restart of the database each would fail for ever.
"""

import concurrent.futures.thread as pools
import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from autotask.worker import hygiene

logger = logging.getLogger("autotask.worker")

#: Seconds that the thread of an attempt's own synchronous code gets to finish what it is at.
TO_FINISH = 1.0

#: Seconds between two looks for threads that have outlived their attempt: the first, and the most. Each is twice as long.
FIRST_LOOK = 0.01
LAST_LOOK = 5.0

_executors: Any = SyncToAsync.context_to_thread_executor  # of any type, for an attribute that typeshed does not know

#: The code at which a thread of a ``ThreadPoolExecutor`` stands while it has nothing to do.
_IDLE = pools._worker.__code__


@dataclass(slots=True, eq=False)
class Opened:
    """A connection that was opened in a thread which the worker does not tidy.

    :ivar raw: the connection of the driver.
    :ivar is_over: whether an attempt has ended since it was opened, so that it is no use to keep it.
    """

    wrapper: BaseDatabaseWrapper
    raw: Any
    thread: threading.Thread
    is_over: bool = False

    def is_left_open(self) -> bool:
        """Whether a transaction or a statement is not finished in it, and its thread is not at it either."""
        return self.wrapper.connection is self.raw and hygiene.is_open(self.wrapper) and self._stands_still()

    def end(self) -> bool:
        """Close it, if its thread does nothing now; return whether it is closed.

        The thread may take up something new while we look. So it is taken from Django before the second look: a thread that
        stands still then cannot have it any more.
        """
        if getattr(self.raw, "closed", False):
            return True
        if not self._stands_still():
            return False
        taken = self.wrapper.connection is self.raw
        if taken:
            self.wrapper.connection = None
        if not self._stands_still():
            if taken and self.wrapper.connection is None:
                self.wrapper.connection = self.raw  # It may be in the middle of a transaction.
            return False
        with contextlib.suppress(Exception):  # It may be broken, which is as good.
            hygiene.close_driver_connection(self.raw)
        return True

    def end_without_owner(self) -> bool:
        """The same where nobody knows whose it is: a thread that lives may go on with its transaction."""
        if self.thread.is_alive():
            return self.is_over and not self.is_left_open() and self.end()
        if self.is_left_open():
            logger.warning(
                "A thread that a task has started ended with an open transaction on the database %r, which is lost",
                self.wrapper.alias,
            )
        return self.end()

    def _stands_still(self) -> bool:
        if not self.thread.is_alive():
            return True
        frame = sys._current_frames().get(self.thread.ident or 0)
        # One that threading has not started counts as alive after its end, too; then it has no frame.
        return frame is None or frame.f_code is _IDLE


class Traces(ThreadSensitiveContext):
    """What one attempt leaves behind in other threads.

    It is also what asgiref goes by: thread-sensitive code runs in one thread for each of these, as for each request under
    ASGI. Without that, asgiref would use a thread that lives as long as the process.

    :ivar left_open: the aliases of connections with an unfinished transaction that other threads have left.
    """

    # Each task has one, and hardly any fills it: what is empty costs nothing. The first three are asgiref's.
    token = None
    _executor = None
    _exited = False
    left_open: tuple[str, ...] = ()
    _opened: tuple[Opened, ...] = ()
    _is_over = False

    # That of asgiref would set them for each task.
    __init__ = object.__init__

    def is_empty(self) -> bool:
        """Whether there is nothing to settle, also not of other attempts."""
        # By the dictionary inside, since the length of the weak one takes longer than all else here.
        return not (self._opened or self.left_open or _executors.data or _leftovers.entries or _leftovers.without_owner)

    def add(self, entry: Opened) -> None:
        """Take a connection that was opened by the attempt, or by what goes on after it."""
        if self._is_over:
            _leftovers.end([entry])
        else:
            self._opened += (entry,)

    def note_left_open(self, aliases: Iterable[str]) -> None:
        """Note databases on which a transaction was left open, and is lost."""
        self.left_open += tuple(aliases)

    def end_thread(self) -> None:
        """End the thread that asgiref has started for the thread-sensitive code of an attempt in a thread, if there is one."""
        if (executor := _executors.pop(self, None)) is not None:
            # What the task has cut off may still be at work there. Then the thread ends when that does.
            with contextlib.suppress(Exception):
                self.note_left_open(executor.submit(_tidy).result(TO_FINISH))
            executor.shutdown(wait=False)

    def end_in_thread(self) -> None:
        """Settle after an attempt in a thread; what ends is its own thread for synchronous code too."""
        self.end_thread()
        self.settle()

    def end(self) -> None:
        """Settle for the last time: from now on nobody asks what was left open."""
        self._is_over = True
        self.settle()

    def settle(self) -> None:
        """Close what other threads have opened, and note what they have left open there. Waits for nothing."""
        if self._opened:
            opened, self._opened = self._opened, ()
            self.note_left_open(entry.wrapper.alias for entry in opened if entry.is_left_open())
            _leftovers.end(opened)
        elif _leftovers.entries or _leftovers.without_owner:
            _leftovers.end([])


#: Have traces belong to the present context of contextvars from now on.
enter = SyncToAsync.thread_sensitive_context.set
_present = SyncToAsync.thread_sensitive_context.get


def present() -> Traces | None:
    """Return the traces of the attempt that runs in the present context of contextvars."""
    traces = _present(None)
    return traces if isinstance(traces, Traces) else None


def _tidy() -> list[str]:
    left_open = hygiene.left_open()
    hygiene.tidy_connections()
    return left_open


class _Leftovers:
    """Connections that are closed as soon as their threads end, or stand still: their attempt is over, or is not known.

    Tasks add to them from anywhere, and may be interrupted there. So nothing here waits for a lock.

    """

    def __init__(self) -> None:
        self.entries: deque[Opened] = deque()
        self.without_owner: deque[Opened] = deque()
        self._looks = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self.entries or self.without_owner)

    def end(self, entries: Iterable[Opened]) -> None:
        """Close connections of an attempt that is over, now or later."""
        self.entries += entries
        for entry in list(self.without_owner):
            entry.is_over = True
        self._try()

    def add(self, entry: Opened) -> None:
        """Take a connection of which nobody can tell whose it is: before Python 3.14 threads inherit no context."""
        self.without_owner.append(entry)
        self._try()

    def _try(self) -> None:
        """Close what can be closed, and look again later for the rest."""
        _thin_out(self.entries, Opened.end)
        _thin_out(self.without_owner, Opened.end_without_owner)
        if self and self._looks.acquire(blocking=False):
            try:
                threading.Thread(target=self._look, name="autotask-leftovers", daemon=True).start()
            except RuntimeError:  # No more threads are to be had: the next one that is left tries again.
                self._looks.release()

    def _look(self) -> None:
        pause = FIRST_LOOK
        while self:
            time.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
            _thin_out(self.entries, Opened.end)
            _thin_out(self.without_owner, Opened.end_without_owner)
        self._looks.release()
        if self:
            self._try()  # It came just now, and has found this thread still there.


def _thin_out(entries: deque[Opened], end: Callable[[Opened], bool]) -> None:
    """Take out what is ended."""
    for _ in range(len(entries)):
        try:
            entry = entries.popleft()
        except IndexError:
            return  # Others are at it, too.
        if not end(entry):
            entries.append(entry)


_leftovers = _Leftovers()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    # A connection that is shared between threads is closed by those who share it.
    if not hygiene.is_worker() or hygiene.is_tidied_here() or connection.allow_thread_sharing:
        return
    entry = Opened(connection, connection.connection, threading.current_thread())
    if (traces := present()) is not None:
        traces.add(entry)
    else:
        _leftovers.add(entry)


# Sent in the thread that connects.
connection_created.connect(_note, dispatch_uid="autotask.traces")
