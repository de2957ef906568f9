"""What a task function raises to say what is to become of its task: Retry, Snooze, Cancel, Discard."""

from datetime import timedelta
from typing import Any

from autotask.exceptions import AutotaskError
from autotask.options import seconds as checked_seconds


class Control(AutotaskError):
    """A task function has said what is to become of its task."""


class Retry(Control):
    """Raised by a task function: this attempt has failed, and the task is to be tried again if retries are left.

    It counts like any other exception, whatever ``retry_on`` and ``no_retry_on`` say. Without retries left the task ends
    in ERROR. Raise it ``from`` the error that it answers, and the history of the task shows that too.

    :param delay: seconds or timedelta until the next attempt; None leaves it to the ``backoff`` of the task.
    :param reason: why, for people.
    :raises InvalidOption: the delay is negative or longer than a century.
    :raises InvalidOptionType: the delay is neither a number nor a timedelta.
    """

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        super().__init__(delay=None if delay is None else checked_seconds(delay, "delay", "Retry()"), reason=reason)

    delay: float | None
    reason: str

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return str(facts["reason"]) or "the task asked to be tried again"


class Snooze(Control):
    """Raised by a task function: it is too early; the task is to be run again later, as if it had not been run now.

    The attempt does not count, and no retry is spent.

    :param seconds: seconds or timedelta until it is run again.
    :raises InvalidOption: the time is negative or longer than a century.
    :raises InvalidOptionType: the time is neither a number nor a timedelta.
    """

    def __init__(self, seconds: float | timedelta) -> None:
        super().__init__(seconds=checked_seconds(seconds, "seconds", "Snooze()"))

    seconds: float

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return f"the task asked to be run again in {facts['seconds']:g} seconds"


class Cancel(Control):
    """Raised by a task function: the task is to end as CANCELLED, without a retry; the reason is its message.

    :param reason: why, for people.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason)

    reason: str

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return str(facts["reason"])


class Discard(Control):
    """Raised by a task function: there is nothing left to do, as when the object it is about has been deleted.

    The task ends as CANCELLED, with "discarded" and the reason as its message: without a retry, without a traceback in
    its history, and with no line in the log above DEBUG.

    :param reason: why, for people.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason=reason)

    reason: str

    @classmethod
    def _message(cls, facts: dict[str, Any]) -> str:
        return f"discarded: {facts['reason']}" if facts["reason"] else "discarded"
