"""Tasks in threads."""

import ctypes
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted
from autotask.worker.pools.base import Abandoned, Run
from autotask.worker.pools.waiting import Waiting

logger = logging.getLogger("autotask.worker")

T = TypeVar("T")

#: Seconds that a task in a thread gets to see that it should stop, before an exception is raised in it.
PATIENCE = 1.0


#: Seconds. Threads take turns at running Python, so for tasks that are shorter than this a second one is only in the way:
#: each change of turns costs more than such a task.
SHORT = 0.0005

#: Seconds until it is tried again to start a thread, after the system had none left.
TRY_AGAIN = 1.0


class Place:
    """One thread of a pool: what it runs, and the one spot where that can be interrupted.

    Python can raise an exception in another thread, but not say where: it comes when that thread is next at its turn,
    and by then the thread may be at something else. So both sides keep to an order. The interrupter says whom it means
    (``_struck``) before it looks whether the thread is inside the call; the thread leaves the call before it looks
    whether it is meant. Whoever comes second sees the other. A thread that is meant waits until the interrupter is done,
    and for what has not come yet. Nothing of this costs a lock.

    Giving a thread up is like that, too: who does it says so (``doubtful``) before it looks at the item, and the thread has
    no item any more before it looks whether it is in doubt. Only then it asks under the lock what was decided.
    """

    __slots__ = (
        "_inside",
        "_interruption",
        "_stop",
        "_striking",
        "_struck",
        "abandoned",
        "began",
        "doubtful",
        "finished",
        "item",
        "seconds",
        "thread",
    )

    def __init__(self) -> None:
        self.thread = 0
        self.item: object = None
        self.began = 0.0
        self.finished = 0
        self.seconds = 0.0
        self.abandoned = False
        self.doubtful = False
        self._inside = False
        self._struck: object = None
        self._striking = False
        self._interruption = TaskInterrupted()
        self._stop: tuple[object, StopRequest] | None = None

    # --- what the thread calls --------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function that may be interrupted; see :class:`autotask.worker.pools.base.Interruptible`."""
        if self._struck is not None:
            self._settle()
        error: BaseException | None = None
        try:
            try:
                self._inside = True
                value = function(*args)
            finally:
                self._inside = False
        except BaseException as raised:
            # Read once: an interrupter who comes too late takes it back.
            if (struck := self._struck) is None:
                raise
            error = raised
        else:
            if (struck := self._struck) is None:
                return value
        interruption = self._interruption
        try:
            self._settle()
        except TaskInterrupted:
            self._settle()  # It has come at the very beginning of that, and will not come again.
        if error is None:
            return value
        try:
            if struck is not self.item:
                raise error
            # Whatever came of it; where it came is in the traceback.
            cause = None if isinstance(error, TaskInterrupted) else error
            raise interruption.with_traceback(error.__traceback__) from cause
        finally:
            del error  # or it would hold this frame, which holds it

    def stop_request(self) -> StopRequest:
        """Return what tells the function that it should stop."""
        stop = StopRequest()
        self._stop = (self.item, stop)
        return stop

    def _settle(self) -> None:
        settled = False
        while True:
            try:
                while self._striking:
                    time.sleep(0)
                if settled:
                    break
                # What has not come yet is replaced by what comes at once. Python could also take it back; but then, before
                # 3.13, it goes on looking for it: all threads are slower from then on, for as long as the process lives,
                # and in 3.11 one that is traced (by a debugger, or to measure coverage) does not come to its next line.
                _raise_in(self.thread, TaskInterrupted)
                for _ in range(100):
                    pass
            except TaskInterrupted:
                settled = True  # No other one is on its way.
        self._struck = None
        if self.abandoned:
            # Its outcome is recorded, and nobody waits for it any more. The end of the process will be its end.
            threading.Event().wait()

    # --- what the interrupter calls ---------------------------------------------------------------------------------

    def ask(self, item: object, why: str) -> None:
        """Tell the function that it should stop, if it has ever asked for what tells it."""
        stop = self._stop
        if stop is not None and stop[0] is item:
            stop[1].ask(why)

    def strike(self, item: object, interruption: TaskInterrupted) -> bool:
        """Raise an exception in the thread, if it is inside the call for this item; return whether it is."""
        self._striking = True
        former = self._struck, self._interruption
        self._interruption = interruption
        self._struck = item
        if hit := self._inside and self.item is item:
            _raise_in(self.thread, type(interruption))
        else:
            self._struck, self._interruption = former
        self._striking = False
        return hit

    def abandon(self, item: object) -> bool:
        """Have the thread stand still when it comes out of the call for this item: it is to do and to say nothing more.

        :returns: False if it has left that item, and goes on.
        """
        self.doubtful = True
        if self.item is not item:
            self.doubtful = False
            return False
        self.abandoned = True
        self._struck = item
        return True

    def where(self) -> str:
        """Return the lines of code that the thread is at."""
        frame = sys._current_frames().get(self.thread)
        return "".join(traceback.format_stack(frame)) if frame else ""


