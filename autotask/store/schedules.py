"""Enqueue each tick exactly once, however many workers there are."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, enqueue, held, ready
from autotask.store.connection import execute, in_utc, rows


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule with something to do, and the database's own time when it was read.

    :ivar next_tick: the first tick that no worker has handled.
    :ivar held: ticks whose tasks wait for the end of an earlier one, as they are stored.
    :ivar resumed_at: ticks from before this moment passed while the schedule was paused.
    :ivar busy: whether a task of the schedule waits or runs.
    """

    name: str
    spec: str
    next_tick: datetime
    held: str
    resumed_at: datetime | None
    busy: bool
    now: datetime


class DueSchedules(NamedTuple):
    """The schedules with something to do.

    :ivar due: longest overdue first.
    :ivar seconds: until the next tick of other schedules; None if there is none.
    :ivar holds: whether a schedule has ticks that wait for the end of a task.
    """

    due: list[DueSchedule]
    seconds: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Move:
    """A step of one schedule: from the state seen to the last tick handled, the next one, and the ticks held.

    :ivar last_tick: None: no tick was handled, only the held ones have changed.
    """

    seen: DueSchedule
    last_tick: datetime | None
    next_tick: datetime
    held: str = ""


NOW = "SELECT clock_timestamp() AT TIME ZONE 'UTC'"

BETWEEN_HELD = " "

# A changed timetable starts again; an unchanged one keeps its next tick, so a restart shifts nothing. A former timetable
# may be that of older code, of which a worker was restarted in the middle of a deployment: it counts only when no worker
# has declared the current one for a while. So two versions of the code do not fight.
# A tick that a worker of the other version has handled since the declaration is not handled again. A locked row is left to
# the next declaration: neither the other schedules nor their ticks wait for it.
REGISTER = """
WITH free AS MATERIALIZED (
    SELECT name FROM autotask_schedule WHERE name = ANY(%(name)s::text[]) ORDER BY name FOR NO KEY UPDATE SKIP LOCKED
)
INSERT INTO autotask_schedule AS s (name, task, spec, registered_at, next_tick, declared_at)
SELECT d.name, d.task, d.spec, clock_timestamp(), d.next_tick, clock_timestamp()
FROM unnest(%(name)s::text[], %(task)s::text[], %(spec)s::text[], %(next_tick)s::timestamptz[])
     AS d(name, task, spec, next_tick)
WHERE d.name IN (SELECT name FROM free) OR NOT EXISTS (SELECT FROM autotask_schedule s WHERE s.name = d.name)
ORDER BY d.name
ON CONFLICT (name) DO UPDATE SET
    declared_at = excluded.declared_at, task = excluded.task, spec = excluded.spec,
    registered_at = excluded.registered_at, next_tick = excluded.next_tick, held = '',
    former = array_to_string((array_prepend(s.spec, array_remove(string_to_array(s.former, E'\\n'), excluded.spec)))[1:10],
                             E'\\n')
WHERE s.spec <> excluded.spec
  AND (excluded.spec <> ALL(string_to_array(s.former, E'\\n'))
       OR s.declared_at < clock_timestamp() - %(abandoned)s * interval '1 s')
  AND (s.last_tick IS NULL OR s.last_tick < excluded.next_tick)
"""

# One worker writes, the others find that this was done lately. It waits for no lock, so it cannot deadlock: a locked row is
# being moved by a worker that declares it as well. A registered timetable counts from after the last tick: declared_at may
# be older than that. (greatest() ignores the NULL of a schedule without a tick.)
DECLARE = """
WITH declared AS (
    SELECT * FROM unnest(%(names)s::text[], %(specs)s::text[]) AS d(name, spec)
),
stale AS MATERIALIZED (
    SELECT s.name FROM autotask_schedule s JOIN declared d ON d.name = s.name AND d.spec = s.spec
    WHERE s.declared_at < clock_timestamp() - %(lately)s * interval '1 s'
    ORDER BY s.name FOR NO KEY UPDATE OF s SKIP LOCKED
),
renewed AS (
    UPDATE autotask_schedule s SET declared_at = clock_timestamp() FROM stale WHERE s.name = stale.name
)
SELECT d.name, greatest(CASE WHEN d.spec = ANY(string_to_array(s.former, E'\\n')) THEN s.declared_at
                             ELSE clock_timestamp() END, s.last_tick + interval '1 us') AT TIME ZONE 'UTC'
FROM declared d LEFT JOIN autotask_schedule s ON s.name = d.name
WHERE s.name IS NULL
   OR (s.spec <> d.spec AND (d.spec <> ALL(string_to_array(s.former, E'\\n'))
                             OR s.declared_at < clock_timestamp() - %(abandoned)s * interval '1 s'))
"""

