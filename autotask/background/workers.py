"""A background worker as its users see it: start, stop, and its state."""

import dataclasses
import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import payload, registry
from autotask.background import calls
from autotask.background.calls import Here
from autotask.background.definition import BackgroundDefinition
from autotask.background.options import ENDLESS, BackgroundOptions, Kind
from autotask.conf import settings
from autotask.exceptions import CannotStopHere, InvalidOption, NotOfThisKind, UnsuitableFunction
from autotask.functions import is_coroutine_function, refuse_unsuitable
from autotask.handle import TaskHandle
from autotask.options import Options
from autotask.store import background
from autotask.store.connection import current
from autotask.task import PROCESS, new_id
from autotask.values import plain_name

logger = logging.getLogger("autotask.background")

#: Seconds between two looks of ``stop()`` whether the worker has stopped, at first and finally.
_FIRST_LOOK = 0.01
_LONGEST_LOOK = 0.2


class BackgroundWorker:
    """A function that is run again and again, without a condition. One of the workers of the site hosts it.

    ::

        @background_worker
        def poll_port(**kwargs): ...

        class Poller(BackgroundWorker):
            def run(self, **kwargs): ...

        poller = Poller()

    :param name: by default ``module.function``, or ``module.Class``. It must be the same in all processes of the site.
    :param func: the function; by default the method ``run``.
    :param options: ``per`` ("site": one in all, "host": one on each host, "process": one in each worker), ``autostart``
        (False: it starts by :meth:`start`), ``queue`` (workers that serve this queue may host it), ``priority``,
        ``poll_delay`` (seconds between two runs), ``o`` (passed to the function), ``on_error`` (called with each
        exception), ``on_error_kwargs``, ``loop`` (the name of an event loop for a coroutine function), ``executor``
        ("process", or a name in ``AUTOTASK_EXECUTORS``; "process" if ``run`` is a static method), for queue workers
        ``concurrency``, ``daemon`` and ``supervisor`` (without effect).
    :raises UnknownOption: an option is not known.
    :raises InvalidOption: a value is out of its range, or the name belongs to another background worker.
    :raises InvalidOptionType: a value has the wrong type.
    :raises UnsuitableFunction: there is no function, or calling it would run nothing of it.
    """

    _kind = Kind.CONTINUOUS

    def __init__(self, name: str | None = None, func: Callable[..., Any] | None = None, **options: Any) -> None:
        self.function = self._function(func)
        shown = _described(type(self)) if func is None else _described(func)
        where = f"{type(self).__name__} of {shown}"
        self.name = plain_name(shown if name is None else name, "name", where)
        self.is_async = is_coroutine_function(self.function)
        kind = Kind.ASYNC if self._kind in ENDLESS and self.is_async else self._kind
        if self._kind is Kind.ASYNC and not self.is_async:
            raise UnsuitableFunction(
                function=shown,
                problem="it is no coroutine function, as BackgroundAsyncWorker needs it",
                advice="Write async def, or use BackgroundWorker.",
            )
        self._is_of_class = func is None
        if func is None and isinstance(inspect.getattr_static(type(self), "run"), staticmethod):
            options = {"executor": PROCESS, **options}
        self.options = BackgroundOptions.of(where, kind, **options)
        refuse_unsuitable(self.function, Options(), where)
        self._called = calls.Called(self.function, self.is_async, calls.taken(self.function))
        self._takes_task = kind is Kind.EVENT and calls.takes_task(self.function)
        self._where = where
        self._here: Here | None = None
        self._has_warned = False
        self._first_start: payload.Arguments = (), {}
        self._register(where)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the worker's work; return False to stop it. Override this, unless there is another function."""
        raise NotImplementedError

    def process_result(self, result: Any) -> Any:
        """Take what a run has returned, in the worker that hosts it, even if the function runs elsewhere. To override.

        :returns: counts as the value of the run: False stops the background worker.
        """
        return result

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in _OF_KINDS:
                raise NotOfThisKind(act=name, worker=self.name, kind=self.kind.value, advice=_OF_KINDS[name])
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def kind(self) -> Kind:
        """The cause that makes it run."""
        return self.options.kind

    # --- start and stop ---------------------------------------------------------------------------------------------

    def start(self, *args: Any, **kwargs: Any) -> bool:
        """Start it, on whichever worker may host it, as soon as the caller's transaction has committed.

        :param args: passed to the function at each run.
        :param kwargs: the same; those that begin with ``_`` are options that hold until it is stopped, such as
            ``_interval``, ``_delay``, ``_poll_delay``, ``_name``; ``o``, too.
            While Django imports the apps, these are only noted, as those with which it starts with the site.
        :returns: False if it was started already; then nothing changes.
        :raises TypeError: the function does not take these arguments.
        :raises UnknownOption: an option is not known.
        :raises UnpicklableArgument: a value cannot be pickled.
        """
        return self._start(args, kwargs, again=False)

    def restart(self, *args: Any, **kwargs: Any) -> bool:
        """Stop it after its current run, if it runs, and start it with these arguments; see :meth:`start`."""
        return self._start(args, kwargs, again=True)

    def stop(self, wait: bool | float = True) -> None:
        """Stop it after its current run; it stays stopped until :meth:`start`.

        :param wait: whether to wait for the end of that run, or the seconds to wait at most. A run does not wait for itself.
        :raises CannotStopHere: the caller is inside a transaction. Nobody sees the wish before it commits.
        """
        if not settings.IS_ACTIVE:
            return
        connection = current()
        waits = wait is not False and not calls.is_inside(self)
        if waits and connection.in_atomic_block and background.state(connection, self.name).hosted:
            raise CannotStopHere(name=self.name)
        background.stop(connection, self.name, self.declared())
        if waits and not connection.in_atomic_block:
            self._wait_for_end(connection, None if wait is True else float(wait))

    async def astart(self, *args: Any, **kwargs: Any) -> bool:
        """Like :meth:`start`, from a coroutine."""
        return await sync_to_async(functools.partial(self.start, *args, **kwargs))()

    async def astop(self, wait: bool | float = True) -> None:
        """Like :meth:`stop`, from a coroutine."""
        await sync_to_async(self.stop)(wait)

    def is_active(self) -> bool:
        """Whether it is to run."""
        return background.state(current(), self.name).wanted

    def is_started(self) -> bool:
        """Whether a worker hosts it."""
        return background.state(current(), self.name).hosted > 0

    def is_stopped(self) -> bool:
        """Whether no worker hosts it."""
        return not self.is_started()

    # --- inside its function ----------------------------------------------------------------------------------------

    @property
    def should_stop(self) -> bool:
        """Whether the current run should end soon: the background worker, or the worker that hosts it, is to stop."""
        return self._here is not None and self._here.control.asked

    def sleep(self, seconds: float) -> bool:
        """Sleep inside a run; return False, at once, if the run should end."""
        if self._here is not None:
            return self._here.control.sleep(seconds)
        time.sleep(seconds)
        return True

    # --- for the caretaker and for tests ----------------------------------------------------------------------------

    def hosted(self, here: Here | None) -> None:
        """Note how it runs in this process; None: it does not."""
        self._here = here

    def here(self, payload_of_start: bytes | None, id: Any) -> Here:
        """Return its options after a start.

        :param payload_of_start: the signed arguments; None: there are none.
        :param id: of the start.
        """
        args, kwargs = self._first_start if payload_of_start is None else self._loaded(payload_of_start, id)
        return self.here_after(args, kwargs)

    @property
    def called(self) -> calls.Called:
        """Its function, as it is called."""
        return self._called

    @property
    def present(self) -> Here | None:
        """The options with which it runs in this process now; None: it does not run here."""
        return self._here

    def here_after(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Here:
        """Return its options after a start with these arguments."""
        given = {name: value for name, value in kwargs.items() if _is_option(name)}
        options = self._overridden(given)
        rest = {name: value for name, value in kwargs.items() if name not in given}
        name = given.get("_name", self.name)
        shown = {name: value for name, value in given.items() if name not in ("o", "_o", "_name")}
        return Here(options, name, args, rest, shown)

    def handle(self, id: str, *message: Any) -> None:
        """Run its function once.

        :param id: of the task, or of the thread.
        :param message: what was put.
        """
        here = self._here or self.here(None, None)
        if not message and self._takes_task:
            message = (None,)
        here.call(self._called, self, message, id)

    # ----------------------------------------------------------------------------------------------------------------

    def _function(self, func: Callable[..., Any] | None) -> Callable[..., Any]:
        if func is not None:
            if isinstance(func, type) or not callable(func):
                raise InvalidOption(option="func", where=type(self).__name__, expected="a function", value=func)
            return func
        cls = type(self)
        if cls.run is BackgroundWorker.run:
            raise UnsuitableFunction(
                function=_described(cls),
                problem="there is nothing to run",
                advice="Override run(), or give a function as func=.",
            )
        return self.run

    def _register(self, where: str) -> None:
        known = registry.known(background.PREFIX + self.name)
        if isinstance(known, BackgroundDefinition) and _is_another(known.worker, self):
            expected = "another one: there is a background worker with this name"
            raise InvalidOption(option="name", where=where, expected=expected, value=self.name)
        self.definition = registry.register(BackgroundDefinition(self, self.options))

    def declared(self) -> background.Declared:
        """Return its options as the code declares them."""
        options = self.options
        return background.Declared(self.name, options.kind.value, options.per, options.queue, options.autostart)

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, again: bool) -> bool:
        if not settings.IS_ACTIVE:
            return False
        self._refuse_misfits(args, kwargs)
        if not apps.ready:
            # There may be no tables yet, and each process of the site imports this.
            self.options = dataclasses.replace(self.options, autostart=True)
            self._first_start = args, kwargs
            return True
        if self.definition.is_late and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Workers may not know the background worker %s: its module %s is imported only after Django has started. "
                "Add the module to AUTOTASK_MODULES.",
                self.name,
                self.definition.function.__module__,
            )
        id = new_id()
        setup = payload.dump_arguments(args, kwargs, id=id, name=self.definition.name) if args or kwargs else None
        return background.start(current(), self.declared(), id, setup, again=again)

    def _refuse_misfits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = {name: value for name, value in kwargs.items() if _is_option(name)}
        self._overridden(given)
        rest = {name: value for name, value in kwargs.items() if name not in given}
        message = (None,) if self.kind is Kind.QUEUE or self._takes_task else ()
        named = calls.keywords(self._called.taken, rest, dict.fromkeys(_OFFERED))
        try:
            inspect.signature(self.function).bind(*message, *args, **named)
        except TypeError as error:
            raise TypeError(f"start() of {self._where}: {error}. Nothing was started.") from None

    def _overridden(self, given: dict[str, Any]) -> BackgroundOptions:
        if "_name" in given and not isinstance(given["_name"], str):
            raise InvalidOption(option="_name", where=self._where, expected="a string", value=given["_name"])
        named = {name.removeprefix("_"): value for name, value in given.items() if name != "_name"}
        return self.options.started(self._where, **named)

    def _loaded(self, envelope: bytes, id: Any) -> payload.Arguments:
        return payload.load_arguments(envelope, id=id, name=self.definition.name)

    def _wait_for_end(self, connection: BaseDatabaseWrapper, seconds: float | None) -> None:
        deadline = None if seconds is None else time.monotonic() + seconds
        pause = _FIRST_LOOK
        # Not those that somebody has started since.
        while background.state(connection, self.name).ending:
            left = _LONGEST_LOOK if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_LOOK)

    def _message(self, args: tuple[Any, ...], priority: int | None) -> TaskHandle[Any] | None:
        """Store one message, in the caller's transaction."""
        if not settings.IS_ACTIVE:
            self.handle("", *args)
            return None
        self.definition.refuse_unreachable()
        definition = self.definition if priority is None else self.definition.using(priority=priority)
        return definition.sent(lambda carried: [definition.new_call(args, {}, carried)])[0]


#: The methods that only some kinds have, and how to get one of these kinds.
_OF_KINDS = {
    **dict.fromkeys(("put", "aput"), "Declare it with queue=True, or as a BackgroundQueueWorker."),
    **dict.fromkeys(
        ("trigger", "atrigger"),
        "Declare it with event=True or interval=…, or as a BackgroundEventWorker or BackgroundIntervalWorker.",
    ),
}

#: The arguments that the function gets if it takes them.
_OFFERED = ("_worker", "_name", "_task_id", "o")


def declared() -> dict[str, BackgroundWorker]:
    """Return the background workers of this process by name."""
    return {
        each.worker.name: each.worker for each in list(registry.definitions()) if isinstance(each, BackgroundDefinition)
    }


def _is_option(name: str) -> bool:
    return name.startswith("_") or name == "o"


def _is_another(known: BackgroundWorker, new: BackgroundWorker) -> bool:
    """Whether a background worker is not just the same one, of a module that was reloaded."""
    if _described(known.function) != _described(new.function):
        return True
    return type(known) is type(new) and known._is_of_class


def _described(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
