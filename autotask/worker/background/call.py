"""One run of a background worker as it travels to another process, and how it runs there."""

import pickle
import time
import traceback
import uuid
from dataclasses import dataclass
from typing import Any, cast

from autotask import registry
from autotask.background.control import Control
from autotask.background.workers import BackgroundWorker
from autotask.context import StopRequest
from autotask.exceptions import RunFailedElsewhere, UnknownTask
from autotask.texts.lines import describe
from autotask.worker import surroundings
from autotask.worker.job import import_there
from autotask.worker.reporter import Reports

#: Seconds between two checks whether a sleeping run is asked to stop.
LOOK_EVERY = 0.05


class TracebackElsewhere(Exception):
    """Shows the traceback of another process; the argument is its text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a run.

    :ivar value: the pickled value; None: it has raised.
    :ivar error: the pickled exception; None: it cannot be pickled.
    :ivar shown: the exception in one line, or "".
    :ivar traceback: its lines.
    """

    value: bytes | None = None
    error: bytes | None = None
    shown: str = ""
    traceback: str = ""

    def unpacked(self) -> Any:
        """Return the value, or raise what the run has raised."""
        if self.value is not None:
            return pickle.loads(self.value)  # from a child of this process, or an executor of the project
        try:
            error = None if self.error is None else pickle.loads(self.error)
        except Exception:  # here, where not all modules need be those of the other process
            error = None
        if not isinstance(error, BaseException):
            error = RunFailedElsewhere(shown=self.shown)
        raise error from TracebackElsewhere(self.traceback)


@dataclass(frozen=True, slots=True)
class Call:
    """One run.

    :ivar name: of the definition.
    :ivar module: of the function.
    :ivar setup: the signed arguments of the start; None: there are none.
    :ivar start_id: of the start.
    :ivar message: the pickled message.
    :ivar id: see :meth:`autotask.background.workers.BackgroundWorker.handle`.
    """

    name: str
    module: str
    setup: bytes | None
    start_id: uuid.UUID
    message: bytes
    id: str

    def run(self, reporter: Reports, stop: StopRequest) -> Answer:
        """Call the function in this process. Never raises."""
        around = surroundings.of_thread()
        around.tidy()
        try:
            return Answer(value=pickle.dumps(around.run(self._value, stop)))
        except BaseException as error:  # noqa: B036 - the function can raise anything, such as SystemExit
            return _raised(error)
        finally:
            around.tidy(unsure=True)

    def _value(self, stop: StopRequest) -> Any:
        worker = _find(self.name, self.module)
        here = worker.here(self.setup, self.start_id)
        here.control = ControlElsewhere(stop)
        worker.hosted(here)
        try:
            return here.value_of(worker.called, worker, pickle.loads(self.message), self.id)
        finally:
            worker.hosted(None)


class ControlElsewhere(Control):
    """Tells a run in another process that it should end.

    :param stop: is asked for that.
    """

    def __init__(self, stop: StopRequest) -> None:
        super().__init__()
        self._stop = stop

    @property
    def asked(self) -> bool:
        """Whether the run should end."""
        return self._stop.reason is not None

    def sleep(self, seconds: float) -> bool:
        """Sleep; return False, soon, if the run should end."""
        deadline = time.monotonic() + seconds
        while not self.asked and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(LOOK_EVERY, left))
        return not self.asked


def _find(name: str, module: str) -> BackgroundWorker:
    try:
        definition = registry.get(name)
    except UnknownTask:
        import_there(module)
        definition = registry.get(name)
    return cast(BackgroundWorker, definition.worker)  # type: ignore[attr-defined]  # of a BackgroundDefinition


def _raised(error: BaseException) -> Answer:
    shown = "".join(traceback.format_exception(error))
    try:
        pickled: bytes | None = pickle.dumps(error)
        pickle.loads(pickled or b"")
    except Exception:
        pickled = None
    return Answer(error=pickled, shown=describe(error), traceback=shown)
