"""Admit held tasks: look at the gates that are marked, and let the tasks through that may pass."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, held, overfull, paused_tasks, pauses, slots
from autotask.store.connection import execute, rows
from autotask.store.isolation import Refusals
from autotask.store.prepared import prepared_rows

#: Seconds between two draws from a bucket that has saved up nothing, if the rate is so fast that one token comes sooner and
#: more than one can be saved. It is a third of the bucket at most, so that a look that comes late loses no tokens.
LUMP = 0.05

#: Seconds that may pass between the draw of a token and the start of its task. The whole tokens of this time cannot be
#: saved up, but three fifths of the burst can, so that late starts together with those after them do not exceed the rate.
LATE = 0.04

#: Seconds until another look at the gate of a rate where tokens are there, but the worker has no room for its tasks.
NO_ROOM = 0.2

#: The most tasks that one look admits to a limit, less one. If more may pass, it asks for another look.
MOST_TO_LIMIT = 200

#: The most pieces of paused tasks that one look takes out of the way of others: more are left for the next look.
MOST_DIVERTED = 20

# Nobody waits for the disk: a crash of the server undoes a look as a whole, with the marks that it has taken. A worker that
# claims a task that it has made ready waits for both, so late starts are not later by that.
_QUICKLY = "FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick"

# Marks of others are skipped, not waited for.
_DUE = """
due AS MATERIALIZED (
    DELETE FROM autotask_mark m
    WHERE m.id = ANY(ARRAY(
        SELECT id FROM autotask_mark WHERE at <= statement_timestamp() AND starts_with(gate, '{kind}')
          AND gate <> ALL(%(spared)s::text[]) AND (%(only)s::text[] IS NULL OR gate = ANY(%(only)s::text[]))
        ORDER BY at LIMIT {limit} FOR UPDATE SKIP LOCKED
    ))
    RETURNING m.gate
),
asked AS MATERIALIZED (
    SELECT gate, split_part(substr(gate, {prefix}), '(', 1) AS base FROM (SELECT DISTINCT gate FROM due) AS gates
)"""

# * Tasks that may follow others are willing to wait, so only the others are read, if the number of slots is known.
# * A slot is free if nobody has it, or if its task has ended or has to pass the gate again. The lowest ones are given first,
#   so that two sessions compete for the same ones, and a lowered limit is not exceeded by both together.
# * Rows of slots are locked without waiting, and changed only while they have the version that was seen as free.
# * If a slot went to somebody else meanwhile, the gate is marked again.
# * A task that comes back, as by a retry, may get another slot than it had. The one that still names it is deleted: otherwise
#   it would have both.
ADMIT_TO_LIMITS = f"""
WITH {pauses.STOPPED},
{_DUE.format(kind="limit:", limit=500, prefix=7)},
open AS MATERIALIZED (
    SELECT asked.gate, queue.waiting, queue.impatient, coalesce(present.most, queue.most) - taken.count AS free,
           coalesce(present.most, queue.most) AS most, taken.former
    FROM asked
    LEFT JOIN unnest(%(bases)s::text[], %(most)s::int[]) AS present(base, most) ON present.base = asked.base
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting, max((first.said->>'most')::int) AS most,
               bool_or(first.said->>'when_full' <> 'wait') AS impatient
        FROM (
            SELECT CASE WHEN NOT h.follows OR present.most IS NULL
                        THEN (SELECT t.flow->'gates'->t.passed FROM autotask_task t WHERE t.id = h.id) END AS said
            FROM autotask_held h WHERE h.gate = asked.gate
            LIMIT least(coalesce(present.most, {MOST_TO_LIMIT}), {MOST_TO_LIMIT}) + 1
        ) AS first
    ) AS queue
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE t.passed >= s.place), array_agg(s.number) FILTER (WHERE t.passed < s.place) AS former
        FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id
        WHERE s.gate = asked.gate
    ) AS taken
    WHERE queue.waiting > 0 AND NOT {pauses.bars_gate("asked.gate")}
),
free AS MATERIALIZED (
    SELECT open.gate, array_agg(slot.number ORDER BY slot.number) AS numbers,
           array_agg(slot.version ORDER BY slot.number) AS versions
    FROM open CROSS JOIN LATERAL (
        SELECT n.number, s.version
        FROM generate_series(1, open.most) AS n(number)
        LEFT JOIN autotask_slot s ON s.gate = open.gate AND s.number = n.number
        LEFT JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
        WHERE t.id IS NULL
        ORDER BY n.number LIMIT greatest(least(open.free, open.waiting), 0)
    ) AS slot
    GROUP BY open.gate
),
{slots.first("pair", "free", more=", free.versions[first.turn] AS version")},
locked AS MATERIALIZED (
    SELECT pair.* FROM pair JOIN autotask_slot s ON s.gate = pair.gate AND s.number = pair.number
    WHERE s.version = pair.version
    ORDER BY s.gate, s.number FOR NO KEY UPDATE OF s SKIP LOCKED
),
changed AS (
    UPDATE autotask_slot s SET task_id = locked.id, place = locked.place, version = nextval('autotask_fence')
    FROM locked WHERE s.gate = locked.gate AND s.number = locked.number
    RETURNING s.task_id
),
added AS (
    INSERT INTO autotask_slot (gate, number, task_id, place, version)
    SELECT gate, number, id, place, nextval('autotask_fence') FROM pair WHERE version IS NULL ORDER BY gate, number
    ON CONFLICT DO NOTHING
    RETURNING task_id
),
chosen AS MATERIALIZED (
    SELECT * FROM pair WHERE id = ANY(ARRAY(SELECT task_id FROM changed UNION ALL SELECT task_id FROM added))
),
former AS MATERIALIZED (
    SELECT s.gate, s.number FROM open JOIN autotask_slot s ON s.gate = open.gate AND s.number = ANY(open.former)
    WHERE s.task_id = ANY(ARRAY(SELECT id FROM chosen)) AND (s.gate, s.number) NOT IN (SELECT gate, number FROM pair)
    FOR UPDATE OF s SKIP LOCKED
),
left_behind AS (
    DELETE FROM autotask_slot s USING former WHERE s.gate = former.gate AND s.number = former.number
),
{slots.passing("chosen")},
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT gate, clock_timestamp() FROM (
        SELECT gate FROM pair WHERE id <> ALL(ARRAY(SELECT id FROM chosen))
        UNION ALL
        SELECT gate FROM open WHERE waiting > {MOST_TO_LIMIT} AND free >= waiting
        UNION ALL
        SELECT gate FROM next_gate
    ) AS again
    GROUP BY gate
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM passing WHERE state = 1),
       (SELECT array_agg(gate) FROM open WHERE impatient AND waiting > free),
       (SELECT array_agg(DISTINCT chosen.gate) FROM passing JOIN chosen ON chosen.id = passing.id
        WHERE starts_with(passing.gate, '{pauses.GATE}'))
{_QUICKLY}
"""

# The bucket as GCRA, the "generic cell rate algorithm" (ITU-T I.371): it is full at full_at, and a token takes an interval.
# * Tasks pass in their order: one that needs more tokens than there are holds up those behind it, and nobody else.
# * As for slots, the row of a bucket is changed only while it is as it was seen.
# * If somebody still waits, the gate is marked for the moment when there will be tokens for the next one.
# * Nobody passes who would then have to wait for a slot of a shared limit: many tasks that have their tokens could start
#   together later.
# * A task whose name or queue is paused takes no tokens: it goes to the gate of the pause.
# * A bucket is never emptier than empty: if it was filled more slowly before, or if the clock was set back, full_at comes
#   nearer.
ADMIT_TO_RATES = f"""
WITH {pauses.STOPPED},
{_DUE.format(kind="rate:", limit=500, prefix=6)},
bucket AS MATERIALIZED (
    SELECT asked.gate, b.full_at AS seen, greatest(b.full_at, clock.now) AS full_then, clock.now, present.interval,
           present.burst, least(%(most_room)s::int, coalesce(present.burst, 100)::int) AS most_seen,
           greatest(b.closed_until, clock.now) AS opens_at
    FROM asked
    CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) AS clock
    LEFT JOIN unnest(%(bases)s::text[], %(interval)s::float8[], %(burst)s::float8[]) AS present(base, interval, burst)
        ON present.base = asked.base
    LEFT JOIN autotask_bucket b ON b.gate = asked.gate
    WHERE NOT {pauses.bars_gate("asked.gate")}
),
queue AS MATERIALIZED (
    SELECT bucket.*, first.id, first.address, least(coalesce(place.room, 0), first.free) AS room, first.cost, first.period,
           greatest(first.most - least(floor(0.4 * first.most), floor({{late}} / first.period)), first.cost) AS most,
           row_number() OVER line AS turn, sum(first.cost) OVER line AS total,
           least(full_then, now + (0.001 + max(first.most * first.period) OVER (PARTITION BY bucket.gate)) * interval '1 s')
               AS full_at
    FROM bucket CROSS JOIN LATERAL (
        SELECT h.address, t.id, t.executor, t.priority, t.run_at,
               CASE WHEN {pauses.STOPPED_AT} IS NULL THEN (t.flow->'gates'->t.passed->>'cost')::float8 ELSE 0 END AS cost,
               coalesce(bucket.interval, (t.flow->'gates'->t.passed->>'interval')::float8) AS period,
               coalesce(bucket.burst, (t.flow->'gates'->t.passed->>'burst')::float8) AS most,
               {slots.FREE_LATER} AS free
        FROM ({held.locked("h.gate = bucket.gate", "most_seen + 1")}) AS h JOIN autotask_task t ON t.id = h.id CROSS JOIN stopped
    ) AS first
    LEFT JOIN unnest(%(executors)s::text[], %(rooms)s::int[]) AS place(executor, room) ON place.executor = first.executor
    WINDOW line AS (PARTITION BY bucket.gate ORDER BY first.priority DESC, first.run_at, first.id
                    ROWS UNBOUNDED PRECEDING)
),
judged AS MATERIALIZED (
    SELECT *, full_at + coalesce(max(total * period) FILTER (WHERE may) OVER (PARTITION BY gate), 0) * interval '1 s' AS after
    FROM (
        SELECT *, opens_at <= now AND turn <= room
                  AND total <= most - (extract(epoch FROM full_at - now)::float8 - 2e-6) / period AS may
        FROM queue
    ) AS queue
),
draw AS MATERIALIZED (SELECT DISTINCT gate, seen, after FROM judged WHERE may OR full_at < full_then),
locked AS MATERIALIZED (
    SELECT draw.* FROM draw JOIN autotask_bucket b ON b.gate = draw.gate
    WHERE b.full_at = draw.seen
    ORDER BY b.gate FOR NO KEY UPDATE OF b SKIP LOCKED
),
changed AS (
    UPDATE autotask_bucket b SET full_at = locked.after FROM locked WHERE b.gate = locked.gate RETURNING b.gate
),
added AS (
    INSERT INTO autotask_bucket (gate, full_at) SELECT gate, after FROM draw WHERE seen IS NULL ORDER BY gate
    ON CONFLICT DO NOTHING
    RETURNING gate
),
drawn AS MATERIALIZED (SELECT gate FROM changed UNION ALL SELECT gate FROM added),
chosen AS MATERIALIZED (SELECT * FROM judged WHERE may AND gate = ANY(ARRAY(SELECT gate FROM drawn))),
{slots.passing("chosen")},
next AS (
    SELECT DISTINCT ON (gate) gate, may, room <= 0 AS is_crowded, greatest(
               opens_at, after - (most - greatest(cost, least(most / 3, {{lump}} / period))) * period * interval '1 s'
           ) AS enough_at
    FROM judged WHERE NOT may OR turn > most_seen OR gate <> ALL(ARRAY(SELECT gate FROM drawn))
    ORDER BY gate, turn
),
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT gate, CASE WHEN may THEN clock_timestamp() WHEN is_crowded THEN greatest(enough_at, now() + {{no_room}} * interval '1 s')
                      ELSE enough_at END FROM next
    UNION ALL
    SELECT gate, clock_timestamp() FROM next_gate GROUP BY gate
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM passing WHERE state = 1)
{_QUICKLY}
"""

# The gates at which one of these statements would look, for when the database refuses one of them.
FIND = """
SELECT DISTINCT gate FROM autotask_mark
WHERE at <= statement_timestamp() AND starts_with(gate, %(kind)s) AND gate <> ALL(%(spared)s::text[]) LIMIT 500
"""

#: Whether a mark is due, and the seconds until the next one; parts of other statements. One that has become due since the
#: worker looked for marks, a moment ago, counts as well.
IS_DUE = "EXISTS (SELECT FROM autotask_mark WHERE at <= statement_timestamp())"
#: One that is due already is left for the next look: locked by another worker for a moment, or refused.
UNTIL_NEXT = """
SELECT greatest(extract(epoch FROM at - now)::float8, CASE WHEN at > now - interval '0.1 s' THEN 0.002 ELSE 0.1 END)
FROM autotask_mark CROSS JOIN (SELECT statement_timestamp() AS now) AS clock ORDER BY at LIMIT 1
"""


MARK = (
    "INSERT INTO autotask_mark (gate, at) SELECT gate, clock_timestamp() FROM unnest(%(gate)s::text[]) AS marked(gate)"
)

CLOSE = """
INSERT INTO autotask_bucket AS b (gate, full_at, closed_until)
SELECT gate, clock_timestamp(), clock_timestamp() + seconds * interval '1 s'
FROM unnest(%(gate)s::text[], %(seconds)s::float8[]) AS closed(gate, seconds)
ORDER BY gate
ON CONFLICT (gate) DO UPDATE SET closed_until = greatest(b.closed_until, excluded.closed_until)
"""


@dataclass(frozen=True, slots=True)
class Present:
    """The limits and rates that the code and the settings of this process have now; others are as they were at the call.

    :ivar slots: the number of slots of each limit, by its base.
    :ivar rates: the seconds for a token and the largest number of tokens of each rate, by its base.
    """

    slots: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Admitted(NamedTuple):
    """The result of a look at gates.

    :ivar ready: how many tasks have become ready.
    :ivar more: whether there may be more to look at.
    """

    ready: int
    more: bool


def refusals() -> Refusals[str]:
    """Return a memory for the gates at which the database refuses to let tasks pass."""
    return Refusals("The tasks at the gate %s cannot pass")


def admit(
    connection: BaseDatabaseWrapper, present: Present, *, room: Mapping[str, int], refused: Refusals[str] | None = None
) -> Admitted:
    """Look at the gates that are marked, and let through the tasks that may pass.

    A gate at which the database refuses that does not hold up others.

    :param room: for each executor, the most tasks for each rate, with 0 none: those that are let through should start soon,
        or the rate would be exceeded later.
    :param refused: remembers gates that were refused before.
    """
    refused = refusals() if refused is None else refused
    marks = ready = 0
    limits = slots.parameters(present.slots)
    for marked, passed, full, stopped in _look(connection, "limit:", ADMIT_TO_LIMITS, limits, refused):
        marks, ready = marks + marked, ready + passed
        refused.run(full or (), functools.partial(_clear, connection, present))
        refused.run(stopped or (), functools.partial(_divert, connection))
    if any(room.values()):
        sql = ADMIT_TO_RATES.format(lump=LUMP, late=LATE, no_room=NO_ROOM)
        for marked, passed in _look(connection, "rate:", sql, _rates_parameters(present, room), refused):
            marks, ready = marks + marked, ready + passed
    return Admitted(ready, bool(marks))


def _look(
    connection: BaseDatabaseWrapper, kind: str, sql: str, params: Mapping[str, Any], refused: Refusals[str]
) -> list[tuple[Any, ...]]:
    """Run one of the statements, and return the rows of its results."""
    params = {**params, "kind": kind, "spared": arrays.texts(refused.spared())}

    def look(gates: Sequence[str] | None = None) -> tuple[Any, ...]:
        only = None if gates is None else arrays.texts(gates)
        return prepared_rows(connection, sql, {**params, "only": only})[0]

    return refused.run_found(look, lambda: [gate for (gate,) in rows(connection, FIND, params)], look)


def _clear(connection: BaseDatabaseWrapper, present: Present, full: Sequence[str]) -> None:
    for gate in full:
        overfull.clear(connection, gate, present.slots)


def _divert(connection: BaseDatabaseWrapper, stopped: Sequence[str]) -> None:
    for gate in stopped:
        for _ in range(MOST_DIVERTED):
            if paused_tasks.divert(connection, gate) < paused_tasks.PIECE:
                break


def close(connection: BaseDatabaseWrapper, closed: Mapping[str, float]) -> None:
    """Close gates of rates: nobody passes them for that many seconds."""
    params = {"gate": arrays.texts(closed), "seconds": arrays.numbers(closed.values())}
    execute(connection, CLOSE, params)


def mark(connection: BaseDatabaseWrapper, names: Sequence[str]) -> None:
    """Have these gates looked at."""
    execute(connection, MARK, {"gate": arrays.texts(names)})


def _rates_parameters(present: Present, room: Mapping[str, int]) -> dict[str, str | int]:
    return {
        "executors": arrays.texts(room),
        "rooms": arrays.numbers(room.values()),
        "most_room": max(room.values()),
        "bases": arrays.texts(present.rates),
        "interval": arrays.numbers([interval for interval, _ in present.rates.values()]),
        "burst": arrays.numbers([burst for _, burst in present.rates.values()]),
        "limits": arrays.texts(present.slots),
        "mosts": arrays.numbers(present.slots.values()),
    }
