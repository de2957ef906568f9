"""Tasks in threads."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from autotask.exceptions import TaskInterrupted
from autotask.worker.pools.base import Abandoned, Run
from autotask.worker.pools.bell import Bell
from autotask.worker.pools.places import SAMPLE, Place
from autotask.worker.pools.sharing import STANDSTILL, Sharing
from autotask.worker.pools.waiting import Waiting

logger = logging.getLogger("autotask.worker")

T = TypeVar("T")

#: Seconds that a task in a thread gets to stop by itself before an exception is raised in it.
PATIENCE = 1.0

#: Seconds without an item after which a thread gives up what it need not hold.
IDLE = 60.0

#: Seconds between the looks of all further threads.
SECOND_LOOK = 0.05

#: Seconds until the next try to start a thread, after the system had none left.
TRY_AGAIN = 1.0


class ThreadPool(Waiting[T]):
    """A fixed number of threads that run items from one queue.

    :param size: number of threads.
    :param run: what to do with an item; must not raise.
    :param wake: called from the threads when there is room, see :meth:`wake_when`.
    :param name: the names of the threads begin with it.
    :param end: called by each thread before it ends, and when it has had nothing to do for a while.
    :param begin: called by each thread before its first item after a pause, and now and then; must not raise.
    :ivar places: its threads.
    :ivar sharing: how many of them may sleep while items wait.
    :ivar asleep: how many of them sleep.
    :ivar bell: a thread with nothing to do waits for it.
    :ivar looks_on: whether one of those that sleep checks whether those that are awake make progress.
    :raises RuntimeError: the system has no threads left. If it has only some, the pool begins with these.
    """

    patience = PATIENCE

    def __init__(
        self,
        size: int,
        run: Callable[[T, Place], None],
        wake: Callable[[], None],
        name: str = "autotask",
        end: Callable[[], None] | None = None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(size, wake)
        self._run = run
        self._begin, self._end = begin, end
        self._closing = False
        self.bell = Bell()
        self._falling_asleep = threading.Lock()
        self.asleep = 0
        self.sharing = Sharing()
        self.looks_on = False
        self._abandoning = threading.Lock()
        self._draining = False
        #: Items submitted by threads of the pool, which count for themselves.
        self._followed = 0
        self._following = threading.Lock()
        self._name = name
        self.places: list[Place] = []
        self._lacking = size
        self._try_at = 0.0
        if error := self._start_lacking():
            if not self.places:
                raise error
            logger.error("Only %d of %d threads could be started to run tasks: %s", len(self.places), size, error)

    def add_thread(self) -> None:
        """Replace an abandoned thread; if the system has no threads left, do so later."""
        with self._abandoning:
            self._lacking += 1
        self._start_lacking()

    def _start_lacking(self) -> RuntimeError | None:
        """Start the missing threads; return the error if that failed."""
        with self._abandoning:
            while self._lacking:
                place = Place()
                before, self.places = self.places, [*self.places, place]
                # Daemons: a task that never comes back must not keep a stopped worker from ending.
                name = f"{self._name}-{len(self.places)}"
                try:
                    threading.Thread(target=self._work, args=(place,), name=name, daemon=True).start()
                except RuntimeError as error:  # no memory, or no more threads
                    self.places = before
                    self._try_at = time.monotonic() + TRY_AGAIN
                    return error
                self._lacking -= 1
        return None

    def submit(self, item: T) -> None:
        """Run an item as soon as a thread is free. Only the loop's own thread calls this."""
        self.submit_all([item])

    def submit_all(self, items: Sequence[T]) -> None:
        """Run items as :meth:`submit` does, in one step for all."""
        self._submitted += len(items)
        self._todo.extend(items)
        for _ in range(min(len(items), self.asleep - self.sharing.may_sleep)):
            self._ring()
        if self._lacking and time.monotonic() >= self._try_at:
            self._start_lacking()

    def follow(self, item: T, at_once: bool = False) -> None:
        """Run an item after the others that wait. Only a thread of the pool calls this, which is about to be free itself.

        :param at_once: whether it runs before the others.
        """
        with self._following:
            self._followed += 1
            if at_once:
                self._todo.appendleft(item)
            else:
                self._todo.append(item)

    def balance(self) -> None:
        """Let one thread run very short tasks alone, and wake the others as soon as it makes no progress."""
        sharing, places = self.sharing, self.places
        sharing.decide(places, *self.busy_seconds(), bool(self._todo), time.monotonic())
        for _ in range(min(len(self._todo), self.asleep - sharing.may_sleep)):
            self._ring()
        if sharing.may_leave and self._todo and not self.looks_on:
            self._ring()  # It falls asleep again, and looks on.

    def holds_back(self) -> bool:
        """Whether threads sleep, or may fall asleep, although there is something to do, and none of them looks on."""
        if not self._todo or (not self.asleep and not self.sharing.may_leave):
            return False
        # While one rings, the thread that looks on may wake in place of another, and then nobody does.
        return not (self.looks_on and self.bell.is_silent())

    def outstanding(self) -> int:
        """Return the number of submitted items that have not finished."""
        # In this order: an item is never counted only as finished.
        finished = sum([place.finished for place in self.places])
        return self._submitted + self._followed - finished

    def running(self) -> list[Run[T]]:
        """Return the running items."""
        # In this order: the start time of the next item must not be taken for that of this one.
        seen = [(place.began, place.item) for place in self.places]
        return [Run(item, began) for began, item in seen if item is not None]  # type: ignore[arg-type]  # a T, set by _work

    def ask(self, item: T, why: str) -> None:
        """Ask an item to stop; see :class:`autotask.context.StopRequest`."""
        for place in self.places:
            place.ask(item, why)

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Raise an exception in the thread that runs an item, when it next runs Python code."""
        return any(place.strike(item, interruption) for place in self.places if place.item is item)

    def abandon(self, item: T) -> Abandoned | None:
        """Forget an item and its thread; there is no way to end a thread from outside."""
        with self._abandoning:
            place = next((place for place in self.places if place.abandon(item)), None)
            if place is None:
                return None
            self._submitted -= place.finished + 1
            self.places = [other for other in self.places if other is not place]
        return Abandoned(hangs=True, where=place.where())

    def drain(self, seconds: float) -> bool:
        """Wait until all submitted items have finished, at most *seconds*; return whether they have."""
        self._draining = True
        try:
            return super().drain(seconds)
        finally:
            self._draining = False

    def busy_seconds(self) -> tuple[int, float]:
        """Return the number of finished items, and their total run time in seconds."""
        places = self.places
        return sum([place.finished for place in places]), sum([place.seconds for place in places])

    def close(self) -> None:
        """Let each thread end when there is nothing left for it to do. One whose item never comes back ends with the process."""
        self._closing = True
        while self.asleep:
            self._ring()

    def _work(self, place: Place) -> None:
        # Looked up once: this loop is the cost of every task.
        take, run, clock, todo, sharing = self._todo.popleft, self._run, time.monotonic, self._todo, self.sharing
        place.thread = threading.get_ident()
        self._get_ready()
        while True:
            if self.asleep < sharing.may_leave:
                self._leave()
                self._get_ready()
            try:
                item = take()
            except IndexError:
                if self._closing:
                    break
                self._sleep()
                self._get_ready()
                continue
            place.began = began = clock()
            place.item = item
            run(item, place)
            place.item = None
            if place.doubtful and self._is_abandoned(place):
                return  # It has returned after all, but is no longer counted.
            place.seconds += clock() - began
            place.finished += 1
            if not place.finished % SAMPLE:
                place.sample()
                self._get_ready()
            if len(todo) <= self._wake_at:
                self._wake_at = -1
                self._wake()
            if self._draining:
                with self._idle:
                    self._idle.notify_all()
        self._rest()

    def _is_abandoned(self, place: Place) -> bool:
        with self._abandoning:
            return place.abandoned

    def _sleep(self) -> None:
        with self._falling_asleep:
            self.asleep += 1
            # In this order: a caller of submit() sees that this thread sleeps, or this thread sees its item.
            if self._todo or self._closing:
                self.asleep -= 1
                return
        if not self.bell.wait(IDLE):
            self._rest()
            self.bell.wait()

    def _get_ready(self) -> None:
        if self._begin is not None:
            self._begin()

    def _rest(self) -> None:
        if self._end is not None:
            self._end()

    def _leave(self) -> None:
        """Leave the items that wait to the threads that are awake."""
        with self._falling_asleep:
            if self.asleep >= self.sharing.may_leave or self._closing:
                return
            self.asleep += 1
            is_first, self.looks_on = not self.looks_on, True
        self._look_on(is_first)
        if is_first:
            self.looks_on = False

    def _look_on(self, is_first: bool) -> None:
        """Sleep, but wake all threads when those that are awake make no progress: the loop may be waiting for the database.

        The second one looks too, less often: the first one may be woken alone.
        """
        every, seen = STANDSTILL if is_first else SECOND_LOOK, -1
        while True:
            if self.bell.wait(every if self._is_to_look(is_first) else IDLE):
                return
            finished, _ = self.busy_seconds()
            if not self._todo:
                self._rest()
            if finished == seen and self._todo:
                self.sharing.all_share()
                for _ in range(min(len(self._todo), self.asleep)):
                    self._ring()
            seen = finished

    def _is_to_look(self, is_first: bool) -> bool:
        """Whether items wait. If none do, the first thread looks no more, and somebody else has to: see holds_back()."""
        if is_first and not self._todo:
            self.looks_on = False
        # In this order: a thread that submits an item sees that nobody looks on, or this thread sees the item.
        looks = bool(self._todo)
        if is_first:
            self.looks_on = looks
        return looks

    def _ring(self) -> None:
        with self._falling_asleep:
            if self.asleep:
                self.asleep -= 1
                self.bell.ring()
