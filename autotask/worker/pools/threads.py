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

#: Seconds that a task in a thread gets to stop by itself before an exception is raised in it.
PATIENCE = 1.0

#: Seconds. Threads take turns at running Python, so a second one slows down tasks that are shorter than this: each switch
#: costs more than such a task.
SHORT = 0.0005

#: Seconds without an item after which a thread is at rest.
IDLE = 60.0

#: Seconds until the next try to start a thread, after the system had none left.
TRY_AGAIN = 1.0


class Place:
    """One thread of a pool: its item, and the one point where that can be interrupted.

    Python can raise an exception in another thread, but not at a given point: it is raised when that thread next runs, and
    by then the thread may be doing something else. So both sides keep to an order. The interrupter names its item
    (``_struck``) before it looks whether the thread is inside the call; the thread leaves the call before it looks
    whether it is named. Whichever comes second sees the other. A named thread waits for the interrupter to finish, and for
    an exception that has not been raised yet. None of this costs a lock.

    Giving up a thread works in the same way: the caller sets ``doubtful`` before it looks at the item, and the thread
    clears its item before it looks at ``doubtful``. Only then does it ask under the lock what was decided.
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

    # --- called by the thread ---------------------------------------------------------------------------------------

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
            # Read once: an interrupter that comes too late takes it back.
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
            self._settle()  # It was raised at the very beginning of that, and will not be raised again.
        if error is None:
            return value
        try:
            if struck is not self.item:
                raise error
            # Whatever the item made of it; the traceback shows where it was raised.
            cause = None if isinstance(error, TaskInterrupted) else error
            raise interruption.with_traceback(error.__traceback__) from cause
        finally:
            del error  # or it would hold this frame, which holds it

    def stop_request(self) -> StopRequest:
        """Return the object that asks the function to stop."""
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
                # Replace an exception that is not raised yet by one that is raised at once. Python could also clear it; but
                # before 3.13 it then keeps looking for it: all threads stay slower for the rest of the process, and in 3.11
                # one that is traced (by a debugger, or for coverage) does not reach its next line.
                _raise_in(self.thread, TaskInterrupted)
                for _ in range(100):
                    pass
            except TaskInterrupted:
                settled = True  # No other one is pending.
        self._struck = None
        if self.abandoned:
            # Its outcome is recorded, and nobody waits for it any more: it ends with the process.
            threading.Event().wait()

    # --- called by the interrupter ----------------------------------------------------------------------------------

    def ask(self, item: object, why: str) -> None:
        """Ask the function to stop, if it has taken its stop request."""
        stop = self._stop
        if stop is not None and stop[0] is item:
            stop[1].ask(why)

    def strike(self, item: object, interruption: TaskInterrupted) -> bool:
        """Raise an exception in the thread if it is inside the call for this item; return whether it is."""
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
        """Have the thread stop for good when it leaves the call for this item, without another word.

        :returns: False if it has left that item already, and goes on.
        """
        self.doubtful = True
        if self.item is not item:
            self.doubtful = False
            return False
        self.abandoned = True
        self._struck = item
        return True

    def where(self) -> str:
        """Return the lines of code that the thread is running."""
        frame = sys._current_frames().get(self.thread)
        return "".join(traceback.format_stack(frame)) if frame else ""


class ThreadPool(Waiting[T]):
    """A fixed number of threads that run items from one queue.

    :param size: number of threads.
    :param run: what to do with an item; must not raise.
    :param wake: called from the threads when there is room, see :meth:`wake_when`.
    :param name: the names of the threads begin with it.
    :param rest: called in a thread that has had nothing to do for a while, to give up what it need not hold; must not raise.
    :raises RuntimeError: the system has no threads left. If it has only some, the pool begins with these.
    """

    patience = PATIENCE

    def __init__(
        self,
        size: int,
        run: Callable[[T, Place], None],
        wake: Callable[[], None],
        name: str = "autotask",
        rest: Callable[[], object] = bool,
    ) -> None:
        super().__init__(size, wake)
        self._rest = rest
        self._run = run
        # A thread with nothing to do waits for the bell.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._falling_asleep = threading.Lock()
        self._asleep = 0
        self._may_sleep = 0
        self._balanced = (0, 0.0)
        self._abandoning = threading.Lock()
        self._draining = False
        #: Items submitted by threads of the pool, which count for themselves.
        self._followed = 0
        self._following = threading.Lock()
        self._name = name
        self._places: list[Place] = []
        self._lacking = size
        self._try_at = 0.0
        if error := self._start_lacking():
            if not self._places:
                raise error
            logger.error("Only %d of %d threads could be started to run tasks: %s", len(self._places), size, error)

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

    def follow(self, item: T) -> None:
        """Run an item after the others that wait. Only a thread of the pool calls this, which is about to be free itself."""
        with self._following:
            self._followed += 1
            self._todo.append(item)

    def balance(self) -> None:
        """Let one thread run very short tasks alone, and wake the others as soon as it makes no progress."""
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
        """Return how many submitted items have not finished."""
        # In this order: an item is never counted only as finished.
        finished = sum(place.finished for place in self._places)
        return self._submitted + self._followed - finished

    def running(self) -> list[Run[T]]:
        """Return the running items."""
        # In this order: the start time of the next item must not be taken for that of this one.
        seen = [(place.began, place.item) for place in self._places]
        return [Run(item, began) for began, item in seen if item is not None]  # type: ignore[arg-type]  # a T, set by _work

    def ask(self, item: T, why: str) -> None:
        """Ask an item to stop; see :class:`autotask.context.StopRequest`."""
        for place in self._places:
            place.ask(item, why)

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Raise an exception in the thread that runs an item, when it next runs Python code."""
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
        """Wait until all submitted items have finished, at most *seconds*; return whether they have."""
        self._draining = True
        try:
            return super().drain(seconds)
        finally:
            self._draining = False

    def busy_seconds(self) -> tuple[int, float]:
        """Return how many items have finished, and their total run time in seconds."""
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
                return  # It has returned after all, but is not counted any more.
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
            # In this order: a caller of submit() sees that this thread sleeps, or this thread sees its item.
            if self._todo:
                self._asleep -= 1
                return
        try:
            self._bell.get(timeout=IDLE)
        except queue.Empty:
            self._rest()
            self._bell.get()

    def _ring(self) -> None:
        with self._falling_asleep:
            if self._asleep:
                self._asleep -= 1
                self._bell.put(None)


def _raise_in(thread: int, exception: type[TaskInterrupted]) -> None:
    """Have the interpreter raise an exception in a thread, instead of one that is still pending.

    Python/C API, "PyThreadState_SetAsyncExc".
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))
