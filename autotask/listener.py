"""One thread and one connection with which all coroutines of a process wait for their tasks to finish."""

import asyncio
import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import find, hearing, notify, progress, read
from autotask.store.connection import Dedicated, dedicated
from autotask.store.progress import Seen
from autotask.store.read import StoredTask
from autotask.store.told import ToldTask, told_task
from autotask.wakeup import Wakeup

#: The thread also looks by itself, first after some milliseconds and finally each second, in case no notification arrives
#: (through a pooler that shares sessions between transactions).
_FIRST_LOOK = 0.002
_LONGEST_LOOK = 1.0

#: More tasks than this are looked at by their states first.
_MANY = 10

#: The most times that a notification is asked for again if it may not come.
_MOST_ASKED = 5

#: Seconds between two looks at the progress of the tasks that coroutines watch. Workers write it as often.
_WATCHED_EVERY = 1.0

#: Seconds without waiting coroutines after which the thread ends, and closes its connection.
_IDLE = 2.0


T = TypeVar("T")

#: The state of a task that nobody has read yet.
UNKNOWN = object()

#: A finished task; None if the task is not in the database.
Ended = StoredTask | ToldTask | None


class _Awaiting(Generic[T]):
    """A coroutine that waits for something about a task."""

    __slots__ = ("future", "id")

    def __init__(self, id: uuid.UUID) -> None:
        self.id = id
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def answer(self, value: T) -> None:
        self._settle(self.future.set_result, value)

    def fail(self, error: Exception) -> None:
        self._settle(self.future.set_exception, error)

    def _settle(self, settle: Callable[[Any], None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # The event loop is closed: nobody waits.
            self.future.get_loop().call_soon_threadsafe(lambda: None if self.future.done() else settle(value))


class _Waiter(_Awaiting[Ended]):
    """A coroutine that waits for a task to finish.

    :ivar sure: whether a notification will come. If not, the task has finished, or others have asked for one, or its row
        was locked.
    """

    __slots__ = ("asked", "channel", "listener", "sure")

    def __init__(self, id: uuid.UUID) -> None:
        super().__init__(id)
        self.channel = notify.ended_channel(id)
        self.listener: notify.ChannelListener | None = None
        self.sure = False
        self.asked = 0


class _Watcher(_Awaiting[Seen | None]):
    """A coroutine that waits until a task has come farther than is *known*."""

    __slots__ = ("known",)

    def __init__(self, id: uuid.UUID, known: object) -> None:
        super().__init__(id)
        self.known = known


class Listener:
    """Waits for any number of tasks, in a thread that exists only while coroutines wait and a moment longer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakeup = Wakeup()
        self._new: list[_Waiter] = []
        self._waiters: list[_Waiter] = []
        self._watchers: list[_Watcher] = []
        self._thread: threading.Thread | None = None
        self._idle_at = 0.0
        self._look = _FIRST_LOOK
        self._look_at = 0.0
        self._watch_at = 0.0

    def ended(self, id: uuid.UUID) -> "asyncio.Future[Ended]":
        """Return a future for a task that has finished; None if it is not in the database.

        It may be cancelled or set by somebody else. It raises ``django.db.DatabaseError`` if the database cannot be queried.
        """
        waiter = _Waiter(id)
        with self._lock:
            self._new.append(waiter)
            self._start()
        self._wakeup.wake()
        return waiter.future

    async def farther(self, id: uuid.UUID, known: object) -> Seen | None:
        """Wait until state or progress of a task are not what is known, and return them; None if it is gone.

        :param known: what this returned the last time; UNKNOWN before that.

        One statement each second looks at all tasks that are watched.

        :raises django.db.DatabaseError: the database cannot be queried.
        """
        watcher = _Watcher(id, known)
        with self._lock:
            self._watchers.append(watcher)
            self._start()
        self._wakeup.wake()
        return await watcher.future

    def _start(self) -> None:
        """Start the thread unless it runs; the lock is held."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="autotask-listener", daemon=True)
            thread.start()
            self._thread = thread  # only when it runs: if it cannot start, the next call has to try again

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: Dedicated | None = None
        while self._is_wanted():
            try:
                connection = connection or dedicated("listener")
                self._turn(connection)
            except Exception as error:  # whatever it is, the waiters must get it, and the next one must find a thread
                if connection is not None:
                    connection.close()
                self._fail(error)
        if connection is not None:
            connection.close()

    def _is_wanted(self) -> bool:
        with self._lock:
            if self._new or self._waiters or self._watchers:
                self._idle_at = time.monotonic() + _IDLE
            elif time.monotonic() >= self._idle_at:
                self._thread = None
                return False
            return True

    def _turn(self, connection: Dedicated) -> None:
        wrapper = connection.wrapper
        self._watch(wrapper)
        self._admit(connection)
        words = hearing.heard(wrapper)
        if not words:
            self._sleep(wrapper)
        # By the clock: new waiters or notifications may interrupt each sleep.
        if (now := time.monotonic()) >= self._look_at:
            self._ask(wrapper, self._waiters)
            self._look = min(2 * self._look, _LONGEST_LOOK)
            self._look_at = now + self._look
            self._settle(wrapper, self._waiters)
            return
        words |= hearing.heard(wrapper)
        self._settle(wrapper, [waiter for waiter in self._waiters if waiter.channel in words], words)

    def _sleep(self, wrapper: BaseDatabaseWrapper) -> None:
        """Sleep until a new waiter or the database ends the sleep, or it is time to look."""
        now = time.monotonic()
        seconds = max(0.0, self._look_at - now) if self._waiters else _IDLE
        if self._watchers:
            seconds = min(seconds, max(0.0, self._watch_at - now))
        self._wakeup.sleep(seconds, wrapper.connection.fileno())

    def _watch(self, wrapper: BaseDatabaseWrapper) -> None:
        """Look how far the watched tasks have come, once a second, and answer those whose task has come farther."""
        if not self._watchers or time.monotonic() < self._watch_at:
            return
        with self._lock:
            watchers = [watcher for watcher in self._watchers if not watcher.future.done()]
        found = progress.seen(wrapper, {watcher.id for watcher in watchers})
        farther = [watcher for watcher in watchers if found.get(watcher.id) != watcher.known]
        for watcher in farther:
            watcher.answer(found.get(watcher.id))
        with self._lock:
            self._watchers = [
                watcher for watcher in self._watchers if watcher not in farther and not watcher.future.done()
            ]
        self._watch_at = time.monotonic() + _WATCHED_EVERY

    def _admit(self, connection: Dedicated) -> None:
        """Take in new waiters, and look at those of their tasks that may have finished before."""
        with self._lock:
            new, self._new = self._new, []
            self._waiters += new
        hears = connection.hears()
        if hears:
            # Also those that came before this was known.
            new = [waiter for waiter in self._waiters if waiter.listener is None]
            for waiter in new:
                waiter.listener, waiter.sure = read.listen(connection.wrapper, waiter.id, wait=False)
        else:
            self._ask(connection.wrapper, new)
        # The first look sees tasks that finish before the notification was asked for.
        unsure = [waiter for waiter in new if not waiter.sure]
        if unsure or (new and not hears):  # else a notification will come for each
            self._look = _FIRST_LOOK
            self._look_at = min(self._look_at, time.monotonic() + self._look)
            self._settle(connection.wrapper, unsure)

    def _ask(self, wrapper: BaseDatabaseWrapper, waiters: Iterable[_Waiter]) -> None:
        """Ask again for the notifications that are not sure to come: a claim may have locked the row for a moment."""
        unsure = [waiter for waiter in waiters if not waiter.sure and waiter.asked < _MOST_ASKED]
        sure = {id for id in {waiter.id for waiter in unsure} if read.ask_to_be_told(wrapper, id, wait=False)}
        for waiter in unsure:
            waiter.asked += 1
            waiter.sure = waiter.id in sure

    def _settle(
        self, wrapper: BaseDatabaseWrapper, waiters: Iterable[_Waiter], words: Mapping[str, str] | None = None
    ) -> None:
        """Answer the waiters whose task has finished or is gone, and forget them and those that wait no more.

        :param words: the notifications on the channels of some of them.
        """
        waiters = [waiter for waiter in waiters if not waiter.future.done()]
        words = words or {}
        channels = {waiter.id: waiter.channel for waiter in waiters}
        known = {id: told_task(id, words.get(channel, "")) for id, channel in channels.items()}
        unknown = {id for id, task in known.items() if task is None}
        if len(unknown) > _MANY:  # a look at all: most are live, and their rows are not needed
            states = find.states(wrapper, list(unknown))
            unknown -= {id for id, state in states.items() if not state.ended}
            waiters = [waiter for waiter in waiters if waiter.id in unknown or known[waiter.id] is not None]
        found = {stored.id: stored for stored in read.tasks(wrapper, list(unknown))}
        settled = set()
        for waiter in waiters:
            ended = known[waiter.id] or found.get(waiter.id)
            if ended is None or ended.state.ended:
                waiter.answer(ended)
                settled.add(waiter)
        leaving = {waiter for waiter in self._waiters if waiter in settled or waiter.future.done()}
        self._waiters = [waiter for waiter in self._waiters if waiter not in leaving]
        still_awaited = {waiter.channel for waiter in self._waiters}
        for waiter in leaving:
            if waiter.listener is not None and waiter.channel not in still_awaited:
                waiter.listener.close()

    def _fail(self, error: Exception) -> None:
        with self._lock:
            failed: list[_Awaiting[Any]] = [*self._waiters, *self._new, *self._watchers]
            self._waiters, self._new, self._watchers = [], [], []
        for each in failed:
            each.fail(error)
        self._idle_at = time.monotonic()  # No waiter is left: the thread ends, and the next has a new connection.


_listener = Listener()


def ended(id: uuid.UUID) -> asyncio.Future[Ended]:
    """Return a future for a task that has finished; see :meth:`Listener.ended`."""
    return _listener.ended(id)


async def farther(id: uuid.UUID, known: object) -> Seen | None:
    """Wait until a task has come farther than is known; see :meth:`Listener.farther`."""
    return await _listener.farther(id, known)


def _renew_in_fork() -> None:
    # The thread and all waiters have stayed behind in the parent.
    global _listener
    _listener = Listener()


os.register_at_fork(after_in_child=_renew_in_fork)
