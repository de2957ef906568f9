"""What a running task can know and say of itself: the context that ``takes_context=True`` passes to it."""

import contextvars
import logging
import math
import uuid
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

logger = logging.getLogger("autotask.task")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task says it has come.

    :ivar done: how much is done, in whatever the task counts.
    :ivar total: how much there is in all; None while the task does not know.
    """

    done: float
    total: float | None = None

    @property
    def fraction(self) -> float | None:
        """The done share, from 0 to 1; None while the total is not known or is nothing."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else None

    def __str__(self) -> str:
        return f"{self.done:.15g}" if self.total is None else f"{self.done:.15g}/{self.total:.15g}"


class StopRequest:
    """Tells one attempt that it should stop, and why. Any thread may ask; asking again changes nothing.

    :ivar reason: why, for people; None while nobody has asked.
    """

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason: str | None = None

    def ask(self, reason: str) -> None:
        """Ask the attempt to stop: it is cancelled, has timed out, or its worker stops."""
        if self.reason is None:
            self.reason = reason


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Puts name and id of the task in front of each line, and gives both to handlers as fields of the record."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the line and its fields; those given at the call come on top."""
        fields = dict(self.extra or {})
        kwargs["extra"] = fields | (kwargs.get("extra") or {})
        return f"{fields['task_name']} {fields['task_id']}: {msg}", kwargs


class TaskContext:
    """One attempt of a task, as its function sees it.

    :ivar id: the id of the task; together with *attempt* a key for what must not be done twice elsewhere.
    :ivar name: the name of the task.
    :ivar attempt: the number of this attempt, from 1.
    :ivar scheduled_for: the tick of the schedule that this task belongs to; None if it was enqueued by a call.
    """

    __slots__ = ("_logger", "_report", "_stop", "attempt", "id", "name", "scheduled_for")

    def __init__(
        self,
        id: uuid.UUID,
        name: str,
        attempt: int = 1,
        scheduled_for: datetime | None = None,
        *,
        stop: StopRequest | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.attempt = attempt
        self.scheduled_for = scheduled_for
        self._stop = stop or StopRequest()
        self._report = report
        self._logger: TaskLogger | None = None

    def __repr__(self) -> str:
        return f"<TaskContext {self.name} {self.id}, attempt {self.attempt}>"

    @property
    def should_stop(self) -> bool:
        """Whether the task should come to an end soon: it is to be cancelled, has timed out, or its worker stops."""
        return self._stop.reason is not None

    @property
    def stop_reason(self) -> str:
        """Why the task should stop, for people; "" while it need not."""
        return self._stop.reason or ""

    @property
    def logger(self) -> TaskLogger:
        """A logger, ``autotask.task.<name>``, whose lines carry name and id of the task."""
        if self._logger is None:
            fields = {"task_id": str(self.id), "task_name": self.name, "attempt": self.attempt}
            self._logger = TaskLogger(logging.getLogger(f"autotask.task.{self.name}"), fields)
        return self._logger

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the task has come; ``handle.progress`` tells it, at most about a second later.

        May be called as often as you like: the database hears of it once a second. Never raises: what is no number is
        logged and left out.

        :param done: how much is done, in whatever you count.
        :param total: how much there is in all, if that is known.
        """
        try:
            progress = Progress(float(done), None if total is None else float(total))
        except (TypeError, ValueError, OverflowError):
            progress = Progress(math.nan)
        if not (math.isfinite(progress.done) and math.isfinite(progress.total or 0.0)):
            logger.warning("%s %s: no progress: %.100r of %.100r", self.name, self.id, done, total)
        elif (report := self._report) is not None:
            report(progress)

    def report_to(self, report: Callable[[Progress], None]) -> None:
        """Leave word of progress there from now on."""
        self._report = report

    def close(self) -> None:
        """Take no more word of progress: the attempt is over, whatever threads it may have left behind."""
        self._report = None


_running: contextvars.ContextVar[TaskContext] = contextvars.ContextVar("autotask_running")


def current() -> TaskContext | None:
    """Return the context of the task that runs here, for code that is called by tasks; None outside of tasks."""
    return _running.get(None)


def enter(context: TaskContext) -> None:
    """Make :func:`current` return this context from now on, in a context of contextvars that ends with the task."""
    _running.set(context)
