"""The counts of the overview: read from indexes up to a bound, however many tasks there are."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims
from autotask.store.connection import aware, rows
from autotask.task import BACKGROUND, REMOTE, State

#: Entries of an index are counted up to this number; beyond it, the planner's estimate for the index has to do.
COUNTED = 5_000

#: The entries that are counted for all queues together.
COUNTED_OF_QUEUES = 10_000

#: Held tasks have no index by queue: this many of them are read.
HELD_SEEN = 1_000

#: So many of the newest live tasks are counted by their names.
NAMES_SEEN = 5_000

#: The lanes (queue, priority and pool) that are looked at; more is not a plan of anybody.
MOST_LANES = 1_000


@dataclass(frozen=True, slots=True)
class Count:
    """A count, exact up to a bound.

    :ivar is_exact: whether they were counted to the end; otherwise there are at least *number*, or about that many.
    """

    number: int
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class QueueGlance:
    """A queue with tasks.

    :ivar oldest: when its oldest ready task has become ready; None: none waits for the pools of workers.
    """

    queue: str
    ready: Count
    running: int
    held: int
    held_are_all: bool
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed lately."""

    id: uuid.UUID
    name: str
    error: str
    ended_at: datetime


#: The tasks that run: as many as workers have room for.
RUNNING = "autotask_running r JOIN autotask_task t ON t.id = r.id"

# The order is that of the index, so the planner can neither sort nor read the table: it reads the index up to the limit.
_ORDERS = {
    State.SCHEDULED: ("autotask_task", "run_at", "autotask_due"),
    State.READY: ("autotask_ready", "queue, priority, executor, ready_at", "autotask_ready"),
    State.HELD: ("autotask_held", "gate, rank, run_at, id", "autotask_held"),
    State.RUNNING: (RUNNING, "t.id", None),
    State.ERROR: ("autotask_result", "id", None),
    State.CANCELLED: ("autotask_result", "id", None),
}


#: The tables that hold the tasks of one state only.
_OF_ONE_STATE = ("autotask_ready", "autotask_held", RUNNING)


def _counted(table: str, state: State, order: str, limit: str = str(COUNTED + 1)) -> str:
    where = "" if table in _OF_ONE_STATE else f"WHERE state = {state.value}"
    return f"(SELECT count(*) FROM (SELECT 1 FROM {table} {where} ORDER BY {order} LIMIT {limit}) AS found)"


def _estimated(index: str | None) -> str:
    return (
        "0::bigint" if index is None else f"(SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('{index}'))"
    )


COUNTS = "UNION ALL\n".join(
    f"SELECT {state.value}, {_counted(table, state, order)}, {_estimated(index)}\n"
    for state, (table, order, index) in _ORDERS.items()
)

# Both tables have an index for these states. Without the order, the planner would rather read the table, if it expects enough
# tasks of the state on its first pages.
ENDED = """
SELECT count(*) FROM (
    (SELECT 1 FROM autotask_result WHERE state = {state} ORDER BY id LIMIT {limit})
    UNION ALL
    (SELECT 1 FROM autotask_history WHERE state = {state} ORDER BY id LIMIT {limit})
) AS found
"""

# A loose index scan, as for the claim: one descent for each lane, which finds its oldest task at once.
LANES = f"""
WITH RECURSIVE lane AS (
    (SELECT r.queue, r.priority, r.executor, r.ready_at FROM autotask_ready r
     ORDER BY r.queue, r.priority, r.executor, r.ready_at LIMIT 1)
    UNION ALL
    SELECT following.* FROM lane CROSS JOIN LATERAL (
        SELECT r.queue, r.priority, r.executor, r.ready_at FROM autotask_ready r
        WHERE (r.queue, r.priority, r.executor) > (lane.queue, lane.priority, lane.executor)
        ORDER BY r.queue, r.priority, r.executor, r.ready_at LIMIT 1
    ) AS following
)
SELECT queue, executor, ready_at FROM lane LIMIT {MOST_LANES}
"""

READY = """
SELECT named.queue, (SELECT count(*) FROM (
    SELECT 1 FROM autotask_ready r WHERE r.queue = named.queue
    ORDER BY r.queue, r.priority, r.executor, r.ready_at LIMIT %(limit)s) AS found)
FROM unnest(%(queues)s::text[]) AS named(queue)
"""

