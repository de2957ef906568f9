"""The threads in which coroutines run synchronous code, and so use the database: one for all, one each in transactions.

All coroutines of a worker share one thread, and so one connection to the database. If one of them awaits something in the
middle of a transaction, the others would write into that transaction. So it then keeps the thread, with its connection,
until it ends, and the others continue in a new one.
"""

import functools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from asgiref.sync import SyncToAsync

from autotask.worker import hygiene
from autotask.worker.traces import Traces, enter as enter_traces, present

logger = logging.getLogger("autotask.worker")

R = TypeVar("R")


class NoThread(Exception):
    """The system has no thread left for an attempt that needs one of its own."""


class _Call(NamedTuple):
    """One call in a thread, and the attempt that made it; None: the worker itself."""

    caller: "Caller | None"
    future: Future[Any]
    function: Callable[[], Any]


class SharedThread:
    """The thread that all coroutines share; it is started by the first call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._is_started = False
        #: Whether the thread has open connections.
        self.has_connected = False

    def submit(self, function: Callable[[], R]) -> Future[R]:
        """Call a function in the thread."""
        future: Future[R] = Future()
        self.take(_Call(None, future, function))
        return future

    def take(self, call: _Call) -> None:
        """Perform a call in the thread."""
        self._calls.put(call)
        if not self._is_started:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._is_started:
                return
            # Before the thread runs: it may have to be replaced at once.
            self._is_started = True
            try:
                self._start_thread()
            except RuntimeError:
                self._is_started = False
                raise

    def _start_thread(self) -> None:
        threading.Thread(target=self._work, name="autotask-sync", daemon=True).start()

    def answer(self, answer: Callable[[], None]) -> None:
        """Report the end of a call, after noting whether it has left connections open."""
        self.has_connected = hygiene.has_connected()
        answer()

    def replace_thread(self) -> None:
        """Have another thread take the calls; the current one belongs to one of the callers from now on.

        :raises RuntimeError: the system has no threads left.
        """
        self.has_connected = False
        self._start_thread()

    def _work(self) -> None:
        hygiene.tidy_connections()  # This marks the thread as one that tidies its connections itself.
        while True:
            call = self._calls.get()
            if call.caller is None:
                self.answer(_performed(call))
            elif call.caller.takes(call):
                pass  # It has taken a thread of its own since it made this call.
            elif not call.caller.work(call):
                return


class Caller(Executor):
    """The executor of one attempt, as asgiref sees it: it passes calls to the shared thread, or to its own.

    :ivar left_open: the aliases of connections whose open transactions are lost, since no thread was left for them.
    """

    def __init__(self, shared: SharedThread) -> None:
        self._shared = shared
        self._own: queue.SimpleQueue[_Call | None] | None = None
        self._has_ended = False
        #: Held while the thread of a call is chosen: no call may reach a thread that is ending.
        self._deciding = threading.Lock()
        self.left_open: list[str] = []

    @property
    def has_own_thread(self) -> bool:
        """Whether the attempt has a thread to itself."""
        return self._own is not None

    def take_thread(self) -> None:
        """Have a thread of its own from now on.

        :raises NoThread: the system has no threads left.
        """
        own: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        try:
            threading.Thread(target=_work_alone, args=(own,), name="autotask-sync-own", daemon=True).start()
        except RuntimeError as error:
            raise NoThread(str(error)) from error
        self._own = own

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in the thread of this attempt."""
        call = _Call(self, Future(), functools.partial(fn, *args, **kwargs))
        if not self.takes(call):
            self._shared.take(call)
        return call.future

    def end(self) -> None:
        """End the thread of its own, if there is one. Later calls go to the shared thread."""
        with self._deciding:
            self._has_ended = True
            own, self._own = self._own, None
            if own is not None:
                own.put(None)

    # --- called by the thread ---------------------------------------------------------------------------------------

    def takes(self, call: _Call) -> bool:
        """Pass a call to the thread of its own; return False if the attempt has none."""
        with self._deciding:
            own = self._own
            if own is not None:
                own.put(call)
        return own is not None

    def work(self, call: _Call) -> bool:
        """Perform a call; if no one else can use a connection after it, perform all calls until the attempt ends.

        :returns: whether the thread is free for others again.
        """
        answer = _performed(call)
        if not hygiene.is_disturbed():
            self._shared.answer(answer)
            return True
        own: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        if not (self._goes_on_with(own) and self._leaves_shared(own)):
            hygiene.tidy_connections(unsure=True)
            self._shared.answer(answer)
            return True
        answer()  # last, so that the next call of this attempt goes to its own thread
        del answer
        _work_off(own)
        return False

    def _goes_on_with(self, own: "queue.SimpleQueue[_Call | None]") -> bool:
        """Direct the calls to this thread; return False if the attempt is over, so that nobody would end the thread."""
        with self._deciding:
            if not self._has_ended:
                self._own = own
                return True
        if left_open := hygiene.left_open():
            logger.warning(
                "A call that outlived its task left an open transaction on the database %s, which is lost",
                ", ".join(map(repr, left_open)),
            )
        return False

    def _leaves_shared(self, own: "queue.SimpleQueue[_Call | None]") -> bool:
        """Have another thread serve the others; return False if the system has none left."""
        try:
            self._shared.replace_thread()
        except RuntimeError:
            with self._deciding:
                self._own = None
            while not own.empty():
                if (call := own.get()) is not None:
                    self._shared.take(call)
            self.left_open += hygiene.left_open()
            return False
        return True


class Helpers(ThreadPoolExecutor):
    """The default executor of the event loop: no call leaves an open transaction to the next one."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Call a function in one of its threads, on behalf of the attempt that runs in the current context."""
        return super().submit(_watched, present(), fn, *args, **kwargs)


def _watched(traces: Traces | None, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    try:
        return fn(*args, **kwargs)
    finally:
        left_open = hygiene.close_left_open()
        if left_open and traces is not None:
            traces.note_left_open(left_open)
        if hygiene.is_tidied_here():  # It has run a whole task, so nobody else tidies its connections.
            hygiene.tidy_connections()


def helpers() -> Helpers:
    """Return a default executor for an event loop."""
    return Helpers(thread_name_prefix="autotask-helper")


def enter() -> tuple[Traces, Caller]:
    """Have the synchronous code of the current context run in the shared thread, until it needs one of its own."""
    traces, caller = Traces(), Caller(shared)
    SyncToAsync.context_to_thread_executor[traces] = caller
    enter_traces(traces)
    return traces, caller


def _performed(call: _Call) -> Callable[[], None]:
    """Perform a call, and return the function that reports its end."""
    future = call.future
    if not future.set_running_or_notify_cancel():
        return _nothing
    try:
        value = call.function()
    except BaseException as error:  # noqa: B036 - it is raised where the call is awaited
        failure = error
        return lambda: future.set_exception(failure)
    return lambda: future.set_result(value)


def _work_alone(own: "queue.SimpleQueue[_Call | None]") -> None:
    hygiene.tidy_connections()  # as in the shared thread
    _work_off(own)


def _work_off(own: "queue.SimpleQueue[_Call | None]") -> None:
    """Perform the calls of one attempt until it ends."""
    while (call := own.get()) is not None:
        _performed(call)()
        del call
    hygiene.tidy_connections(unsure=True)
    hygiene.close_connections()


def _nothing() -> None:
    """Nobody waits for it."""


shared = SharedThread()
