"""Count tasks, by queue and state."""

from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows
from autotask.task import State


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The number of tasks of each state in a queue; *oldest* is the age in seconds of the longest waiting ready task.

    Values for background workers, and tasks that wait for a client from outside, do not count as the oldest: more workers
    would not help them.
    """

    queue: str
    scheduled: int
    ready: int
    running: int
    held: int
    oldest: float


@dataclass(frozen=True, slots=True)
class UnknownTasks:
    """The waiting unknown tasks of one name; *longest* is the seconds since the first of them was released."""

    name: str
    count: int
    longest: float


# Messages of background workers are not waiting for the pools of workers: these may be stopped on purpose.
COUNTS = """
SELECT queue, count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2),
       count(*) FILTER (WHERE state = 8),
       coalesce(extract(epoch FROM statement_timestamp() - min(ready_at) FILTER (
           WHERE state = 1 AND executor NOT IN ('background', 'remote'))), 0)::float8
FROM autotask_live GROUP BY queue ORDER BY queue
"""

UNKNOWN = """
SELECT name, count(*), extract(epoch FROM statement_timestamp() - min(unknown_since))::float8
FROM autotask_live WHERE unknown_since IS NOT NULL AND state <> 2 GROUP BY name ORDER BY min(unknown_since)
"""

#: The newest results of which those that ended lately are counted.
NEWEST = 100_000

# There is no index by the time of the end, for which each task would pay.
ENDED_LATELY = """
SELECT state, count(*) FROM (
    SELECT state, ended_at FROM autotask_result ORDER BY id DESC LIMIT {newest}
) AS newest
WHERE ended_at > statement_timestamp() - %(seconds)s * interval '1 s' GROUP BY state
"""

# Updated by vacuum and analyze; -1 until then.
ESTIMATED = """
SELECT sum(greatest(reltuples, 0))::bigint FROM pg_class
WHERE oid IN ('autotask_task'::regclass, 'autotask_result'::regclass)
"""


def counts(connection: BaseDatabaseWrapper) -> list[QueueCounts]:
    """Return the counts of each queue. Reads all live rows."""
    return [QueueCounts(*row) for row in rows(connection, COUNTS)]


def unknown(connection: BaseDatabaseWrapper) -> list[UnknownTasks]:
    """Return the waiting unknown tasks by name. Reads all live rows."""
    return [UnknownTasks(*row) for row in rows(connection, UNKNOWN)]


def ended_lately(connection: BaseDatabaseWrapper, seconds: float, newest: int = NEWEST) -> dict[State, int]:
    """Return the number of tasks that have ended in each state in the last *seconds*, if their results are still kept.

    :param newest: counted are only those of the newest results, this many.
    """
    found = rows(connection, ENDED_LATELY.format(newest=int(newest)), {"seconds": seconds})
    return {State(state): count for state, count in found}


def estimated_count(connection: BaseDatabaseWrapper) -> int:
    """Return about how many tasks there are, live and finished, without counting them."""
    return int(rows(connection, ESTIMATED)[0][0])
