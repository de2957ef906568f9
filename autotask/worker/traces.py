"""The database connections that an attempt opens in threads other than its own, and their end with it.

The thread of a pool tidies its own connections. But a task may use the database from other threads too: from those in which
asgiref runs synchronous code under an event loop of the task, from those of ``asyncio.to_thread()``, and from threads that it
starts. Nobody would close connections left open there, and after a restart of the database each would fail forever.
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

#: Seconds that the thread of an attempt's own synchronous code gets to finish its current call.
TO_FINISH = 1.0

#: Seconds between two looks for threads that have outlived their attempt: the first, and the most. Each is twice as long.
FIRST_LOOK = 0.01
LAST_LOOK = 5.0

_executors: Any = SyncToAsync.context_to_thread_executor  # Any: it has an attribute that typeshed does not know

#: The code of a thread of a ``ThreadPoolExecutor`` while it is idle.
_IDLE = pools._worker.__code__


@dataclass(slots=True, eq=False)
class Opened:
    """A connection that was opened in a thread that the worker does not tidy.

    :ivar raw: the connection of the driver.
    :ivar is_over: whether an attempt has ended since it was opened, so there is no use in keeping it.
    """

    wrapper: BaseDatabaseWrapper
    raw: Any
    thread: threading.Thread
    is_over: bool = False

    def is_left_open(self) -> bool:
        """Whether it has an unfinished transaction or statement, and its thread is idle."""
        return self.wrapper.connection is self.raw and hygiene.is_open(self.wrapper) and self._is_idle()

    def end(self) -> bool:
        """Close it if its thread is idle; return whether it is closed.

        The thread may start something new while we look. So the connection is taken from Django before the second look: a
        thread that is idle then can no longer have it. One that Django no longer has is closed, or went back to a pool, from
        which somebody else may have it by now.
        """
        if self.wrapper.connection is not self.raw or getattr(self.raw, "closed", False):
            return True
        if not self._is_idle():
            return False
        if self.wrapper.connection is not self.raw:
            return True  # its thread has ended, and has closed it before
        self.wrapper.connection = None
        if not self._is_idle() and self.wrapper.connection is None:
            self.wrapper.connection = self.raw  # It may be in the middle of a transaction.
            return False
        # No thread has it now; if the thread is not idle, it has opened another one.
        with contextlib.suppress(Exception):  # It may be broken, which does as well.
            hygiene.close_driver_connection(self.raw)
        return True

    def end_without_owner(self) -> bool:
        """Do the same for a connection of unknown origin: a thread that lives may continue its transaction."""
        if self.thread.is_alive():
            return self.is_over and not self.is_left_open() and self.end()
        if self.is_left_open():
            logger.warning(
                "A thread started by a task ended with an open transaction on the database %r, which is lost",
                self.wrapper.alias,
            )
        return self.end()

    def _is_idle(self) -> bool:
        if not self.thread.is_alive():
            return True
        frame = sys._current_frames().get(self.thread.ident or 0)
        # A thread that threading has not started counts as alive even after its end; then it has no frame.
        return frame is None or frame.f_code is _IDLE


class Traces(ThreadSensitiveContext):
    """The connections that one attempt leaves behind in other threads.

    For asgiref this is a context of its own: thread-sensitive code runs in one thread for each, as for each request under
    ASGI. Otherwise asgiref would use a thread that lives as long as the process.

    :ivar left_open: the aliases of connections with an unfinished transaction that other threads have left.
    """

    # Each task has one, and hardly any fills it: class attributes cost nothing. The first three are asgiref's.
    token = None
    _executor = None
    _exited = False
    left_open: tuple[str, ...] = ()
    _opened: tuple[Opened, ...] = ()
    _is_over = False

    # asgiref's own would set them for each task.
    __init__ = object.__init__

    def is_empty(self) -> bool:
        """Whether there is nothing to settle, not even for other attempts."""
        # By the inner dictionary: the length of the weak one would take longer than all else here.
        return not (self._opened or self.left_open or _executors.data or _leftovers.entries or _leftovers.without_owner)

    def add(self, entry: Opened) -> None:
        """Take a connection that was opened by the attempt, or by a thread that outlives it."""
        if self._is_over:
            _leftovers.end([entry])
        else:
            self._opened += (entry,)

    def note_left_open(self, aliases: Iterable[str]) -> None:
        """Note databases on which a transaction was left open, and is lost."""
        self.left_open += tuple(aliases)

    def end_thread(self) -> None:
        """End the thread that asgiref has started for the thread-sensitive code of the attempt, if any."""
        if (executor := _executors.pop(self, None)) is not None:
            # A call that was cut off may still run there. Then the thread ends after it.
            with contextlib.suppress(Exception):
                self.note_left_open(executor.submit(_tidy).result(TO_FINISH))
            executor.shutdown(wait=False)

    def end_in_thread(self) -> None:
        """Settle after an attempt in a thread, and end its own thread for synchronous code."""
        self.end_thread()
        self.settle()

    def end(self) -> None:
        """Settle for the last time: nobody asks now what was left open."""
        self._is_over = True
        self.settle()

    def settle(self) -> None:
        """Close the connections of other threads, and note those with open transactions. Waits for nothing."""
        if self._opened:
            opened, self._opened = self._opened, ()
            self.note_left_open(entry.wrapper.alias for entry in opened if entry.is_left_open())
            _leftovers.end(opened)
        elif _leftovers.entries or _leftovers.without_owner:
            _leftovers.end([])


#: Make traces those of the current context of contextvars.
enter = SyncToAsync.thread_sensitive_context.set
_present = SyncToAsync.thread_sensitive_context.get


def present() -> Traces | None:
    """Return the traces of the attempt that runs in the current context of contextvars."""
    traces = _present(None)
    return traces if isinstance(traces, Traces) else None


def _tidy() -> list[str]:
    left_open = hygiene.left_open()
    hygiene.tidy_connections()
    return left_open


class _Leftovers:
    """Connections to close as soon as their threads end or are idle: their attempt is over, or is not known.

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
        """Take a connection of unknown origin: before Python 3.14 threads inherit no context."""
        self.without_owner.append(entry)
        self._try()

    def _try(self) -> None:
        """Close those that can be closed, and look again later for the rest."""
        _thin_out(self.entries, Opened.end)
        _thin_out(self.without_owner, Opened.end_without_owner)
        if self and self._looks.acquire(blocking=False):
            try:
                threading.Thread(target=self._look, name="autotask-leftovers", daemon=True).start()
            except RuntimeError:  # No more threads: the next leftover tries again.
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
            self._try()  # One was added just now, while this thread was still there.


def _thin_out(entries: deque[Opened], end: Callable[[Opened], bool]) -> None:
    """Remove the entries that are ended."""
    for _ in range(len(entries)):
        try:
            entry = entries.popleft()
        except IndexError:
            return  # Other threads remove entries, too.
        if not end(entry):
            entries.append(entry)


_leftovers = _Leftovers()


def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    # A connection shared between threads is closed by its owners.
    if not hygiene.is_worker() or hygiene.is_tidied_here() or connection.allow_thread_sharing:
        return
    entry = Opened(connection, connection.connection, threading.current_thread())
    if (traces := present()) is not None:
        traces.add(entry)
    else:
        _leftovers.add(entry)


# Sent in the thread that connects.
connection_created.connect(_note, dispatch_uid="autotask.traces")