class ThreadPool(Waiting[T]):
    """A fixed number of threads that run items from one queue.

    :param size: number of threads.
    :param run: what to do with an item; must not raise.
    :param wake: called from the threads when there is room, see :meth:`wake_when`.
    :param name: what the names of the threads begin with.
    :raises RuntimeError: the system has no thread left. Where it has some, the pool begins with these.
    """

    patience = PATIENCE

    def __init__(
        self,
        size: int,
        run: Callable[[T, Place], None],
        wake: Callable[[], None],
        name: str = "autotask",
    ) -> None:
        super().__init__(size, wake)
        self._run = run
        # Who finds nothing to do sleeps on the bell.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._falling_asleep = threading.Lock()
        self._asleep = 0
        self._may_sleep = 0
        self._balanced = (0, 0.0)
        self._abandoning = threading.Lock()
        self._draining = False
        self._name = name
        self._places: list[Place] = []
        self._lacking = size
        self._try_at = 0.0
        if error := self._start_lacking():
            if not self._places:
                raise error
            logger.error("Only %d of %d threads could be started to run tasks: %s", len(self._places), size, error)

    def add_thread(self) -> None:
        """Start one more thread, for one that was abandoned; where the system has none left, it is started later."""
        with self._abandoning:
            self._lacking += 1
        self._start_lacking()

    def _start_lacking(self) -> RuntimeError | None:
        """Start the threads that there should be and are not; return why that could not be done."""
        with self._abandoning:
            while self._lacking:
                place = Place()
                before, self._places = self._places, [*self._places, place]
                # Daemons: a task that never comes back must not keep a stopped worker from ending.
                name = f"{self._name}-{len(self._places)}"
                try:
                    threading.Thread(target=self._work, args=(place,), name=name, daemon=True).start()
                except RuntimeError as error:  # no memory, or no more threads
                    self._places = before
                    self._try_at = time.monotonic() + TRY_AGAIN
                    return error
                self._lacking -= 1
        return None

    def submit(self, item: T) -> None:
        """Run an item as soon as a thread is free. Only the loop's own thread calls this."""
        self._submitted += 1
        self._todo.append(item)
        if self._asleep > self._may_sleep:
            self._ring()
        if self._lacking and time.monotonic() >= self._try_at:
            self._start_lacking()

    def balance(self) -> None:
        """Let one thread run what is very short, and wake the others as soon as that one stands still."""
        finished, seconds = self.busy_seconds()
        done = finished - self._balanced[0]
        if done:
            short = (seconds - self._balanced[1]) / done < SHORT
            self._may_sleep = self.size - 1 if short else 0
            self._balanced = finished, seconds
        elif self._todo:
            self._may_sleep = 0
        for _ in range(min(len(self._todo), self._asleep - self._may_sleep)):
            self._ring()

    def holds_back(self) -> bool:
        """Whether threads sleep although there is something to do."""
        return bool(self._todo) and self._asleep > 0

    def outstanding(self) -> int:
        """Return how many items have been submitted and not finished."""
        return self._submitted - sum(place.finished for place in self._places)

    def running(self) -> list[Run[T]]:
        """Return the items that are being run."""
        # In this order: the beginning of the next item must not be taken for that of this one.
        seen = [(place.began, place.item) for place in self._places]
        return [Run(item, began) for began, item in seen if item is not None]  # type: ignore[arg-type]  # a T, set by _work

    def ask(self, item: T, why: str) -> None:
        """Tell an item that it should stop; see :class:`autotask.context.StopRequest`."""
        for place in self._places:
            place.ask(item, why)

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Raise an exception in the thread that runs an item. It comes when the thread next runs code of Python."""
        return any(place.strike(item, interruption) for place in self._places if place.item is item)

    def abandon(self, item: T) -> Abandoned | None:
        """Forget an item and its thread; there is no way to end a thread from outside."""
        with self._abandoning:
            place = next((place for place in self._places if place.abandon(item)), None)
            if place is None:
                return None
            self._submitted -= place.finished + 1
            self._places = [other for other in self._places if other is not place]
        return Abandoned(hangs=True, where=place.where())

    def drain(self, seconds: float) -> bool:
        """Wait until everything submitted is finished, at most so many seconds; return whether it is."""
        self._draining = True
        try:
            return super().drain(seconds)
        finally:
            self._draining = False

    def busy_seconds(self) -> tuple[int, float]:
        """Return how many items have been finished, and the seconds they took altogether."""
        return sum(place.finished for place in self._places), sum(place.seconds for place in self._places)

    def close(self) -> None:
        """Do nothing: the threads are daemons."""

    def _work(self, place: Place) -> None:
        # Looked up once: this loop is the cost of every task.
        take, run, clock, todo = self._todo.popleft, self._run, time.monotonic, self._todo
        place.thread = threading.get_ident()
        while True:
            try:
                item = take()
            except IndexError:
                self._sleep()
                continue
            place.began = began = clock()
            place.item = item
            run(item, place)
            place.item = None
            if place.doubtful and self._is_abandoned(place):
                return  # It has come back after all, but is not counted any more.
            place.seconds += clock() - began
            place.finished += 1
            if len(todo) <= self._wake_at:
                self._wake_at = -1
                self._wake()
            if self._draining:
                with self._idle:
                    self._idle.notify_all()

    def _is_abandoned(self, place: Place) -> bool:
        with self._abandoning:
            return place.abandoned

    def _sleep(self) -> None:
        with self._falling_asleep:
            self._asleep += 1
            # In this order: who submits something now has seen that this thread sleeps, or this thread sees what it is.
            if self._todo:
                self._asleep -= 1
                return
        self._bell.get()

    def _ring(self) -> None:
        with self._falling_asleep:
            if self._asleep:
                self._asleep -= 1
                self._bell.put(None)


def _raise_in(thread: int, exception: type[TaskInterrupted]) -> None:
    """Have the interpreter raise an exception in a thread, instead of one that has not come yet.

    Python/C API, "PyThreadState_SetAsyncExc".
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))
