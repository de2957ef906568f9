"""The questions that every timetable answers: when is it due next, and when was it due until now?"""

from datetime import UTC, datetime
from typing import Protocol


class Timetable(Protocol):
    """When a repeated task is due; all moments are aware."""

    @property
    def spec(self) -> str:
        """The timetable as text, on one line. A changed text restarts the schedule."""

    def in_words(self) -> str:
        """Return it in English."""

    def first_after(self, registered: datetime) -> datetime:
        """Return the first moment due for a schedule registered at the given one."""

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment due after the given one, from which an interval is counted."""

    def due_until(self, tick: datetime, now: datetime, most: int) -> list[datetime]:
        """Return the due moments from *tick*, itself due, until *now*, in order; only the last *most* of them."""

    def upcoming(self, count: int = 5, after: datetime | None = None) -> list[datetime]:
        """Return the next moments due after the given one, by default after now, in UTC.

        An interval is counted from the given moment: pass the last tick to get real ones.
        """


def upcoming(timetable: Timetable, count: int, after: datetime | None) -> list[datetime]:
    """Return the next moments of a timetable, see :meth:`Timetable.upcoming`."""
    moments, moment = [], datetime.now(UTC) if after is None else after.astimezone(UTC)
    for _ in range(count):
        moment = timetable.next_after(moment)
        moments.append(moment)
    return moments
