"""An explanation: what is returned to those that ask why a task does not run."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from autotask.reasons import Reason
from autotask.why.codes import Code


@dataclass(frozen=True, slots=True)
class Check:
    """One of the things that must be so before a task runs.

    :ivar code: the code of the explanation if this check is the first that fails.
    :ivar passed: whether it is so.
    :ivar text: what was found, as a sentence without a capital letter and a full stop.
    """

    code: Code
    passed: bool
    text: str

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.text}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task does not run now, or what it does.

    :ivar id: of the task.
    :ivar code: stable; each has its place on the page "Why is my task not running?".
    :ivar sentence: the reason, for users.
    :ivar advice: what to do, often a command; "" if there is nothing to do but to wait.
    :ivar checks: all that was looked at, in order. The first one that failed gave the code.
    :ivar until: when it may change; None: unknown.
    :ivar place: the place in line, from 1, if it waits in one.
    :ivar expected_wait: seconds for which it is likely to wait; None: unknown. An estimate from tasks that ended lately.
    :ivar reason: more about the gate at which it waits, or the pause.
    """

    id: uuid.UUID
    code: Code
    sentence: str
    advice: str = ""
    checks: tuple[Check, ...] = ()
    until: datetime | None = None
    place: int | None = None
    expected_wait: float | None = None
    reason: Reason | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"
