"""A time zone of pytz as others are: with an offset for each wall time, so that it can be used without localize()."""

from datetime import UTC, datetime, timedelta, tzinfo

#: No clock has ever been changed twice within two days.
_DAY = timedelta(days=1)


class PytzZone(tzinfo):
    """A zone with the rules of one of pytz.

    In an hour that comes twice, ``fold`` tells which of them is meant; in one that is skipped, it tells whether the offset
    before or after the change counts (PEP 495).

    :ivar key: its name.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self.key = str(zone)

    def __str__(self) -> str:
        return self.key

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Return by how much its clocks are ahead of UTC when they show this."""
        return None if dt is None else self._instant(dt).utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        """Return what daylight saving has to do with that."""
        return None if dt is None else self._instant(dt).dst()

    def tzname(self, dt: datetime | None) -> str | None:
        """Return what the zone is called then."""
        return None if dt is None else self._instant(dt).tzname()

    def fromutc(self, dt: datetime) -> datetime:
        """Return what its clocks show at a moment in UTC."""
        moment = self._at(dt)
        wall = moment.replace(tzinfo=self, fold=0)
        return wall if self.utcoffset(wall) == moment.utcoffset() else wall.replace(fold=1)

    def _instant(self, wall: datetime) -> datetime:
        before, after = (self._at(wall + days).utcoffset() or timedelta() for days in (-_DAY, _DAY))
        # What the clock shows was reached by the offset before a change, by that after it, by both, or by neither.
        by_before, by_after = self._at(wall - before), self._at(wall - after)
        reached = [by for by, offset in ((by_before, before), (by_after, after)) if by.utcoffset() == offset]
        if len(reached) == 1:
            return reached[0]
        if reached:
            return reached[wall.fold]
        # It is skipped. Each of the two leads to the other side of the change.
        return by_after if wall.fold == 0 else by_before

    def _at(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC).astimezone(self._zone)
