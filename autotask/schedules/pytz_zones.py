"""A time zone of pytz that works like others: it has an offset for each wall time, and needs no localize()."""

from datetime import UTC, datetime, timedelta, tzinfo

#: No clock has ever changed twice within two days.
_DAY = timedelta(days=1)


class PytzZone(tzinfo):
    """A zone with the rules of one of pytz.

    In an hour that comes twice, ``fold`` says which one is meant; in a skipped one, whether the offset before or after the
    change counts (PEP 495).
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.key = str(zone)

    def __str__(self) -> str:
        return self.key

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Return the offset of its clocks from UTC when they show this."""
        return None if dt is None else self._instant(dt).utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        """Return the part of the offset that is daylight saving time."""
        return None if dt is None else self._instant(dt).dst()

    def tzname(self, dt: datetime | None) -> str | None:
        """Return the name of the zone at that time."""
        return None if dt is None else self._instant(dt).tzname()

    def fromutc(self, dt: datetime) -> datetime:
        """Return the wall time at a moment in UTC."""
        moment = self._at(dt)
        wall = moment.replace(tzinfo=self, fold=0)
        return wall if self.utcoffset(wall) == moment.utcoffset() else wall.replace(fold=1)

    def _instant(self, wall: datetime) -> datetime:
        before, after = (self._at(wall + days).utcoffset() or timedelta() for days in (-_DAY, _DAY))
        # The wall time exists with the offset before a change, with that after it, with both, or with neither.
        by_before, by_after = self._at(wall - before), self._at(wall - after)
        reached = [by for by, offset in ((by_before, before), (by_after, after)) if by.utcoffset() == offset]
        if len(reached) == 1:
            return reached[0]
        if reached:
            return reached[wall.fold]
        # It is skipped. Each of the two offsets leads to the other side of the change.
        return by_after if wall.fold == 0 else by_before

    def _at(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone(self._zone)
