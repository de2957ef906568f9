"""Schedules for display: those in the code next to those that are registered, and their next ticks."""

import enum
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from autotask import registry
from autotask.scheduled import ScheduledTask
from autotask.schedules import zone_data
from autotask.schedules.base import Timetable
from autotask.schedules.crontab import Crontab
from autotask.schedules.outlook import coming
from autotask.schedules.remarks import Remark, remarks
from autotask.schedules.zone_data import Newer, ZoneData
from autotask.store import schedule_runs
from autotask.store.schedule_runs import StoredSchedule

#: If a tick is later than this, no worker takes care of it.
LATE = timedelta(minutes=1)

#: Clock changes are shown at least this far ahead: both of a year.
_YEAR = timedelta(days=366)


class Condition(enum.StrEnum):
    """The state of a schedule."""

    ACTIVE = "active"
    PAUSED = "paused"
    LATE = "late"
    NEW = "not registered"


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule.

    :ivar stored: the registered schedule; None if no worker has seen it yet.
    :ivar task: its definition in the code of this process; None if there is none.
    """

    name: str
    stored: StoredSchedule | None
    task: ScheduledTask[Any, Any] | None

    @property
    def timetable(self) -> Timetable | None:
        """The timetable; None if the code of this process does not have the registered one."""
        if self.task is None or (self.stored is not None and self.stored.spec != self.task.schedule.spec):
            return None
        return self.task.schedule

    @property
    def code_differs(self) -> bool:
        """Whether the code of this process has another timetable than the registered one."""
        return self.task is not None and self.timetable is None

    @property
    def zone(self) -> tzinfo:
        """The time zone of :meth:`in_words`: that of the timetable, or Django's current one."""
        return self.timetable.zone if isinstance(self.timetable, Crontab) else timezone.get_current_timezone()

    def in_words(self) -> str:
        """Return when it is due, in English if this process knows the timetable."""
        if self.timetable is not None:
            return self.timetable.in_words()
        return "" if self.stored is None else self.stored.spec

    def condition(self, now: datetime) -> Condition:
        """Return its state at a moment."""
        if self.stored is None:
            return Condition.NEW
        if self.stored.paused_at is not None:
            return Condition.PAUSED
        return Condition.LATE if now - self.stored.next_tick > LATE else Condition.ACTIVE

    def coming(self, now: datetime, count: int) -> list[datetime]:
        """Return the next due moments, as if nothing were paused or late; only the first one without a timetable."""
        if self.timetable is None:
            return [] if self.stored is None or self.stored.next_tick <= now else [self.stored.next_tick]
        next_tick = self.timetable.first_after(now) if self.stored is None else self.stored.next_tick
        return coming(self.timetable, next_tick, now, count)

    def clock_changes(self, now: datetime, until: datetime | None = None) -> list[Remark]:
        """Return the effects of clock changes on it within a year, or until a later *until*; none for an interval."""
        if not isinstance(self.timetable, Crontab):
            return []
        return remarks(self.timetable, now, max(until or now, now + _YEAR))

    def zone_data(self, now: datetime) -> tuple[ZoneData, Newer | None] | None:
        """Return the rules of the time zone in use, and newer ones that differ; None for an interval."""
        if not isinstance(self.timetable, Crontab):
            return None
        return zone_data.in_use(self.timetable.zone), zone_data.newer(self.timetable.zone, now)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a schedule is due next, and the effects of clock changes on it.

    :ivar remarks: on some of the ticks.
    :ivar later: remarks on clock changes after the last tick.
    """

    entry: Entry
    at: datetime
    ticks: list[datetime]
    remarks: dict[datetime, list[str]]
    later: list[str]
    zone_data: list[str]


def forecast(entry: Entry, now: datetime, count: int) -> Forecast:
    """Return the next due moments of a schedule whose timetable is in the code of this process."""
    ticks = entry.coming(now, count)
    by_tick: dict[datetime, list[str]] = defaultdict(list)
    changes = entry.clock_changes(now, ticks[-1])
    for remark in changes:
        by_tick[remark.tick].append(str(remark))
    later = [str(remark) for remark in changes if remark.tick > ticks[-1]]
    return Forecast(entry, now, ticks, by_tick, later, _zone_lines(entry, now))


def _zone_lines(entry: Entry, now: datetime) -> list[str]:
    if (found := entry.zone_data(now)) is None:
        return []
    in_use, newer = found
    return [str(in_use), *([f"{newer}. {zone_data.advice(newer)}"] if newer else [])]


def entries(connection: BaseDatabaseWrapper) -> list[Entry]:
    """Return all schedules that are registered or in the code of this process, by name."""
    declared = registry.schedules()
    stored = {schedule.name: schedule for schedule in schedule_runs.every(connection)}
    return [Entry(name, stored.get(name), declared.get(name)) for name in sorted(stored.keys() | declared.keys())]
