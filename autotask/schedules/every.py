"""A fixed interval, anchored so that restarts do not shift it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from autotask.schedules import base

#: Name and seconds, the largest first.
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True, slots=True)
class Every:
    """Due every *seconds*, counted from its registration.

    :ivar start_now: whether the first moment due is the registration itself.
    """

    seconds: float
    start_now: bool = False

    @property
    def spec(self) -> str:
        """The interval as text."""
        return f"every {self.seconds:.15g} s" + (", from now" if self.start_now else "")

    def in_words(self) -> str:
        """Return the interval in English, in its largest whole unit."""
        unit, size = next((each for each in _UNITS if self.seconds % each[1] == 0), _UNITS[-1])
        number = self.seconds / size
        return f"Every {unit}" if number == 1 else f"Every {number:.15g} {unit}s"

    def first_after(self, registered: datetime) -> datetime:
        """Return the registration, or one interval later."""
        return registered if self.start_now else registered + timedelta(seconds=self.seconds)

    def next_after(self, moment: datetime) -> datetime:
        """Return the moment one interval later: counted from the due moment and not from the run, so without drift."""
        return moment + timedelta(seconds=self.seconds)

    def due_until(self, tick: datetime, now: datetime, most: int) -> list[datetime]:
        """Return the last due moments until *now*, in order."""
        interval = timedelta(seconds=self.seconds)
        count = (now - tick) // interval + 1
        return [tick + number * interval for number in range(max(0, count - most), count)]

    def upcoming(self, count: int = 5, after: datetime | None = None) -> list[datetime]:
        """Return the next due moments; the first is one interval after the given moment."""
        return base.upcoming(self, count, after)
