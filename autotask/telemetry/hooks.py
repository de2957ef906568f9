"""Tell the objects in AUTOTASK_TELEMETRY of calls and attempts; one that fails harms neither tasks nor the others."""

import contextvars
import importlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from django.utils.module_loading import import_string

from autotask import carriers, payload
from autotask.conf import settings
from autotask.exceptions import TaskInterrupted
from autotask.schedules.base import Timetable
from autotask.task import ClaimedTask, State
from autotask.telemetry.interface import Attempt, Call, Telemetry

if TYPE_CHECKING:
    from autotask.handle import TaskHandle

logger = logging.getLogger("autotask")

R = TypeVar("R")

#: The calls of one act: a list, or what yields them.
Calls = TypeVar("Calls")

#: The name under which a module has its object.
OBJECT = "telemetry"

METHODS = ("call", "attempt", "ended", "flush")

#: The attempt that runs here, by its claim.
_running: contextvars.ContextVar[tuple[Any, Attempt]] = contextvars.ContextVar("autotask_telemetry")


def find(path: str) -> Telemetry:
    """Return the object that a path names: that of a module, or one in a module; a class is called.

    :raises TypeError: the object there cannot be notified.
    :raises Exception: whatever importing raises.
    """
    found = _imported(path)
    if isinstance(found, ModuleType):
        if not hasattr(found, OBJECT):
            raise TypeError(f"the module has no object {OBJECT}")
        found = getattr(found, OBJECT)
    made = found() if isinstance(found, type) else found
    if missing := [name for name in METHODS if not callable(getattr(made, name, None))]:
        raise TypeError(f"it has no method {missing[0]}()")
    return made  # type: ignore[no-any-return]  # it has the methods of one


