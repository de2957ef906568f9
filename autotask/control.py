"""Exceptions with which a task function controls its task: Retry, Snooze, Cancel, Discard."""

from datetime import timedelta
from typing import Any

from autotask.exceptions import AutotaskError
from autotask.options import seconds as checked_seconds


class Control(AutotaskError):
    """Raised by a task function to control its task: the root of the four below."""


class Retry(Control):
    """Raised by a task function: this attempt has failed; run the task again if retries are left.

    The attempt counts as failed, whatever ``retry_on`` and ``no_retry_on`` say. If no retries are left, the task ends in
    ERROR. Raise it ``from`` its cause, and the history of the task shows that, too.

    :param delay: seconds or timedelta until the next attempt; None leaves it to the ``backoff`` of the task.
    :param reason: why, as text.
    :raises InvalidOption: the delay is negative or longer than a century.
    :raises InvalidOptionType: the delay is neither a number nor a timedelta.
    """

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        super().__init__(delay=None if delay is None else checked_seconds(delay, "delay", "Retry()"), reason=reason)

    delay: float | None
    reason: str

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return str(facts["reason"]) or "the task asked for a retry"


class Snooze(Control):
    """Raised by a task function: it is too early; run the task again later, as if it had not run now.

    The attempt does not count, and uses no retry.

    :param seconds: seconds or timedelta until the task runs again.
    :raises InvalidOption: the time is negative or longer than a century.
    :raises InvalidOptionType: the time is neither a number nor a timedelta.
    """

    def __init__(self, seconds: float | timedelta) -> None:
        super().__init__(seconds=checked_seconds(seconds, "seconds", "Snooze()"))

    seconds: float

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return f"the task asked to run again in {facts['seconds']:g} seconds"


class Cancel(Control):
    """Raised by a task function: end the task as CANCELLED, without a retry; the reason is its message.

    :param reason: why, as text.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason)

    reason: str

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return str(facts["reason"])


class Discard(Control):
    """Raised by a task function: there is nothing left to do, for example because its object has been deleted.

    The task ends as CANCELLED, with "discarded" and the reason as its message: without a retry, without a traceback in
    its history, and without a log line above DEBUG.

    :param reason: why, as text.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason)

    reason: str

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return f"discarded: {facts['reason']}" if facts["reason"] else "discarded"
