"""The effects of clock changes on a cron schedule: ticks that are delayed, run once, or left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from autotask.schedules import clocks
from autotask.schedules.clocks import Change
from autotask.schedules.crontab import Crontab

_MINUTE = timedelta(minutes=1)

#: Times named for one change; for every minute of an hour the first few are enough.
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Remark:
    """The effect of one change of the clock on a schedule.

    :ivar tick: the due moment to show it with: the one that is delayed or run once, or the first after those left out.
    """

    tick: datetime
    change: Change
    text: str

    def __str__(self) -> str:
        return self.text


def remarks(timetable: Crontab, start: datetime, end: datetime) -> list[Remark]:
    """Return remarks on the changes of the clock between two moments, in order."""
    found: list[Remark] = []
    change = clocks.next_change(timetable.zone, start, end)
    while change is not None:
        found += _skipped(timetable, change) if change.after > change.before else _repeated(timetable, change)
        change = clocks.next_change(timetable.zone, change.at, end)
    return found


def _skipped(timetable: Crontab, change: Change) -> Iterator[Remark]:
    walls = list(timetable.walls_between(change.old_wall, change.new_wall))
    if not walls:
        return
    skipped = f"{_named(walls)} of {change.old_wall:%Y-%m-%d} does not exist, as the clock goes forward"
    resumed = f"{change.new_wall:%H:%M}"
    if timetable.follows_real_time:
        tick = timetable.next_after(change.at - _MINUTE)
        yield Remark(tick, change, f"{skipped} to {resumed}: left out")
    else:
        yield Remark(change.at, change, f"{skipped}: due at {resumed} instead")


def _repeated(timetable: Crontab, change: Change) -> Iterator[Remark]:
    walls = list(timetable.walls_between(change.new_wall, change.old_wall))
    if not walls:
        return
    repeated = f"{_named(walls)} of {change.new_wall:%Y-%m-%d} comes twice, as the clock goes back"
    if timetable.follows_real_time:
        again = (walls[0] - change.after).replace(tzinfo=UTC)
        yield Remark(again, change, f"{repeated}: due both times")
    else:
        first = (walls[0] - change.before).replace(tzinfo=UTC)
        yield Remark(first, change, f"{repeated}: due the first time only")


def _named(walls: list[datetime]) -> str:
    times = [f"{wall:%H:%M}" for wall in walls]
    if len(times) > _MOST_NAMED:
        return f"{times[0]}, {times[1]}, … {times[-1]}"
    return ", ".join(times)
