"""Draw tokens at calls: for tasks that are unique for some seconds, and for throttled ones."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import rows


class Draw(NamedTuple):
    """One token of a bucket, which a call needs.

    :ivar key: the name of the bucket.
    :ivar interval: seconds in which one token is added.
    :ivar burst: the most tokens that can be saved up.
    """

    key: str
    interval: float
    burst: float = 1.0


# The tokens of a bucket are drawn in the order of the calls, as many as there are.
#
# * Both steps go through the keys in the same order, and the second begins when the first has ended: so two calls with the
#   same keys never wait for each other.
# * A bucket that another transaction has made since this statement began is in neither step; and so is one that was
#   deleted: both are asked for again.
# * A float is not exact: the tokens of 0.3 s are three of 0.1 s.
DRAW = """
WITH asked AS MATERIALIZED (
    SELECT *, least(a.wanted, greatest(floor(a.burst), 1))::int AS most
    FROM unnest(%(key)s::text[], %(interval)s::float8[], %(burst)s::float8[], %(wanted)s::int[])
         WITH ORDINALITY AS a(key, seconds, burst, wanted, place)
),
wish AS MATERIALIZED (
    SELECT * FROM unnest(%(wish_key)s::text[], %(wish_place)s::int[], %(wish_id)s::uuid[]) AS w(key, place, id)
),
made AS (
    INSERT INTO autotask_bucket (gate, full_at, task_id)
    SELECT a.key, clock_timestamp() + a.most * a.seconds * interval '1 s', w.id
    FROM asked a JOIN wish w ON w.key = a.key AND w.place = a.most
    ORDER BY a.key COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING gate
),
locked AS MATERIALIZED (
    SELECT b.gate, b.task_id, greatest(b.full_at, clock_timestamp()) AS since
    FROM autotask_bucket b
    WHERE b.gate = ANY(%(key)s::text[]) AND (SELECT count(*) FROM made) >= 0
    ORDER BY b.gate COLLATE "C" FOR NO KEY UPDATE
),
counted AS MATERIALIZED (
    SELECT l.gate, l.task_id, l.since, a.seconds,
           least(a.most, floor(a.burst - extract(epoch FROM l.since - clock_timestamp()) / a.seconds + 1e-6))::int AS most
    FROM locked l JOIN asked a ON a.key = l.gate
),
drawn AS (
    UPDATE autotask_bucket b
    SET full_at = c.since + c.most * c.seconds * interval '1 s', task_id = w.id
    FROM counted c JOIN wish w ON w.key = c.gate AND w.place = c.most
    WHERE b.gate = c.gate AND c.most > 0
)
SELECT gate, most, NULL FROM made JOIN asked ON key = gate
UNION ALL
SELECT gate, greatest(most, 0), task_id FROM counted
"""


def draw(
    connection: BaseDatabaseWrapper, draws: Sequence[Draw], ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, uuid.UUID | None]:
    """Draw a token for each task, in the caller's transaction; those of one bucket in their order.

    :param ids: the ids of the tasks, one for each draw.
    :returns: the tasks that get none, each with the last task that got one from its bucket.
    """
    late: dict[uuid.UUID, uuid.UUID | None] = {}
    wishes: dict[str, list[uuid.UUID]] = {}
    for one, id in zip(draws, ids, strict=True):
        wishes.setdefault(one.key, []).append(id)
    buckets = {one.key: one for one in draws}
    while buckets:
        for key, most, before in _draw(connection, list(buckets.values()), wishes):
            del buckets[key]
            admitted, others = wishes[key][:most], wishes[key][most:]
            late |= dict.fromkeys(others, admitted[-1] if admitted else before)
    return late


def _draw(
    connection: BaseDatabaseWrapper, buckets: Sequence[Draw], wishes: dict[str, list[uuid.UUID]]
) -> list[tuple[str, int, uuid.UUID | None]]:
    wished = [(bucket.key, place, id) for bucket in buckets for place, id in enumerate(wishes[bucket.key], 1)]
    return rows(  # type: ignore[return-value]
        connection,
        DRAW,
        {
            "key": arrays.texts([bucket.key for bucket in buckets]),
            "interval": arrays.numbers([bucket.interval for bucket in buckets]),
            "burst": arrays.numbers([bucket.burst for bucket in buckets]),
            "wanted": arrays.numbers([len(wishes[bucket.key]) for bucket in buckets]),
            "wish_key": arrays.texts([key for key, _, _ in wished]),
            "wish_place": arrays.numbers([place for _, place, _ in wished]),
            "wish_id": arrays.uuids([id for _, _, id in wished]),
        },
    )
