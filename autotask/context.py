"""The context of a running task, which ``takes_context=True`` passes to it."""

import contextvars
import logging
import math
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

logger = logging.getLogger("autotask.task")

_NO_METADATA: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a task, as it reports it.

    :ivar done: how much is done, in a unit of the task's choice.
    :ivar total: how much there is in all; None while the task does not know.
    """

    done: float
    total: float | None = None

    @property
    def fraction(self) -> float | None:
        """The share that is done, from 0 to 1; None while the total is unknown or zero."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total else None

    def __str__(self) -> str:
        return f"{self.done:.15g}" if self.total is None else f"{self.done:.15g}/{self.total:.15g}"


class StopRequest:
    """Asks one attempt to stop. Any thread may ask; only the first reason counts.

    :ivar reason: why, as text; None while nobody has asked.
    """

    # Each attempt has one, and hardly any is asked to stop: a class attribute costs nothing.
    reason: str | None = None

    def ask(self, reason: str) -> None:
        """Ask the attempt to stop: it should be cancelled, has timed out, or its worker stops."""
        if self.reason is None:
            self.reason = reason


class TaskLogger(logging.LoggerAdapter[logging.Logger]):
    """Begins each line with name and id of the task, and adds both to the record as fields."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the line and its fields; those given at the call take precedence."""
        fields = dict(self.extra or {})
        kwargs["extra"] = fields | (kwargs.get("extra") or {})
        return f"{fields['task_name']} {fields['task_id']}: {msg}", kwargs


class TaskContext:
    """One attempt of a task, as its function sees it.

    :ivar id: the id of the task; together with *attempt* a key for effects elsewhere that must not happen twice.
    :ivar name: the name of the task.
    :ivar attempt: the number of this attempt, from 1.
    :ivar scheduled_for: the tick of the schedule that this task belongs to; None if it was enqueued by a call.
    :ivar fence: the number of the claim of this attempt; None outside of workers.
    :ivar subject: the object that its call named as its subject, like ``shop.order:42``; None if it named none.
    :ivar metadata: that of its call, as JSON has it; empty if it gave none.
    :ivar steps: what ``autotask.workflows`` knows of the steps of the function that runs now; None before its first one.
    :ivar lines: keeps the lines that it has logged; None before the first one.
    """

    __slots__ = (
        *("_logger", "_report", "_stop", "attempt", "fence", "id", "lines", "metadata"),
        *("name", "scheduled_for", "steps", "subject"),
    )

    def __init__(
        self,
        id: uuid.UUID,
        name: str,
        attempt: int = 1,
        scheduled_for: datetime | None = None,
        stop: StopRequest | None = None,
        report: Callable[[Progress], None] | None = None,
        fence: int | None = None,
    ) -> None:
        self.fence = fence
        self.subject: str | None = None
        self.metadata = _NO_METADATA
        self.id = id
        self.name = name
        self.attempt = attempt
        self.scheduled_for = scheduled_for
        self.steps: Any = None
        self.lines: Any = None
        self._logger: TaskLogger | None = None
        self._stop = stop or StopRequest()
        self._report = report

    def __repr__(self) -> str:
        return f"<TaskContext {self.name} {self.id}, attempt {self.attempt}>"

    @property
    def should_stop(self) -> bool:
        """Whether the task should stop soon: it should be cancelled, has timed out, or its worker stops."""
        return self._stop.reason is not None

    @property
    def stop_reason(self) -> str:
        """Why the task should stop, as text; "" if it should not."""
        return self._stop.reason or ""

    @property
    def logger(self) -> TaskLogger:
        """A logger, ``autotask.task.<name>``, whose lines carry name and id of the task."""
        if self._logger is None:
            fields = {"task_id": str(self.id), "task_name": self.name, "attempt": self.attempt}
            self._logger = TaskLogger(logging.getLogger(f"autotask.task.{self.name}"), fields)
        return self._logger

    def progress(self, done: float, total: float | None = None) -> None:
        """Report how far the task has come; ``handle.progress`` shows it within about a second.

        Call it as often as you like: it is written to the database once a second. It never raises: values that are not
        numbers are logged and left out.

        :param done: how much is done, in a unit of your choice.
        :param total: how much there is in all, if known.
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
        """Report progress to this function from now on."""
        self._report = report

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or reports to nobody."""
        return self._report is None

    def close(self) -> None:
        """Accept no more progress: the attempt is over, whatever threads it may have left behind."""
        self._report = None
        if self.lines is not None:
            self.lines.end()


#: The context of the task that is running here; see :func:`current`.
running: contextvars.ContextVar[TaskContext] = contextvars.ContextVar("autotask_running")


def current() -> TaskContext | None:
    """Return the context of the task that is running here, for code that tasks call; None outside of tasks."""
    return running.get(None)


def enter(context: TaskContext) -> None:
    """Make :func:`current` return this context from now on, in a context of contextvars that ends with the task."""
    running.set(context)
