"""Tasks in child processes that can be killed.

A child is started when it is first needed, as a new interpreter: a fork of a process with threads, connections and locks
would inherit them in any state. It runs one item after the other. If it dies, only its current item is lost.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from autotask.exceptions import TaskInterrupted
from autotask.worker.pools.base import Abandoned, Run
from autotask.worker.pools.children import Child, ChildDied
from autotask.worker.pools.messages import Begun, Ended, Stop
from autotask.worker.pools.places import Place
from autotask.worker.pools.threads import PATIENCE, ThreadPool

logger = logging.getLogger("autotask.worker")

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

#: Children in a row that may die before they begin an item. Then it is not run here.
TRIES = 3

#: Seconds that a child gets to start and to begin an item.
STARTS_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Died:
    """The end of an item whose child has died.

    :ivar how: exit status or signal, in words.
    """

    how: str


@dataclass(frozen=True, slots=True)
class NoChild:
    """The end of an item for which no child could be started.

    :ivar how: how the last child that was to run it ended.
    """

    how: str


#: The ways in which an item can end: with a message of its child, an interruption, or an accident.
End = Ended | TaskInterrupted | Died | NoChild


class Customer(Protocol[T_contra]):
    """The owner of the items: the threads of the pool call it to make jobs of them and to take their ends."""

    def job(self, item: T_contra) -> Any:
        """Return the job that a child runs for an item; None if the item must not run after all."""

    def received(self, item: T_contra, message: Any) -> None:
        """Take a message of a child that runs an item."""

    def ended(self, item: T_contra, began: float, end: End) -> None:
        """Take the end of an item; must not raise."""


class Desk(Generic[T]):
    """One thread with its child: its item, and whether the child was killed for that.

    :param module: the main module of the child; see :mod:`autotask.worker.child`.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        # Held while the child gets another item, so that no one kills it for the wrong one.
        self.lock = threading.Lock()
        self.child: Child | None = None
        self.item: T | None = None
        self.began: float | None = None
        self.interruption: TaskInterrupted | None = None
        self.asked = ""

    def run(
        self, item: T, job: Any, received: Callable[[T, Any], None], asked: Callable[[], str] = lambda: ""
    ) -> tuple[float, End]:
        """Run an item in the child, in this thread; return when it began, and its end.

        :param received: takes the messages of the child.
        :param asked: returns why the item should stop, if it was asked to before; else "".
        """
        with self.lock:
            self.item, self.began, self.interruption, self.asked = item, None, None, asked()
        try:
            end = self._served(item, job, received)
        except Exception as error:  # a bug here must lose neither the thread nor the item
            logger.exception("The pool of processes itself failed")
            end = NoChild(f"{type(error).__name__}: {error}")
        began, interruption = self._end()
        return began, end if interruption is None or isinstance(end, Ended) else interruption

    def ask(self, item: T, why: str) -> None:
        """Ask an item to stop, by a message to the child, as soon as that has begun it."""
        with self.lock:
            if self.item is item and not self.asked:
                self.asked = why
                if self.child is not None and self.began is not None:
                    self.child.send(Stop(why))

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Kill the child if it runs this item."""
        with self.lock:
            if self.item is not item:
                return False
            self.interruption = interruption
            if self.child is not None:
                self.child.kill()
        return True

    def dismiss(self) -> Child | None:
        """Kill the child if it runs an item; otherwise return it, to be let go."""
        with self.lock:
            if self.child is not None and self.item is not None:
                self.child.kill()
                return None
            child, self.child = self.child, None
            return child

    def _end(self) -> tuple[float, TaskInterrupted | None]:
        with self.lock:
            self.item = None  # Nothing kills the child for it now.
            return time.monotonic() if self.began is None else self.began, self.interruption

    def _served(self, item: T, job: Any, received: Callable[[T, Any], None]) -> End:
        how = ""
        for _ in range(TRIES):
            try:
                child = self._sit_down()
                child.send(job)
                return self._listen(child, item, received)
            except ChildDied as death:
                how = str(death)
            except OSError as error:  # no memory, or no more processes
                how = f"could not be started: {error}"
            with self.lock:
                died, self.child = self.child, None
            if died is not None:
                died.close()
            if self.began is not None:
                return Died(how)
            if self.interruption is not None:
                return self.interruption
        return NoChild(how)

    def _note_beginning(self, child: Child) -> None:
        with self.lock:
            self.began = time.monotonic()
            if self.asked:
                child.send(Stop(self.asked))

    def _sit_down(self) -> Child:
        with self.lock:
            if self.child is None:
                self.child = Child(self._module)
            return self.child

    def _listen(self, child: Child, item: T, received: Callable[[T, Any], None]) -> Ended:
        within = STARTS_WITHIN
        while not isinstance(message := child.receive(within), Ended):
            within = float("inf")  # Its item has a time limit of its own.
            if isinstance(message, Begun):
                self._note_beginning(child)
            else:
                received(item, message)
        return message


class ProcessPool(Generic[T]):
    """Child processes, each with a thread that sends it items.

    :param size: the most children.
    :param module: the main module of a child; see :mod:`autotask.worker.child`.
    :param wake: called when there is room, see :meth:`wake_when`.
    """

    patience = PATIENCE

    def __init__(self, size: int, module: str, customer: Customer[T], wake: Callable[[], None]) -> None:
        self.size = size
        self._module = module
        self._customer = customer
        self._wake = wake
        self._desks: dict[Place, Desk[T]] = {}
        self._threads: ThreadPool[T] | None = None

    def submit(self, item: T) -> None:
        """Run an item as soon as a child is free. RuntimeError: the system has no threads left."""
        if self._threads is None:
            self._threads = ThreadPool(self.size, self._run, self._wake, name="autotask-process")
        self._threads.submit(item)

    def outstanding(self) -> int:
        """Return the number of submitted items that have not finished."""
        return self._threads.outstanding() if self._threads else 0

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken once when an item has finished and no more than *waiting* wait."""
        if self._threads:
            self._threads.wake_when(waiting)

    def take_back(self) -> list[T]:
        """Return the items that wait for a child, and forget them."""
        return self._threads.take_back() if self._threads else []

    def running(self) -> list[Run[T]]:
        """Return the running items; one whose child is still starting counts as having just begun."""
        now = time.monotonic()
        seen = [(desk.item, desk.began) for desk in list(self._desks.values())]
        return [Run(item, now if began is None else began) for item, began in seen if item is not None]

    def ask(self, item: T, why: str) -> None:
        """Ask an item to stop, by a message to its child."""
        if desk := self._desk_of(item):
            desk.ask(item, why)

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Kill the child that runs an item."""
        desk = self._desk_of(item)
        return desk is not None and desk.interrupt(item, interruption)

    def abandon(self, item: T) -> Abandoned | None:
        """Forget an item whose child cannot even be killed, since the kernel holds it."""
        if self._threads is None or self._threads.abandon(item) is None:
            return None
        for place in [place for place, desk in list(self._desks.items()) if desk.item is item]:
            del self._desks[place]  # or running() would return it forever
        self._threads.add_thread()
        return Abandoned(hangs=False)

    def drain(self, seconds: float) -> bool:
        """Wait until all submitted items have finished, at most *seconds*; return whether they have."""
        return self._threads.drain(seconds) if self._threads else True

    def busy_seconds(self) -> tuple[int, float]:
        """Return the number of finished items, and their total run time in seconds."""
        return self._threads.busy_seconds() if self._threads else (0, 0.0)

    def close(self) -> None:
        """End the children; kill those that still run an item."""
        idle = [child for desk in list(self._desks.values()) if (child := desk.dismiss()) is not None]
        for child in idle:
            child.let_go()
        for child in idle:
            child.close()
        if self._threads is not None:
            self._threads.close()

    def _desk_of(self, item: T) -> Desk[T] | None:
        return next((desk for desk in list(self._desks.values()) if desk.item is item), None)

    # --- called by the threads --------------------------------------------------------------------------------------

    def _run(self, item: T, place: Place) -> None:
        desk = self._desks.setdefault(place, Desk(self._module))
        if (job := self._customer.job(item)) is not None:
            self._customer.ended(item, *desk.run(item, job, self._customer.received))
