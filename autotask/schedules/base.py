"""The questions every schedule answers: given this moment, when next, and what was due until now?"""

from datetime import UTC, datetime
from typing import Protocol


class Timetable(Protocol):
    """What a repeated task is due by; all moments are aware."""

    @property
    def spec(self) -> str:
        """The timetable as text, on one line. A changed text makes the schedule start anew."""

    def in_words(self) -> str:
        """Return it in English, for people."""

    def first_after(self, registered: datetime) -> datetime:
        """Return the first moment due when the schedule is registered at the given one."""

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment due after the given one; an interval is counted from the latter."""

    def due_until(self, tick: datetime, now: datetime, most: int) -> list[datetime]:
        """Return the due moments from *tick*, which is one, until *now*, in order; of more than *most* the last ones."""

    def upcoming(self, count: int = 5, after: datetime | None = None) -> list[datetime]:
        """Return the next moments due after the given one, by default after now, in UTC.

        An interval is counted from the given moment: give the last tick, if it is about real ones.
        """


def upcoming(timetable: Timetable, count: int, after: datetime | None) -> list[datetime]:
    """Return the next moments of a timetable, see :meth:`Timetable.upcoming`."""
    moments, moment = [], datetime.now(UTC) if after is None else after.astimezone(UTC)
    for _ in range(count):
        moment = timetable.next_after(moment)
        moments.append(moment)
    return moments
