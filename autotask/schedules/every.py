"""A fixed interval, anchored so that restarts do not shift it."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Every:
    """Due each *seconds*, counted from the moment it was registered.

    :ivar seconds: length of the interval.
    :ivar start_now: whether the first moment due is the registration itself.
    """

    seconds: float
    start_now: bool = False

    @property
    def spec(self) -> str:
        """The interval as text."""
        return f"every {self.seconds:.15g} s" + (", from now" if self.start_now else "")

    def first_after(self, registered: datetime) -> datetime:
        """Return the registration, or one interval later."""
        return registered if self.start_now else registered + timedelta(seconds=self.seconds)

    def next_after(self, moment: datetime) -> datetime:
        """Return the moment one interval later; counting from the due moment, not from the run, there is no drift."""
        return moment + timedelta(seconds=self.seconds)

    def latest_before(self, tick: datetime, now: datetime) -> datetime:
        """Return the last due moment not after *now*."""
        interval = timedelta(seconds=self.seconds)
        return tick + max(0, (now - tick) // interval) * interval
