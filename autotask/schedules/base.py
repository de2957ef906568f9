"""The question every schedule answers: given this moment, when next?"""

from datetime import datetime
from typing import Protocol


class Timetable(Protocol):
    """What a repeated task is due by; all moments are aware."""

    @property
    def spec(self) -> str:
        """The timetable as text. A changed text makes the schedule start anew."""

    def first_after(self, registered: datetime) -> datetime:
        """Return the first moment due when the schedule is registered at the given one."""

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment due after the given one, which is itself a due moment."""

    def latest_before(self, tick: datetime, now: datetime) -> datetime:
        """Return the last due moment that is not after *now*, given an earlier due moment *tick*."""
