"""Exceptions with which a task function controls its task: Retry, Snooze, RateLimited, Cancel, Discard."""

from datetime import timedelta
from typing import Any

from autotask.exceptions import AutotaskError, InvalidOptionType
from autotask.values import seconds as checked_seconds


class Control(AutotaskError):
    """Raised by a task function to control its task: the root of the five below."""


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


class RateLimited(Control):
    """Raised by a task function: another system accepts no more requests for now; run the task again when it does.

    The attempt does not count, and uses no retry. If the task has a ``rate``, no other task of it begins until then,
    either: with a key, those with the same key.

    :param retry_after: seconds or timedelta, often from the header ``Retry-After``.
    :raises InvalidOption: the time is negative or longer than a century.
    :raises InvalidOptionType: the time is neither a number nor a timedelta.
    """

    def __init__(self, retry_after: float | timedelta) -> None:
        given: Any = retry_after
        if isinstance(given, str):
            expected = "a number of seconds or a timedelta; if the text of the header is a number, use int()"
            raise InvalidOptionType(
                option="retry_after", where="RateLimited()", expected=expected, value=given, type="str"
            )
        super().__init__(retry_after=checked_seconds(retry_after, "retry_after", "RateLimited()"))

    retry_after: float

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return f"the rate is exhausted for {facts['retry_after']:g} seconds"


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
