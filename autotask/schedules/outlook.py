"""What comes next of a schedule that is registered, however long nobody has looked at it."""

from datetime import datetime

from autotask.schedules.base import Timetable


def coming(timetable: Timetable, next_tick: datetime, now: datetime, count: int) -> list[datetime]:
    """Return the next due moments after now.

    :param next_tick: the first due moment that nobody has dealt with. It may be over: then no worker runs, or the
        schedule is paused. Intervals are counted from it.
    """
    if next_tick <= now:
        return timetable.upcoming(count, after=timetable.due_until(next_tick, now, 1)[-1])
    return [next_tick, *timetable.upcoming(count - 1, after=next_tick)]
