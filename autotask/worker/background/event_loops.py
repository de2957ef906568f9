"""The event loops on which the coroutine functions of background workers run: one for each name, in a thread of its own."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from autotask.worker import hygiene, sync_threads
from autotask.worker.sync_threads import shared

logger = logging.getLogger("autotask.background")


class EventLoop:
    """An event loop in a thread. Any thread may use it.

    :param name: of the loop; "" for that of those that name none.
    :raises RuntimeError: the system has no threads left.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(sync_threads.helpers())
        title = f"autotask-loop-{name}" if name else "autotask-loop"
        threading.Thread(target=self._run, name=title, daemon=True).start()

    def begin(
        self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> "Future[Any]":
        """Begin to run a coroutine function, in a copy of the caller's context; cancelling the future cancels it."""
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        self._loop.call_soon_threadsafe(self._begin, context, _supervised(function, args, kwargs), future)
        return future

    def stop(self) -> None:
        """End the thread, soon."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        # Coroutines that were given up are destroyed with the event loop. They are logged already.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._loop.close()

    def _begin(self, context: contextvars.Context, coroutine: Coroutine[Any, Any, Any], future: "Future[Any]") -> None:
        task = self._loop.create_task(coroutine, context=context)
        asyncio.futures._chain_future(task, future)  # type: ignore[attr-defined]  # as run_coroutine_threadsafe() does


async def _supervised(
    function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Await a coroutine function. Its synchronous code has the thread and the connections of all coroutines of the worker."""
    traces, caller = sync_threads.enter()
    try:
        return await function(*args, **kwargs)
    finally:
        caller.end()
        traces.end()
        if shared.has_connected:
            await asyncio.wrap_future(shared.submit(hygiene.drop_broken_connections))


class EventLoops:
    """The event loops of one worker, each started when it is first used."""

    def __init__(self) -> None:
        self._loops: dict[str, EventLoop] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> EventLoop:
        """Return the loop of that name.

        :raises RuntimeError: the system has no threads left.
        """
        with self._lock:
            if name not in self._loops:
                self._loops[name] = EventLoop(name)
            return self._loops[name]

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            for loop in self._loops.values():
                loop.stop()
            self._loops.clear()