# Without a lock: the first worker to move a schedule enqueues its task, the others find that it has moved. The spec is
# compared because during a deployment two versions of the code may declare the same schedule differently.
# The tasks of a schedule are looked for only if that matters.
LOOK = """
WITH mine AS MATERIALIZED (
    SELECT s.name, s.spec, s.next_tick, s.held, s.resumed_at,
           s.next_tick <= statement_timestamp() AS due,
           s.held <> '' AND NOT EXISTS (SELECT FROM autotask_task t WHERE t.schedule = s.name) AS free
    FROM autotask_schedule s
    JOIN unnest(%(names)s::text[], %(specs)s::text[]) AS d(name, spec) ON d.name = s.name AND d.spec = s.spec
    WHERE s.paused_at IS NULL
),
first AS (SELECT * FROM mine WHERE due OR free ORDER BY next_tick LIMIT {limit})
SELECT f.name, f.spec, f.next_tick AT TIME ZONE 'UTC', f.held, f.resumed_at AT TIME ZONE 'UTC',
       EXISTS (SELECT FROM autotask_task t WHERE t.schedule = f.name),
       statement_timestamp() AT TIME ZONE 'UTC', others.seconds, others.holds
FROM (SELECT extract(epoch FROM min(next_tick) FILTER (WHERE NOT due) - clock_timestamp())::float8 AS seconds,
             coalesce(bool_or(held <> ''), false) AS holds FROM mine) AS others
LEFT JOIN first f ON true
ORDER BY f.next_tick
"""

# The schedule moves and its tasks appear in one statement, on condition that it still is as it was seen: one task for
# each tick, with any number of workers and whatever dies when. A locked row is being moved, paused or registered by
# another session: it is left to that one, or to the next look, and the others do not wait for it.
_MOVED = """
step AS (
    SELECT * FROM unnest(
        %(moved_name)s::text[], %(moved_spec)s::text[], %(seen_tick)s::timestamptz[], %(seen_held)s::text[],
        %(last_tick)s::timestamptz[], %(next_tick)s::timestamptz[], %(held)s::text[]
    ) AS d(name, spec, seen_tick, seen_held, last_tick, next_tick, held)
),
unmoved AS MATERIALIZED (
    SELECT s.name FROM autotask_schedule s JOIN step d ON d.name = s.name
    WHERE s.next_tick = d.seen_tick AND s.held = d.seen_held AND s.spec = d.spec AND s.paused_at IS NULL
    ORDER BY s.name FOR NO KEY UPDATE OF s SKIP LOCKED
),
moved AS (
    UPDATE autotask_schedule s
    SET last_tick = coalesce(d.last_tick, s.last_tick), next_tick = d.next_tick, held = d.held
    FROM step d JOIN unmoved ON unmoved.name = d.name
    WHERE s.name = d.name
    RETURNING s.name
)
"""

_OF_MOVED = "\nWHERE kind.schedule IN (SELECT name FROM moved)"

ADVANCE = f"""
WITH {_MOVED},
made AS ({enqueue.MANY_ROWS}{_OF_MOVED} RETURNING {ready.RETURNED}),
come AS ({ready.come("made")})
SELECT name, (SELECT count(*) FROM made) FROM moved
"""

# The same for tasks of which some have gates or unique keys. One whose key is taken is left out. If a transaction that is
# still open has taken it, the statement would wait for the end of that: it gives up soon.
ADVANCE_FLOWING = f"""
WITH {_MOVED},
patience AS MATERIALIZED (SELECT set_config('lock_timeout', '100ms', true) AS is_set),
made AS ({enqueue.FLOWING_ROWS}{_OF_MOVED} AND (SELECT is_set FROM patience) <> ''{enqueue.UNLESS_TAKEN}),
come AS ({ready.come("made")}),
{held.waiting("made")}
SELECT name, (SELECT array_agg(id) FROM made) FROM moved
"""

# A paused schedule stays longer: if its code comes back, it must not start to run by itself.
RETIRE = """
WITH old AS MATERIALIZED (
    SELECT name FROM autotask_schedule
    WHERE declared_at < clock_timestamp()
                        - CASE WHEN paused_at IS NULL THEN 1 ELSE 30 END * %(seconds)s * interval '1 s'
    ORDER BY name FOR UPDATE SKIP LOCKED
)
DELETE FROM autotask_schedule s USING old WHERE s.name = old.name RETURNING s.name
"""


def now(connection: BaseDatabaseWrapper) -> datetime:
    """Return the time of the database."""
    moment: datetime = rows(connection, NOW)[0][0]
    return in_utc(moment)


