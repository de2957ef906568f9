"""Schedules as people see them: what the code declares beside what is registered, and what comes next."""

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

#: A tick that is later than this has no worker that cares for it.
LATE = timedelta(minutes=1)

#: How far ahead people learn of changes of the clock at least: of both of a year.
_YEAR = timedelta(days=366)


class Condition(enum.StrEnum):
    """How a schedule is."""

    ACTIVE = "active"
    PAUSED = "paused"
    LATE = "late"
    NEW = "not registered"


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule.

    :ivar stored: what is registered; None: no worker has seen it yet.
    :ivar task: what the code of this process has; None: nothing.
    """

    name: str
    stored: StoredSchedule | None
    task: ScheduledTask[Any, Any] | None

    @property
    def timetable(self) -> Timetable | None:
        """The timetable; None if the code of this process does not have the one that is registered."""
        if self.task is None or (self.stored is not None and self.stored.spec != self.task.schedule.spec):
            return None
        return self.task.schedule

    @property
    def code_differs(self) -> bool:
        """Whether the code of this process has another timetable than the one that is registered."""
        return self.task is not None and self.timetable is None

    @property
    def zone(self) -> tzinfo:
        """The time zone that goes with the words: that of the timetable, or Django's current one."""
        return self.timetable.zone if isinstance(self.timetable, Crontab) else timezone.get_current_timezone()

    def in_words(self) -> str:
        """Return when it is due, in English as far as this process can tell."""
        if self.timetable is not None:
            return self.timetable.in_words()
        return "" if self.stored is None else self.stored.spec

    def condition(self, now: datetime) -> Condition:
        """Return how it is at a moment."""
        if self.stored is None:
            return Condition.NEW
        if self.stored.paused_at is not None:
            return Condition.PAUSED
        return Condition.LATE if now - self.stored.next_tick > LATE else Condition.ACTIVE

    def coming(self, now: datetime, count: int) -> list[datetime]:
        """Return the next due moments, as if nothing were paused or late; only the first one if the code is not here."""
        if self.timetable is None:
            return [] if self.stored is None or self.stored.next_tick <= now else [self.stored.next_tick]
        next_tick = self.timetable.first_after(now) if self.stored is None else self.stored.next_tick
        return coming(self.timetable, next_tick, now, count)

    def clock_changes(self, now: datetime, until: datetime | None = None) -> list[Remark]:
        """Return what changes of the clock mean for it within a year, and as far as *until*; nothing for an interval."""
        if not isinstance(self.timetable, Crontab):
            return []
        return remarks(self.timetable, now, max(until or now, now + _YEAR))

    def zone_data(self, now: datetime) -> tuple[ZoneData, Newer | None] | None:
        """Return which rules of the time zone are in use, and newer ones that differ; None for an interval."""
        if not isinstance(self.timetable, Crontab):
            return None
        return zone_data.in_use(self.timetable.zone), zone_data.newer(self.timetable.zone, now)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a schedule is due next, and what changes of the clock mean for it.

    :ivar remarks: on some of the ticks.
    :ivar later: on changes of the clock after the last tick.
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
    told = entry.clock_changes(now, ticks[-1])
    for remark in told:
        by_tick[remark.tick].append(str(remark))
    later = [str(remark) for remark in told if remark.tick > ticks[-1]]
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
