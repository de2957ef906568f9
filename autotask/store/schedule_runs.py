"""Read schedules and their runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, schedules
from autotask.store.connection import in_utc, rows
from autotask.store.read import ENDED, LIVE, StoredTask, stored


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule in the database.

    :ivar last_tick: the last tick that was handled, whether it became a task or was left out.
    :ivar next_tick: the first tick that was not; while the schedule is paused, a tick that will be left out.
    :ivar held: ticks whose tasks wait for the end of an earlier one.
    :ivar declared_at: when a worker last said that its code has this schedule.
    """

    name: str
    task: str
    spec: str
    registered_at: datetime
    last_tick: datetime | None
    next_tick: datetime
    held: list[datetime]
    declared_at: datetime
    paused_at: datetime | None
    paused_by: str


EVERY = """
SELECT name, task, spec, registered_at AT TIME ZONE 'UTC', last_tick AT TIME ZONE 'UTC', next_tick AT TIME ZONE 'UTC',
       held, declared_at AT TIME ZONE 'UTC', paused_at AT TIME ZONE 'UTC', paused_by
FROM autotask_schedule ORDER BY name
"""

# In each table the newest are read from the end of the index on schedules.
NEWEST_OF = f"""
SELECT * FROM (
    ({LIVE} WHERE schedule = {{name}} ORDER BY created_at DESC LIMIT {{limit}})
    UNION ALL
    ({ENDED} WHERE schedule = {{name}} ORDER BY created_at DESC LIMIT {{limit}})
) AS run ORDER BY created_at DESC LIMIT {{limit}}
"""

LAST = f"""
SELECT s.name, last.* FROM unnest(%(names)s::text[]) AS s(name)
CROSS JOIN LATERAL ({NEWEST_OF.format(name="s.name", limit=1)}) AS last
"""


def every(connection: BaseDatabaseWrapper) -> list[StoredSchedule]:
    """Return all schedules, by name."""
    return [
        StoredSchedule(
            name,
            task,
            spec,
            in_utc(registered),
            in_utc(last),
            in_utc(following),
            schedules.from_held(held),
            in_utc(declared),
            in_utc(paused),
            by,
        )
        for name, task, spec, registered, last, following, held, declared, paused, by in rows(connection, EVERY)
    ]


def runs(connection: BaseDatabaseWrapper, name: str, limit: int = 20) -> list[StoredTask]:
    """Return the tasks of a schedule, live and finished, newest first; one without ``scheduled_for`` was run by hand."""
    sql = NEWEST_OF.format(name="%(name)s", limit=int(limit))
    return [stored(row) for row in rows(connection, sql, {"name": name})]


def last_runs(connection: BaseDatabaseWrapper, names: Iterable[str]) -> dict[str, StoredTask]:
    """Return the newest task of each schedule that has one, live or finished."""
    found = rows(connection, LAST, {"names": arrays.texts(names)})
    return {name: stored(row) for name, *row in found}