def _imported(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # The module may exist, and lack another one itself.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
    return import_string(path)


class Hooks:
    """The modules that are notified, in the order of the setting.

    :param paths: the setting. One that cannot be imported is logged, and left out.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._told: dict[str, Telemetry] = {}
        for path in paths:
            try:
                self._told[path] = find(path)
            except Exception:  # whatever a module of the project raises
                logger.exception("AUTOTASK_TELEMETRY has %r, which cannot be used", path)

    # --- calls ------------------------------------------------------------------------------------------------------

    def sent(
        self,
        name: str,
        queue: str,
        is_bulk: bool,
        make: "Callable[[Mapping[str, Any]], Calls]",
        store: "Callable[[Calls], list[TaskHandle[R]]]",
    ) -> "list[TaskHandle[R]]":
        """Make calls and store them, with what travels along, and return their handles.

        :param make: makes them, with these values of carriers.
        """
        call = Call(name, queue, is_bulk)
        with _Blocks() as blocks:
            taken = {path: each for path, told in self._told.items() if (each := _taken(blocks, path, told, call))}
            carried = carriers.carried(call.name)
            handles = store(make({**carried, carriers.TELEMETRY: taken} if taken else carried))
            call.ids = [handle.id for handle in handles]
            return handles

    # --- attempts ---------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, task: ClaimedTask, timetable: Timetable | None) -> Iterator[None]:
        """Tell of an attempt that runs in this block."""
        with self._told_of(task, _attempt(task, timetable, 0.0)):
            yield

    def loaded(self, show: Callable[[], str]) -> None:
        """Take the function that shows the arguments of the attempt that runs here."""
        if (found := _running.get(None)) is not None:
            found[1].show = show

    def end(
        self,
        task: ClaimedTask,
        timetable: Timetable | None,
        *,
        state: State,
        seconds: float,
        message: str,
        exception: BaseException | None,
        next_in: float | None,
    ) -> None:
        """Tell how an attempt has ended, wherever it ran."""

        def tell(attempt: Attempt) -> None:
            attempt.state, attempt.seconds, attempt.message = state, seconds, message
            attempt.exception, attempt.next_in = exception, next_in
            for path, told in self._told.items():
                _logged(path, told.ended, attempt)

        found = _running.get(None)
        if found is not None and found[0] == (task.id, task.fence):
            tell(found[1])
            return
        attempt = _attempt(task, timetable, seconds)
        attempt.is_here = False
        with self._told_of(task, attempt):
            tell(attempt)

    def lost(self, attempt: Attempt, envelope: bytes) -> None:
        """Tell of an attempt whose worker or process died, in another one.

        :param envelope: the payload of the task.
        """
        with self._open(None, _carried(envelope, attempt), attempt):
            for path, told in self._told.items():
                _logged(path, told.ended, attempt)

    def _told_of(self, task: ClaimedTask, attempt: Attempt) -> AbstractContextManager[None]:
        return self._open((task.id, task.fence), _carried(task.payload, attempt), attempt)

    @contextmanager
    def _open(self, claim: Any, carried: dict[str, Any], attempt: Attempt) -> Iterator[None]:
        token = _running.set((claim, attempt))
        try:
            with _Blocks() as blocks:
                for path, told in self._told.items():
                    blocks.enter(path, told.attempt, attempt, carried.get(path))
                yield
        finally:
            _running.reset(token)

    def flush(self, seconds: float) -> None:
        """Have everything sent, since this process ends."""
        deadline = time.monotonic() + seconds
        for path, told in self._told.items():
            _logged(path, told.flush, max(0.1, deadline - time.monotonic()))


def _attempt(task: ClaimedTask, timetable: Timetable | None, seconds: float) -> Attempt:
    return Attempt(
        id=task.id,
        name=task.name,
        queue=task.queue,
        number=task.attempt,
        retries=task.retries,
        ready_at=task.ready_at,
        began=time.time() - seconds,
        timeout=settings.TIMEOUT if task.timeout is None else task.timeout,
        worker_id=task.worker_id,
        scheduled_for=task.scheduled_for,
        timetable=timetable,
    )


def _carried(envelope: bytes, attempt: Attempt) -> dict[str, Any]:
    if not payload.carries(envelope):
        return {}
    try:
        found = payload.load_carried(envelope, id=attempt.id, name=attempt.name).get(carriers.TELEMETRY)
    except Exception:  # It was altered, or signed with another key, which the attempt is about to say.
        return {}
    return found if isinstance(found, dict) else {}


def _taken(blocks: "_Blocks", path: str, told: Telemetry, call: Call) -> Any:
    """Return the value that calls carry for one of the modules."""
    value = blocks.enter(path, told.call, call)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        logger.error("%s of AUTOTASK_TELEMETRY carries what JSON cannot hold: %s", path, error)
        return None
    return value


class _Blocks:
    """Context managers that are open. Unlike those of an ExitStack, none of them can raise or swallow anything.

    The interruption of a task that is over its time may come while one is left: it continues when all are.
    """

    def __init__(self) -> None:
        self._open: list[tuple[str, AbstractContextManager[Any]]] = []

    def enter(self, path: str, make: Callable[..., AbstractContextManager[Any]], *args: Any) -> Any:
        """Enter one, and return its value; None if that fails."""
        try:
            manager = make(*args)
            value = manager.__enter__()
        except Exception:
            _complain(path)
            return None
        self._open.append((path, manager))
        return value

    def __enter__(self) -> "_Blocks":
        return self

    def __exit__(self, *raised: Any) -> None:
        interruption: TaskInterrupted | None = None
        while self._open:
            path, manager = self._open.pop()
            try:
                manager.__exit__(*raised)
            except BaseException as error:  # noqa: B036 - that of the block rises by itself
                if error is raised[1]:
                    continue
                if isinstance(error, TaskInterrupted):
                    interruption = error
                else:
                    _complain(path)
        if interruption is not None:
            raise interruption


def _logged(path: str, tell: Callable[..., None], *args: Any) -> None:
    try:
        tell(*args)
    except Exception:
        _complain(path)


def _complain(path: str) -> None:
    logger.error("%s of AUTOTASK_TELEMETRY has failed", path, exc_info=sys.exc_info())