# As many run as workers have room for; held ones are looked at up to a number.
RUNNING_AND_HELD = f"""
SELECT queue, 2, count(*) FROM (
    SELECT t.queue FROM {RUNNING} LIMIT {COUNTED}) AS running GROUP BY queue
UNION ALL
SELECT queue, 8, count(*) FROM (
    SELECT queue FROM autotask_held ORDER BY gate, rank, run_at, id LIMIT {HELD_SEEN + 1}
) AS held GROUP BY queue
"""

# No index has the name: the end of the primary key is read.
BY_NAME = f"""
SELECT name, state, count(*) FROM (
    SELECT t.name, {claims.STATE} AS state FROM autotask_task t ORDER BY t.id DESC LIMIT {NAMES_SEEN}
) AS newest GROUP BY name, state
"""

# Newest first by id, and so by the moment of the call. The ids come from the index of tasks that failed: for whole rows, the
# planner might read the primary key instead, past all tasks that did not fail.
FAILURES = """
SELECT id, name, left(error_message, 300), ended_at FROM autotask_result
WHERE id = ANY(ARRAY(SELECT id FROM autotask_result WHERE state = 4 ORDER BY id DESC LIMIT %(limit)s)) ORDER BY id DESC
"""


def counts(connection: BaseDatabaseWrapper) -> dict[State, Count]:
    """Return the number of tasks of each state but DONE, which nothing counts."""
    found = {}
    for state, counted, estimated in rows(connection, COUNTS):
        is_exact = counted <= COUNTED
        found[State(state)] = Count(counted if is_exact else max(COUNTED, estimated or 0), is_exact)
    return found


def count_ended(connection: BaseDatabaseWrapper, state: State, most: int) -> int:
    """Return the number of tasks that failed or were cancelled, with those whose results have expired, up to a number."""
    return int(rows(connection, ENDED.format(state=state.value, limit=int(most)))[0][0])


def queues(connection: BaseDatabaseWrapper) -> list[QueueGlance]:
    """Return the queues with tasks that are ready, run or are held, by name."""
    oldest: dict[str, datetime | None] = {}
    for queue, executor, ready_at in rows(connection, LANES):
        for_pools = aware(ready_at) if executor not in (BACKGROUND, REMOTE) else None
        oldest[queue] = min(filter(None, (oldest.get(queue), for_pools)), default=None)
    limit = min(COUNTED, max(100, COUNTED_OF_QUEUES // (len(oldest) or 1)))
    ready = _ready(connection, list(oldest), limit)
    others: dict[int, dict[str, int]] = {State.RUNNING: {}, State.HELD: {}}
    for queue, state, number in rows(connection, RUNNING_AND_HELD):
        others[state][queue] = number
    running, held = others[State.RUNNING], others[State.HELD]
    are_all = sum(held.values()) <= HELD_SEEN
    return [
        QueueGlance(
            queue, ready.get(queue, Count(0)), running.get(queue, 0), held.get(queue, 0), are_all, oldest.get(queue)
        )
        for queue in sorted({*oldest, *running, *held})
    ]


def _ready(connection: BaseDatabaseWrapper, queues: list[str], limit: int) -> dict[str, Count]:
    if not queues:
        return {}
    found = rows(connection, READY, {"queues": arrays.texts(queues), "limit": limit + 1})
    return {queue: Count(min(number, limit), number <= limit) for queue, number in found}


def failures(connection: BaseDatabaseWrapper, limit: int) -> list[Failure]:
    """Return the newest tasks that failed, newest call first."""
    return [
        Failure(id, name, error, aware(ended_at))
        for id, name, error, ended_at in rows(connection, FAILURES, {"limit": limit})
    ]


def by_name(connection: BaseDatabaseWrapper) -> dict[str, dict[State, int]]:
    """Return the number of tasks of each name and state among the newest live ones."""
    found: dict[str, dict[State, int]] = {}
    for name, state, number in rows(connection, BY_NAME):
        found.setdefault(name, {})[State(state)] = number
    return found
