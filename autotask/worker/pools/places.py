"""One thread of a pool, and how its item is interrupted or given up."""

import ctypes
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted
from autotask.texts import tracebacks

#: Items of one thread between two looks at how often it has waited.
SAMPLE = 64

#: Whether the system counts the waits of a single thread; macOS does not.
COUNTS_WAITS = hasattr(resource, "RUSAGE_THREAD")


class Place:
    """One thread of a pool: its item, and the one point where that can be interrupted.

    Python can raise an exception in another thread, but not at a given point: it is raised when that thread next runs, and
    by then the thread may be doing something else. So both sides keep to an order. The interrupter names its item
    (``_struck``) before it checks whether the thread is inside the call; the thread leaves the call before it checks
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
        "sampled",
        "seconds",
        "thread",
        "waits",
    )

    def __init__(self) -> None:
        self.thread = 0
        self.item: object = None
        self.began = 0.0
        self.finished = 0
        self.seconds = 0.0
        self.sampled = self.waits = 0
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

    def sample(self) -> None:
        """Note how often the thread has waited by now, for anything: a lock, a connection, a pause."""
        if COUNTS_WAITS:
            self.waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        self.sampled = self.finished

    def stop_request(self) -> StopRequest:
        """Return the object that asks the function to stop."""
        stop = StopRequest()
        self._stop = (self.item, stop)
        return stop

    def over(self) -> None:
        """Note that the item is over: what the thread still does for it counts for no time limit."""
        self.item = None

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
            # Its outcome is recorded, and nobody waits for it: it ends with the process.
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

        :returns: False if it has left that item already, and continues.
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
        return tracebacks.lines_of(self.thread)


def _raise_in(thread: int, exception: type[TaskInterrupted]) -> None:
    """Have the interpreter raise an exception in a thread, instead of one that is still pending.

    Python/C API, "PyThreadState_SetAsyncExc".
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))