def declare(
    connection: BaseDatabaseWrapper, specs: Mapping[str, str], *, lately: float, abandoned: float
) -> dict[str, datetime]:
    """Declare that the code of a running worker has schedules, by name, with these timetables.

    :param lately: nothing is written for schedules that were declared in the last *lately* seconds.
    :param abandoned: seconds after which a timetable that no worker declares is replaced by a former one.
    :returns: the schedules to register, and the moment from which they count: now, for those that are not in the database
        or have a new timetable; the last declaration or tick, for those whose former timetable replaces an abandoned one.
    """
    params = {**_names_and_specs(specs), "lately": lately, "abandoned": abandoned}
    return {name: in_utc(since) for name, since in rows(connection, DECLARE, params)}


def register(
    connection: BaseDatabaseWrapper, declared: Sequence[tuple[str, str, str, datetime]], *, abandoned: float
) -> int:
    """Register schedules that :func:`declare` has returned, unless another worker is doing so or was faster.

    :param declared: name, task, spec and first tick.
    :returns: how many were registered; the next declaration decides about the others.
    """
    if not declared:
        return 0
    names, tasks, specs, ticks = (list(column) for column in zip(*declared, strict=True))
    params = {
        "name": arrays.texts(names),
        "task": arrays.texts(tasks),
        "spec": arrays.texts(specs),
        "next_tick": arrays.moments(ticks),
        "abandoned": abandoned,
    }
    return execute(connection, REGISTER, params)


def look(connection: BaseDatabaseWrapper, specs: Mapping[str, str], limit: int = 1000) -> DueSchedules:
    """Return the schedules that are due, and when the others will be.

    :param specs: for each name the timetable in the caller's code; others are ignored.
    """
    found = rows(connection, LOOK.format(limit=int(limit)), _names_and_specs(specs))
    due = [
        DueSchedule(name, spec, in_utc(tick), held, in_utc(resumed), busy, in_utc(moment))
        for name, spec, tick, held, resumed, busy, moment, *_ in found
        if name is not None
    ]
    return DueSchedules(due, *found[0][-2:])


def advance(
    connection: BaseDatabaseWrapper, moves: Sequence[Move], tasks: Sequence[enqueue.NewTask]
) -> tuple[set[str], int]:
    """Move schedules and enqueue their tasks, except where another worker was faster, or is doing it.

    :param tasks: without gates and unique keys.
    :returns: the names of the moved schedules, and how many tasks were enqueued.
    """
    found = rows(connection, ADVANCE, {**enqueue.parameters(tasks), **_moves(moves)})
    return {name for name, _ in found}, found[0][1] if found else 0


def advance_flowing(
    connection: BaseDatabaseWrapper, moves: Sequence[Move], tasks: Sequence[enqueue.NewTask]
) -> tuple[set[str], set[uuid.UUID]]:
    """Do the same as :func:`advance` for tasks of which some have gates or unique keys.

    :returns: the names of the moved schedules, and the ids of the tasks that were enqueued. The unique keys of the others
        were taken.
    :raises django.db.OperationalError: a transaction that is still open has taken one of them.
    """
    found = rows(connection, ADVANCE_FLOWING, {**enqueue.flowing_parameters(tasks), **_moves(moves)})
    return {name for name, _ in found}, set(found[0][1] or ()) if found else set()


def retire(connection: BaseDatabaseWrapper, seconds: float) -> list[str]:
    """Delete the schedules that no worker has declared for *seconds*, or 30 times that if paused; return their names."""
    return [name for (name,) in rows(connection, RETIRE, {"seconds": seconds})]


def as_held(moments: Sequence[datetime]) -> str:
    """Return moments as they are stored in ``held``."""
    return BETWEEN_HELD.join(moment.isoformat() for moment in moments)


def from_held(held: str) -> list[datetime]:
    """Return the moments of a stored ``held``."""
    return [datetime.fromisoformat(text) for text in held.split(BETWEEN_HELD)] if held else []


def _names_and_specs(specs: Mapping[str, str]) -> dict[str, str]:
    return {"names": arrays.texts(specs), "specs": arrays.texts(specs.values())}


def _moves(moves: Sequence[Move]) -> dict[str, str]:
    return {
        "moved_name": arrays.texts([move.seen.name for move in moves]),
        "moved_spec": arrays.texts([move.seen.spec for move in moves]),
        "seen_tick": arrays.moments([move.seen.next_tick for move in moves]),
        "seen_held": arrays.texts([move.seen.held for move in moves]),
        "last_tick": arrays.moments([move.last_tick for move in moves]),
        "next_tick": arrays.moments([move.next_tick for move in moves]),
        "held": arrays.texts([move.held for move in moves]),
    }
