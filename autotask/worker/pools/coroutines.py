"""Tasks as coroutines, hundreds at a time, on one event loop in a thread."""

import asyncio
import contextvars
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted
from autotask.texts import tracebacks
from autotask.worker.pools.base import Abandoned, Run
from autotask.worker.pools.waiting import Waiting

T = TypeVar("T")

#: Seconds after which an event loop that does not answer counts as blocked by a coroutine that does not await.
ANSWERS_WITHIN = 1.0

#: Seconds between two questions to an event loop while items run on it.
ASK_EVERY = 1.0


class CoroutinePlace(Generic[T]):
    """One item on the event loop, and the one point where it can be interrupted."""

    __slots__ = ("_inside", "_interruption", "_stop", "began", "item", "task")

    def __init__(self, item: T) -> None:
        self.item = item
        self.began = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self._inside = False
        self._interruption: TaskInterrupted | None = None
        self._stop = StopRequest()

    async def wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """Await something that may be interrupted.

        :raises TaskInterrupted: it was interrupted, whatever it raised because of that.
        """
        self._inside = True
        try:
            return await awaitable
        except BaseException as error:
            if (interruption := self._interruption) is None or self.is_destroyed():
                raise
            cause = None if isinstance(error, asyncio.CancelledError) else error
            raise interruption.with_traceback(error.__traceback__) from cause
        finally:
            self._inside = False

    def stop_request(self) -> StopRequest:
        """Return the object that asks the function to stop."""
        return self._stop

    def can_be_interrupted(self) -> bool:
        """Whether :meth:`wait_for` is running."""
        return self._inside

    def interrupt(self, interruption: TaskInterrupted) -> None:
        """Cancel the awaited call. Only the event loop calls this, so nothing can change in between."""
        if self._inside and self.task is not None:
            self._interruption = interruption
            self.task.cancel()

    def is_destroyed(self) -> bool:
        """Whether its coroutine is being destroyed with its event loop: then it must no longer await."""
        return self.task is None or asyncio.current_task(self.task.get_loop()) is not self.task

    def where(self) -> str:
        """Return the lines of code at which the coroutine waits, outermost first."""
        lines: list[str] = []
        waiting: Any = self.task and self.task.get_coro()
        while (frame := getattr(waiting, "cr_frame", None)) is not None:
            lines += traceback.format_stack(frame, 1)
            waiting = waiting.cr_await
        return "".join(lines)


class CoroutinePool(Waiting[T]):
    """An event loop that runs items; the first one starts its thread.

    :param size: how many items run at a time.
    :param run: what to do with an item; must not raise.
    :param wake: called from the event loop when there is room, see :meth:`wake_when`.
    :param helpers: makes the default executor of the event loop.
    """

    #: A coroutine is cancelled at once: it can catch that only where it awaits.
    patience = 0.0

    def __init__(
        self,
        size: int,
        run: Callable[[T, CoroutinePlace[T]], Coroutine[Any, Any, None]],
        wake: Callable[[], None],
        helpers: Callable[[], ThreadPoolExecutor] = ThreadPoolExecutor,
    ) -> None:
        super().__init__(size, wake)
        self._run = run
        self._helpers = helpers
        self._places: dict[int, CoroutinePlace[T]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._asked, self._asked_at = threading.Event(), float("-inf")
        self._asked.set()

    # --- called by others -------------------------------------------------------------------------------------------

    def submit(self, item: T) -> None:
        """Run an item on the event loop. Only the worker loop's own thread calls this.

        :raises RuntimeError: the system has no threads left.
        """
        loop = self.loop or self._start()
        self._submitted += 1
        self._todo.append(item)
        loop.call_soon_threadsafe(self._begin)

    def running(self) -> list[Run[T]]:
        """Return the running items."""
        return [Run(place.item, place.began) for place in list(self._places.values())]

    def ask(self, item: T, why: str) -> None:
        """Ask an item to stop; see :class:`autotask.context.StopRequest`."""
        if place := self._places.get(id(item)):
            place.stop_request().ask(why)

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Cancel the coroutine of an item."""
        place = self._places.get(id(item))
        if place is None or self.loop is None or not place.can_be_interrupted():
            return False
        self.loop.call_soon_threadsafe(place.interrupt, interruption)
        return True

    def abandon(self, item: T) -> Abandoned | None:
        """Forget an item that continues although it was cancelled, or that blocks the event loop."""
        place = self._places.pop(id(item), None)
        if place is None:
            return None
        self._submitted -= 1
        if self._answers():
            return Abandoned(hangs=True, where=place.where())
        return Abandoned(hangs=True, where=self.where(), with_others=True)

    def silent_for(self) -> float:
        """Return for how many seconds the event loop has not answered, while items run; ask it again if it has."""
        if self.loop is None or not self._places:
            return 0.0
        if self._asked.is_set():
            if time.monotonic() - self._asked_at >= ASK_EVERY:
                self._ask(self.loop)
            return 0.0
        return time.monotonic() - self._asked_at

    def where(self) -> str:
        """Return the lines of code that the event loop is running."""
        return tracebacks.lines_of(self._thread.ident if self._thread else None)

    def current(self) -> T | None:
        """Return the item whose coroutine is running now; None if another task of the event loop is."""
        task = asyncio.current_task(self.loop) if self.loop else None
        return next((place.item for place in list(self._places.values()) if task and place.task is task), None)

    def close(self) -> None:
        """End the event loop."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(self._helpers())
        thread = threading.Thread(target=self._work, args=(loop,), name="autotask-coroutines", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self.loop, self._thread = loop, thread
        return loop

    def _answers(self) -> bool:
        """Whether the event loop answers soon."""
        if self.loop is None:
            return False
        if self._asked.is_set():
            self._ask(self.loop)
        # If the last question is not answered yet, do not wait for the whole time again.
        return self._asked.wait(max(0.0, self._asked_at + ANSWERS_WITHIN - time.monotonic()))

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked, self._asked_at = threading.Event(), time.monotonic()
        loop.call_soon_threadsafe(self._asked.set)

    # --- called on the event loop -----------------------------------------------------------------------------------

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        # Coroutines that were given up are destroyed with the event loop. They are logged already.
        loop.set_exception_handler(lambda loop, context: None)
        loop.close()

    def _begin(self) -> None:
        try:
            item = self._todo.popleft()
        except IndexError:
            return  # It was taken back.
        place = CoroutinePlace(item)
        self._places[id(item)] = place
        # A context of its own: what a task sets does not reach the next one.
        place.task = asyncio.get_running_loop().create_task(self._run_one(place), context=contextvars.Context())

    async def _run_one(self, place: CoroutinePlace[T]) -> None:
        try:
            await self._run(place.item, place)
        finally:
            if self._places.pop(id(place.item), None) is not None:
                self._note_end(time.monotonic() - place.began)
