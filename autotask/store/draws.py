"""Draw tokens at calls: for tasks that are unique for some seconds, and for throttled ones."""

import uuid
from collections.abc import Sequence
from itertools import accumulate

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.flow.plan import Throttle
from autotask.store import arrays
from autotask.store.connection import rows

# The tokens of a bucket are drawn in the order of the calls, until they are not enough for one of them.
#
# * Both steps go through the keys in the same order, and the second begins when the first has ended: so two calls with the
#   same keys never wait for each other.
# * A bucket that another transaction has made since this statement began is in neither step, and nor is one that was
#   deleted: both are asked for again.
# * A float is not exact: three times 0.1 s is more than 0.3 s.
DRAW = """
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(%(key)s::text[], %(interval)s::float8[], %(burst)s::float8[]) AS a(key, seconds, burst)
),
wish AS MATERIALIZED (
    SELECT * FROM unnest(%(wish_key)s::text[], %(wish_place)s::int[], %(wish_id)s::uuid[], %(wish_total)s::float8[])
        AS w(key, place, id, total)
),
made AS (
    INSERT INTO autotask_bucket (gate, full_at, task_id)
    SELECT DISTINCT ON (a.key COLLATE "C") a.key, clock_timestamp() + w.total * a.seconds * interval '1 s', w.id
    FROM asked a JOIN wish w ON w.key = a.key AND w.total <= a.burst
    ORDER BY a.key COLLATE "C", w.place DESC
    ON CONFLICT DO NOTHING
    RETURNING gate, task_id
),
locked AS MATERIALIZED (
    SELECT b.gate, b.task_id, greatest(b.full_at, clock_timestamp()) AS since
    FROM autotask_bucket b
    WHERE b.gate = ANY(%(key)s::text[]) AND (SELECT count(*) FROM made) >= 0
    ORDER BY b.gate COLLATE "C" FOR NO KEY UPDATE
),
chosen AS MATERIALIZED (
    SELECT DISTINCT ON (l.gate) l.gate, l.since + w.total * a.seconds * interval '1 s' AS full_at, w.id, w.place
    FROM locked l JOIN asked a ON a.key = l.gate JOIN wish w ON w.key = l.gate
    WHERE extract(epoch FROM l.since - clock_timestamp()) / a.seconds + w.total <= a.burst + 1e-6
    ORDER BY l.gate, w.place DESC
),
drawn AS (
    UPDATE autotask_bucket b SET full_at = c.full_at, task_id = c.id FROM chosen c WHERE b.gate = c.gate
)
SELECT made.gate, wish.place, NULL FROM made JOIN wish ON wish.id = made.task_id
UNION ALL
SELECT l.gate, coalesce(c.place, 0), l.task_id FROM locked l LEFT JOIN chosen c ON c.gate = l.gate
"""


def draw(
    connection: BaseDatabaseWrapper, throttles: Sequence[Throttle], ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, uuid.UUID]:
    """Draw the tokens for each task, in the caller's transaction; those of one bucket in their order.

    :param ids: the ids of the tasks, one for each throttle.
    :returns: the tasks that get none, each with the last task that got some from its bucket.
    """
    late: dict[uuid.UUID, uuid.UUID] = {}
    buckets = {throttle.key: throttle for throttle in throttles}
    wishes: dict[str, list[uuid.UUID]] = {key: [] for key in buckets}
    costs: dict[str, list[float]] = {key: [] for key in buckets}
    for throttle, id in zip(throttles, ids, strict=True):
        wishes[throttle.key].append(id)
        costs[throttle.key].append(throttle.cost)
    while buckets:
        asked = list(buckets.values())
        for key, most, before in rows(connection, DRAW, _parameters(asked, wishes, costs)):
            del buckets[key]
            late |= dict.fromkeys(wishes[key][most:], wishes[key][most - 1] if most else before)
    return late


def _parameters(
    buckets: Sequence[Throttle], wishes: dict[str, list[uuid.UUID]], costs: dict[str, list[float]]
) -> dict[str, str]:
    keys = [bucket.key for bucket in buckets]
    return {
        "key": arrays.texts(keys),
        "interval": arrays.numbers([bucket.interval for bucket in buckets]),
        "burst": arrays.numbers([bucket.burst for bucket in buckets]),
        "wish_key": arrays.texts([key for key in keys for _ in wishes[key]]),
        "wish_place": arrays.numbers([place for key in keys for place in range(1, len(wishes[key]) + 1)]),
        "wish_id": arrays.uuids([id for key in keys for id in wishes[key]]),
        "wish_total": arrays.numbers([total for key in keys for total in accumulate(costs[key])]),
    }
