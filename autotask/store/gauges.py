"""The numbers of waiting and running tasks, to be read every few seconds: from indexes, however large the tables are."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows
from autotask.store.tally import QueueCounts
from autotask.task import State

#: The most ready tasks of one queue, and the most others of one state, that are counted. Beyond that, more are as bad.
MOST_READY = 100_000
MOST_OTHERS = 10_000

# * A loose index scan, as for a claim: one descent of the ready table for each lane. The first task of each lane is its oldest.
# * The ready tasks of a queue are counted in that index alone, and up to a limit.
# * Messages of background workers are not waiting for the pools of workers, so they do not count as the oldest.
# * HAVING is always true. Without it the planner would expect to count a hundred queues, and with jit compile the statement.
READY = """
WITH RECURSIVE lane AS (
    (SELECT r.queue, r.priority, r.executor, r.ready_at FROM autotask_ready r
     ORDER BY r.queue, r.priority, r.executor, r.ready_at LIMIT 1)
    UNION ALL
    SELECT following.queue, following.priority, following.executor, following.ready_at
    FROM lane CROSS JOIN LATERAL (
        SELECT r.queue, r.priority, r.executor, r.ready_at FROM autotask_ready r
        WHERE (r.queue, r.priority, r.executor) > (lane.queue, lane.priority, lane.executor)
        ORDER BY r.queue, r.priority, r.executor, r.ready_at LIMIT 1
    ) AS following
),
queue AS (
    SELECT lane.queue, extract(epoch FROM statement_timestamp() - min(lane.ready_at) FILTER (
               WHERE lane.executor NOT IN ('background', 'remote')))::float8 AS oldest
    FROM lane GROUP BY lane.queue HAVING min(lane.queue) = lane.queue
)
SELECT queue.queue, counted.number, greatest(0, coalesce(queue.oldest, 0))::float8
FROM queue CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT 1 FROM autotask_ready r WHERE r.queue = queue.queue
        ORDER BY r.queue, r.priority, r.executor, r.ready_at LIMIT {most}
    ) AS found
) AS counted
"""

# Each in the order of an index that has no other tasks; those that run are as many as workers have room for.
_OTHERS = {
    State.SCHEDULED: "autotask_task t WHERE t.state = 0 ORDER BY t.run_at",
    State.RUNNING: "autotask_running r JOIN autotask_task t ON t.id = r.id",
    State.HELD: "autotask_held t ORDER BY t.gate",
}

OTHERS = " UNION ALL ".join(
    f"""
SELECT {state:d}, queue, count(*) FROM (SELECT t.queue FROM {found} LIMIT {{most}}) AS found GROUP BY queue"""
    for state, found in _OTHERS.items()
)

WORKERS = """
SELECT kind, count(*) FROM autotask_worker WHERE lease_until > clock_timestamp() AND NOT stopping GROUP BY kind ORDER BY kind
"""

WORKERS_OF_HOST = """
SELECT count(*) FROM autotask_worker WHERE lease_until > clock_timestamp() AND host = %(host)s
"""


def ready(connection: BaseDatabaseWrapper, most: int = MOST_READY) -> dict[str, tuple[int, float]]:
    """Return for each queue how many tasks are ready, up to *most*, and the age of the oldest in seconds."""
    return {queue: (number, oldest) for queue, number, oldest in rows(connection, READY.format(most=int(most)))}


def queues(connection: BaseDatabaseWrapper) -> list[QueueCounts]:
    """Return the counts of all queues that hold something, by name; large ones are cut."""
    ready_ones = ready(connection)
    others = {
        (State(state), queue): number for state, queue, number in rows(connection, OTHERS.format(most=int(MOST_OTHERS)))
    }
    names = sorted({*ready_ones, *(queue for _, queue in others)})
    found = []
    for name in names:
        number, oldest = ready_ones.get(name, (0, 0.0))
        scheduled, running, held = (others.get((state, name), 0) for state in _OTHERS)
        found.append(QueueCounts(name, scheduled, number, running, held, oldest))
    return found


def workers(connection: BaseDatabaseWrapper) -> dict[str, int]:
    """Return the number of workers that are running and take tasks, by kind."""
    return dict(rows(connection, WORKERS))


def workers_of_host(connection: BaseDatabaseWrapper, host: str) -> int:
    """Return the number of workers of a host that live, including those that stop."""
    return int(rows(connection, WORKERS_OF_HOST, {"host": host})[0][0])
