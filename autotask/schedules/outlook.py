"""The next ticks of a registered schedule, even if no worker has looked at it for long."""

from datetime import datetime

from autotask.schedules.base import Timetable


def coming(timetable: Timetable, next_tick: datetime, now: datetime, count: int) -> list[datetime]:
    """Return the next due moments after now.

    :param next_tick: the first tick that no worker has handled. It is in the past if no worker runs or the schedule is
        paused. Intervals are counted from it.
    """
    if next_tick <= now:
        return timetable.upcoming(count, after=timetable.due_until(next_tick, now, 1)[-1])
    return [next_tick, *timetable.upcoming(count - 1, after=next_tick)]
