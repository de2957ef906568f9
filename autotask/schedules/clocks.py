"""When the clocks of a time zone change; found by comparing offsets, since ``zoneinfo`` lists no changes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

#: No clock has ever changed and changed back within this time.
_STEP = timedelta(days=1)

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the clock.

    :ivar at: the first moment with the new offset, in UTC.
    :ivar before: the offset until then.
    :ivar after: the offset from then on.
    """

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def old_wall(self) -> datetime:
        """The time on the clock at this moment, had it not changed; without a zone."""
        return (self.at + self.before).replace(tzinfo=None)

    @property
    def new_wall(self) -> datetime:
        """The time on the clock at this moment; without a zone."""
        return (self.at + self.after).replace(tzinfo=None)


def offset(zone: tzinfo, moment: datetime) -> timedelta:
    """Return the offset of the zone from UTC at a moment."""
    found = moment.astimezone(zone).utcoffset()
    assert found is not None  # it is aware
    return found


def next_change(zone: tzinfo, after: datetime, until: datetime) -> Change | None:
    """Return the first change after one moment and not after another; None if there is none."""
    low, until = after.astimezone(UTC).replace(microsecond=0), until.astimezone(UTC)
    before = offset(zone, low)
    while low < until:
        high = min(low + _STEP, until)
        if offset(zone, high) != before:
            return _change_between(zone, low, high)
        low = high
    return None


def _change_between(zone: tzinfo, low: datetime, high: datetime) -> Change:
    before = offset(zone, low)
    first, last = 0, -((low - high) // _SECOND)  # in seconds from low; rounded up, so that the last has the new offset
    while last - first > 1:
        middle = (first + last) // 2
        if offset(zone, low + middle * _SECOND) == before:
            first = middle
        else:
            last = middle
    at = low + last * _SECOND
    return Change(at, before, offset(zone, at))
