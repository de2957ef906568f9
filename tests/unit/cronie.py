"""What cronie would do: a clock that is looked at each minute, with its rule for daylight saving. Slow, and plain."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = 24 * 60

#: Minutes are counted from here.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: cronie has been running for so long before the moment it is asked for.
EARLIER = 2 * DAY


@dataclass
class Line:
    """One line of a crontab: what matches in each field; None is a field that begins with a star and has no step.

    :ivar days: numbers of days of the month; -1 is the last one.
    :ivar weekdays: numbers from 0 (Sunday) to 6; pairs of it and the how-manieth of the month, -1 for the last.
    :ivar stars: names of the fields that begin with a star.
    """

    minutes: set[int]
    hours: set[int]
    days: set[int]
    months: set[int]
    weekdays: set
    stars: set[str] = field(default_factory=set)

    @property
    def follows_real_time(self) -> bool:
        return bool(self.stars & {"minutes", "hours"})

    def matches_day(self, day: datetime) -> bool:
        """entry.c and find_jobs() in cron.c: either day matches, unless one of the two fields begins with a star."""
        if day.month not in self.months:
            return False
        is_last = (day + timedelta(days=1)).month != day.month
        by_number = day.day in self.days or (is_last and -1 in self.days)
        weekday = day.isoweekday() % 7
        in_last_week = (day + timedelta(days=7)).month != day.month
        by_weekday = (
            weekday in self.weekdays
            or (weekday, (day.day - 1) // 7 + 1) in self.weekdays
            or (in_last_week and (weekday, -1) in self.weekdays)
        )
        if self.stars & {"days", "weekdays"}:
            return by_number and by_weekday
        return by_number or by_weekday


class Wall:
    """What the clock on a wall shows, in minutes since 1970 by its own reckoning."""

    def __init__(self, tz: str) -> None:
        self._zone = ZoneInfo(tz)

    def offset(self, minute: int) -> int:
        """Return by how many minutes it is ahead of UTC in a minute of UTC."""
        seconds = (EPOCH + minute * MINUTE).astimezone(self._zone).utcoffset().total_seconds()
        assert seconds % 60 == 0
        return int(seconds // 60)

    def readings(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield each minute of UTC with what the clock shows in it."""
        for first in range(start, end, DAY):
            last = min(first + DAY, end)
            offset = self.offset(first)
            if offset == self.offset(last):
                yield from ((minute, minute + offset) for minute in range(first, last))
            else:
                yield from ((minute, minute + self.offset(minute)) for minute in range(first, last))


def due_minutes(line: Line, tz: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the moments after *start* and not after *end* at which cronie would run the line.

    The loop of cron.c: while the clock goes on as ever, each minute runs what matches. Lines with a wildcard in minute or
    hour always go by what the clock shows. Of the others, what was skipped is run when the clock has skipped it, and while
    the clock shows for the second time what it has shown before, nothing is run.
    """
    first = (start - EPOCH) // MINUTE + 1
    last = (end - EPOCH) // MINUTE
    found = []
    done = None  # cronie's virtual time: the latest minute on the wall that has been dealt with
    day_of: dict[int, bool] = {}
    time_of = [hour in line.hours and minute in line.minutes for hour in range(24) for minute in range(60)]

    def matches(wall: int) -> bool:
        day, time = divmod(wall, DAY)
        if not time_of[time]:
            return False
        if day not in day_of:
            day_of[day] = line.matches_day(datetime(1970, 1, 1) + timedelta(days=day))
        return day_of[day]

    for minute, wall in Wall(tz).readings(first - EARLIER, last + 1):
        if line.follows_real_time:
            is_due = matches(wall)
        elif done is None or wall == done + 1:
            is_due, done = matches(wall), wall
        elif wall > done:
            is_due, done = any(matches(skipped) for skipped in range(done + 1, wall + 1)), wall
        else:
            is_due = False
        if is_due and minute >= first:
            found.append(EPOCH + minute * MINUTE)
    return found
