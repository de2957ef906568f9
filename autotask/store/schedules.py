"""Enqueue each due repetition exactly once, however many workers ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import enqueue
from autotask.store.connection import execute, in_utc, rows


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as it is in the database, and the database's own time when it was read."""

    name: str
    task: str
    spec: str
    last_tick: datetime | None
    next_tick: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class Move:
    """A step of one schedule: from the next tick as it was seen, to the last tick dealt with and the next one."""

    name: str
    seen: datetime
    last_tick: datetime
    next_tick: datetime


NOW = "SELECT clock_timestamp() AT TIME ZONE 'UTC'"

# A changed timetable starts anew; one that stays keeps its next tick, so a restart shifts nothing.
REGISTER = """
INSERT INTO autotask_schedule (name, task, spec, registered_at, next_tick, declared_at)
SELECT d.name, d.task, d.spec, clock_timestamp(), d.next_tick, clock_timestamp()
FROM unnest(%(name)s::text[], %(task)s::text[], %(spec)s::text[], %(next_tick)s::timestamptz[])
     AS d(name, task, spec, next_tick)
ORDER BY d.name
ON CONFLICT (name) DO UPDATE SET
    declared_at = clock_timestamp(),
    task = excluded.task,
    registered_at = CASE WHEN autotask_schedule.spec = excluded.spec THEN autotask_schedule.registered_at
                         ELSE excluded.registered_at END,
    next_tick = CASE WHEN autotask_schedule.spec = excluded.spec THEN autotask_schedule.next_tick
                     ELSE excluded.next_tick END,
    spec = excluded.spec
WHERE autotask_schedule.declared_at < clock_timestamp() - %(unless_declared)s * interval '1 s'
"""

DECLARE = """
UPDATE autotask_schedule s SET declared_at = clock_timestamp()
FROM unnest(%(names)s::text[], %(specs)s::text[]) AS d(name, spec)
WHERE d.name = s.name AND d.spec = s.spec
"""

# Without a lock: whoever moves the schedule first enqueues its task, the others find that it has moved.
# The spec is compared because during a deploy two versions of the code may declare the same schedule differently; the
# version that registered last has it.
DUE = """
SELECT s.name, s.task, s.spec, s.last_tick AT TIME ZONE 'UTC', s.next_tick AT TIME ZONE 'UTC',
       statement_timestamp() AT TIME ZONE 'UTC'
FROM autotask_schedule s
JOIN unnest(%(names)s::text[], %(specs)s::text[]) AS d(name, spec) ON d.name = s.name AND d.spec = s.spec
WHERE s.next_tick <= statement_timestamp()
ORDER BY s.next_tick LIMIT {limit}
"""

# The schedule moves and its task appears in one statement, on condition that the next tick is still the one that was
# seen: one task for each tick, with any number of workers and whatever dies when.
ADVANCE = f"""
WITH moved AS (
    UPDATE autotask_schedule s SET last_tick = d.last_tick, next_tick = d.next_tick
    FROM unnest(%(moved_name)s::text[], %(moved_seen)s::timestamptz[], %(moved_last)s::timestamptz[],
                %(moved_next)s::timestamptz[]) AS d(name, seen, last_tick, next_tick)
    WHERE s.name = d.name AND s.next_tick = d.seen
    RETURNING s.name
),
put AS (
    {enqueue.MANY}
    WHERE kind.schedule IN (SELECT name FROM moved)
)
SELECT name FROM moved
"""

NEXT = """
SELECT extract(epoch FROM min(s.next_tick) - clock_timestamp())::float8
FROM autotask_schedule s
JOIN unnest(%(names)s::text[], %(specs)s::text[]) AS d(name, spec) ON d.name = s.name AND d.spec = s.spec
"""

LIVE_OF = "SELECT DISTINCT schedule FROM autotask_task WHERE schedule = ANY(%(names)s)"

RETIRE = """
DELETE FROM autotask_schedule WHERE declared_at < clock_timestamp() - %(seconds)s * interval '1 s'
"""


def now(connection: BaseDatabaseWrapper) -> datetime:
    """Return the time of the database."""
    moment: datetime = rows(connection, NOW)[0][0]
    return in_utc(moment)


def register(
    connection: BaseDatabaseWrapper,
    declared: Sequence[tuple[str, str, str, datetime]],
    unless_declared: float = -1,
) -> None:
    """Enter schedules, or say that they are still declared.

    :param declared: name, task, spec and the first tick if it is new or its spec has changed.
    :param unless_declared: those that somebody has declared in the last so many seconds stay as they are.
    """
    if declared:
        names, tasks, specs, ticks = (list(column) for column in zip(*declared, strict=True))
        execute(
            connection,
            REGISTER,
            {"name": names, "task": tasks, "spec": specs, "next_tick": ticks, "unless_declared": unless_declared},
        )


def declare(connection: BaseDatabaseWrapper, specs: Mapping[str, str]) -> None:
    """Say that schedules, by name, are still declared by the code of a living worker with just these timetables."""
    execute(connection, DECLARE, _names_and_specs(specs))


def due(connection: BaseDatabaseWrapper, specs: Mapping[str, str], limit: int = 500) -> list[StoredSchedule]:
    """Return schedules that are due, longest overdue first.

    :param specs: for each name the timetable that the caller's code has; others are none of its business.
    """
    params = _names_and_specs(specs)
    return [
        StoredSchedule(name, task, spec, in_utc(last), in_utc(following), in_utc(moment))
        for name, task, spec, last, following, moment in rows(connection, DUE.format(limit=int(limit)), params)
    ]


def advance(connection: BaseDatabaseWrapper, moves: Sequence[Move], tasks: Sequence[enqueue.NewTask]) -> set[str]:
    """Move schedules past due ticks and enqueue their tasks, except where another worker was faster.

    :returns: the names of those that were moved here.
    """
    params = {
        "moved_name": [move.name for move in moves],
        "moved_seen": [move.seen for move in moves],
        "moved_last": [move.last_tick for move in moves],
        "moved_next": [move.next_tick for move in moves],
    }
    return {row[0] for row in rows(connection, ADVANCE, {**params, **enqueue.columns(tasks)})}


def seconds_to_next(connection: BaseDatabaseWrapper, specs: Mapping[str, str]) -> float | None:
    """Return the seconds until the next tick of these schedules; negative when it is over, None when there is none."""
    seconds: float | None = rows(connection, NEXT, _names_and_specs(specs))[0][0]
    return seconds


def with_live_tasks(connection: BaseDatabaseWrapper, names: Sequence[str]) -> set[str]:
    """Return those of the schedules that have a task which waits or runs."""
    return {row[0] for row in rows(connection, LIVE_OF, {"names": list(names)})}


def retire(connection: BaseDatabaseWrapper, seconds: float) -> int:
    """Delete the schedules that no worker has declared for so many seconds."""
    return execute(connection, RETIRE, {"seconds": seconds})


def _names_and_specs(specs: Mapping[str, str]) -> dict[str, list[str]]:
    return {"names": list(specs), "specs": list(specs.values())}
