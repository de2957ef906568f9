"""The interface of a module for AUTOTASK_TELEMETRY: an object that is notified of calls and attempts."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from autotask.control import Retry
from autotask.schedules.base import Timetable
from autotask.task import State

_OUTCOMES = {State.RETRY: "retry", State.SCHEDULED: "released"}


@dataclass(slots=True)
class Call:
    """Calls of one task that are being stored.

    :ivar name: the name of the task.
    :ivar queue: where they wait.
    :ivar is_bulk: whether they were made with ``enqueue_many()``.
    :ivar ids: the ids of their tasks; empty until they are stored.
    """

    name: str
    queue: str
    is_bulk: bool = False
    ids: Sequence[uuid.UUID] = ()


@dataclass(slots=True)
class Attempt:
    """One attempt of a task; how it ended is known from :meth:`Telemetry.ended` on.

    :ivar number: of this attempt, from 1.
    :ivar retries: how many times the task may fail and run again.
    :ivar ready_at: when the task was ready to run.
    :ivar began: in seconds since 1970.
    :ivar scheduled_for: the tick to which the task belongs; None: to none.
    :ivar timetable: of its schedule, if it has one and this process knows it.
    :ivar timeout: seconds that the attempt may take.
    :ivar is_here: whether it runs inside the block of :meth:`Telemetry.attempt`. False: only its end was seen, since its
        function could not be called, was cut off in a thread or process that did not stop, or its worker died.
    :ivar state: DONE, ERROR, CANCELLED, RETRY, SCHEDULED if it does not count, or LOST if its worker or child process died;
        None: unknown, nothing is reported.
    :ivar message: why, as text.
    :ivar exception: what counts as the reason; None: nothing was raised.
    :ivar seconds: how long it took.
    :ivar next_in: seconds until the next attempt; None: none follows.
    """

    id: uuid.UUID
    name: str
    queue: str
    number: int
    retries: int
    ready_at: datetime
    began: float
    timeout: float
    worker_id: uuid.UUID | None = None
    scheduled_for: datetime | None = None
    timetable: Timetable | None = None
    is_here: bool = True
    state: State | None = None
    message: str = ""
    exception: BaseException | None = None
    seconds: float = 0.0
    next_in: float | None = None
    show: Callable[[], str] = field(default=str, repr=False)

    @property
    def outcome(self) -> str:
        """Its end, in a word: done, error, cancelled, retry, released or lost; "" while that is not known."""
        return "" if self.state is None else _OUTCOMES.get(self.state) or self.state.name.lower()

    @property
    def failure(self) -> BaseException | None:
        """The exception with which it failed. A task that has asked for a retry of its own accord has not failed."""
        asked = self.state is State.RETRY and isinstance(self.exception, Retry)
        return self.exception if self.state in (State.ERROR, State.RETRY) and not asked else None

    def arguments(self) -> str:
        """Return the arguments as text, with secrets masked, as the admin shows them; "" if they are not known."""
        try:
            return self.show()
        except Exception:  # whatever the project's own classes raise
            return ""


class Telemetry:
    """Is told of calls and attempts. Any object with these methods will do; what one of them raises is logged.

    ::

        class Timing(Telemetry):
            @contextmanager
            def attempt(self, attempt, carried):
                yield
                if attempt.state is not None:
                    statsd.timing(f"tasks.{attempt.name}.{attempt.outcome}", attempt.seconds)

        telemetry = Timing()
    """

    def call(self, call: Call) -> AbstractContextManager[Any]:
        """Return a context manager around the storing of calls.

        What it gives to ``as`` travels with each of them: None, or a small value that JSON can hold.
        """
        return nullcontext()

    def attempt(self, attempt: Attempt, carried: Any) -> AbstractContextManager[Any]:
        """Return a context manager around one attempt, in the context of its thread, coroutine or child process.

        :param carried: what has travelled with the call; None: nothing.
        """
        return nullcontext()

    def ended(self, attempt: Attempt) -> None:
        """Take how an attempt ended, inside its block, and before its end is logged."""

    def flush(self, seconds: float) -> None:
        """Send what is still to be sent, within these seconds: the process ends."""
