"""One thread and one connection by which all coroutines of a process wait for the ends of their tasks."""

import asyncio
import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import hearing, notify, read
from autotask.store.connection import Dedicated, dedicated
from autotask.store.read import StoredTask
from autotask.store.told import ToldTask, told_task
from autotask.wakeup import Wakeup

#: The thread looks by itself as well, after some milliseconds at first and each second at last, for the case that
#: nothing can be heard (through a pooler that shares sessions between transactions).
_FIRST_LOOK = 0.002
_LONGEST_LOOK = 1.0

#: How often it is asked again to be told, where that is not sure.
_ASKED = 5

#: Seconds after which a thread for which nobody waits ends, and closes its connection.
_IDLE = 2.0


#: What those who wait are told: None if the task is not there.
Ended = StoredTask | ToldTask | None


class _Waiter:
    """A coroutine that waits for the end of a task.

    :ivar sure: whether the end will be told. If it is not, the task has ended, or others have asked to be told, or its row
        was locked.
    """

    def __init__(self, id: uuid.UUID) -> None:
        self.id = id
        self.channel = notify.ended_channel(id)
        self.listener: notify.ChannelListener | None = None
        self.sure = False
        self.asked = 0
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Ended] = self._loop.create_future()

    def tell(self, ended: Ended) -> None:
        self._settle(self.future.set_result, ended)

    def fail(self, error: Exception) -> None:
        self._settle(self.future.set_exception, error)

    def _settle(self, settle: Callable[[Any], None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # The event loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(lambda: None if self.future.done() else settle(value))


class Listener:
    """Waits for any number of tasks at a time, in a thread that exists only while somebody waits and a moment longer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakeup = Wakeup()
        self._new: list[_Waiter] = []
        self._waiters: list[_Waiter] = []
        self._thread: threading.Thread | None = None
        self._idle_at = 0.0
        self._look = _FIRST_LOOK
        self._look_at = 0.0

    async def ended(self, id: uuid.UUID) -> Ended:
        """Wait until a task has ended, and return it; None if it is not in the database (any more).

        :raises django.db.DatabaseError: the database cannot be asked.
        """
        waiter = _Waiter(id)
        with self._lock:
            self._new.append(waiter)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="autotask-listener", daemon=True)
                thread.start()
                self._thread = thread  # not before it runs: else nobody would try again
        self._wakeup.wake()
        return await waiter.future

    # --- what the thread does ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: Dedicated | None = None
        while self._is_wanted():
            try:
                connection = connection or dedicated("listener")
                self._turn(connection)
            except Exception as error:  # whatever it is, those who wait must hear of it, and the next one find a thread
                if connection is not None:
                    connection.close()
                self._fail(error)
        if connection is not None:
            connection.close()

    def _is_wanted(self) -> bool:
        with self._lock:
            if self._new or self._waiters:
                self._idle_at = time.monotonic() + _IDLE
            elif time.monotonic() >= self._idle_at:
                self._thread = None
                return False
            return True

    def _turn(self, connection: Dedicated) -> None:
        wrapper = connection.wrapper
        self._admit(connection)
        told = hearing.heard(wrapper)
        if not told:
            self._sleep(wrapper)
        # By the clock: where somebody new comes again and again, or much is heard, no sleep comes to its end.
        if (now := time.monotonic()) >= self._look_at:
            self._ask(wrapper, self._waiters)
            self._look = min(2 * self._look, _LONGEST_LOOK)
            self._look_at = now + self._look
            self._settle(wrapper, self._waiters)
            return
        told |= hearing.heard(wrapper)
        self._settle(wrapper, [waiter for waiter in self._waiters if waiter.channel in told], told)

    def _sleep(self, wrapper: BaseDatabaseWrapper) -> None:
        """Sleep until somebody new or the database ends the sleep, or it is time to look."""
        seconds = max(0.0, self._look_at - time.monotonic()) if self._waiters else _IDLE
        self._wakeup.sleep(seconds, wrapper.connection.fileno())

    def _admit(self, connection: Dedicated) -> None:
        """Take in who is new, and look at those of their tasks that may have ended before."""
        with self._lock:
            new, self._new = self._new, []
            self._waiters += new
        hears = connection.hears()
        if hears:
            # Also those who have come before that was known.
            new = [waiter for waiter in self._waiters if waiter.listener is None]
            for waiter in new:
                waiter.listener, waiter.sure = read.listen(connection.wrapper, waiter.id, wait=False)
        else:
            self._ask(connection.wrapper, new)
        # What ends before it is asked to tell is seen by the first look.
        unsure = [waiter for waiter in new if not waiter.sure]
        if unsure or (new and not hears):  # else all of them will be told
            self._look = _FIRST_LOOK
            self._look_at = min(self._look_at, time.monotonic() + self._look)
            self._settle(connection.wrapper, unsure)

    def _ask(self, wrapper: BaseDatabaseWrapper, waiters: Iterable[_Waiter]) -> None:
        """Ask to be told of the ends for which that is not sure: the row may have been locked for a moment, by a claim."""
        unsure = [waiter for waiter in waiters if not waiter.sure and waiter.asked < _ASKED]
        sure = {id for id in {waiter.id for waiter in unsure} if read.ask_to_be_told(wrapper, id, wait=False)}
        for waiter in unsure:
            waiter.asked += 1
            waiter.sure = waiter.id in sure

    def _settle(
        self, wrapper: BaseDatabaseWrapper, waiters: Iterable[_Waiter], told: Mapping[str, str] | None = None
    ) -> None:
        """Tell those whose task has ended or is gone, and forget them and those who wait no more.

        :param told: what has come on the channels of some of them.
        """
        waiters = [waiter for waiter in waiters if not waiter.future.done()]
        words = told or {}
        known = {waiter.id: told_task(waiter.id, words.get(waiter.channel, "")) for waiter in waiters}
        found = {stored.id: stored for stored in read.tasks(wrapper, [id for id in known if known[id] is None])}
        settled = set()
        for waiter in waiters:
            ended = known[waiter.id] or found.get(waiter.id)
            if ended is None or ended.state.ended:
                waiter.tell(ended)
                settled.add(waiter)
        leaving = [waiter for waiter in self._waiters if waiter in settled or waiter.future.done()]
        self._waiters = [waiter for waiter in self._waiters if waiter not in leaving]
        still_awaited = {waiter.channel for waiter in self._waiters}
        for waiter in leaving:
            if waiter.listener is not None and waiter.channel not in still_awaited:
                waiter.listener.close()

    def _fail(self, error: Exception) -> None:
        with self._lock:
            waiters, self._waiters, self._new = self._waiters + self._new, [], []
        for waiter in waiters:
            waiter.fail(error)
        self._idle_at = time.monotonic()  # Nobody is left, so the thread ends; the next one begins anew.


_listener = Listener()


async def ended(id: uuid.UUID) -> Ended:
    """Wait until a task has ended, and return it; see :meth:`Listener.ended`."""
    return await _listener.ended(id)


def _renew_in_fork() -> None:
    # The thread has stayed behind in the parent, and so has whoever waited.
    global _listener
    _listener = Listener()


os.register_at_fork(after_in_child=_renew_in_fork)
