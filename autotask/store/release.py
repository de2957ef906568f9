"""Put claimed tasks back, as if they had not been claimed."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims, columns, held, marks, ready
from autotask.store.connection import rows


class Release(NamedTuple):
    """A claim to release.

    :ivar delay: seconds until the task becomes ready again.
    :ivar unknown: whether it is an unknown task here.
    :ivar known: whether it is known here, and has begun. If neither is true, nobody has looked.
    """

    id: uuid.UUID
    fence: int
    delay: float = 0.0
    unknown: bool = False
    known: bool = False


# A task that should be cancelled is ready at once, for the next worker to record it as cancelled. One that is ready keeps its slots,
# since nobody needs to admit it again; one that is due later gives them up. One that has begun goes behind the others: it may ask
# to run again each time. A follower without a slot waits at its gate again.
RELEASE = f"""
WITH {claims.locked("NO KEY UPDATE")},
meant AS MATERIALIZED (
    SELECT o.*, c.at AS claimed_at
    FROM unnest(%(id)s::uuid[], %(fence)s::bigint[], %(delay)s::float8[], %(unknown)s::boolean[], %(known)s::boolean[])
         AS o(id, fence, delay, unknown, known)
    {claims.in_force("o.fence", "o.id")}
),
released AS (
    UPDATE autotask_task t
    SET state = CASE WHEN o.delay > 0 AND NOT t.cancel_requested THEN 0 WHEN {marks.FOLLOWS} THEN 8 ELSE 1 END,
        run_at = CASE WHEN o.delay > 0 AND NOT t.cancel_requested THEN clock_timestamp() + o.delay * interval '1 s'
                      ELSE t.run_at END,
        ready_at = CASE WHEN o.delay > 0 AND NOT t.cancel_requested OR {marks.FOLLOWS} THEN NULL
                        WHEN o.known THEN clock_timestamp() ELSE {ready.again_at("o.claimed_at")} END,
        passed = CASE WHEN o.delay > 0 AND NOT t.cancel_requested THEN 0 ELSE 1 END * t.passed,
        unique_key = {columns.KEY_AGAIN}, started_at = o.claimed_at,
        unknown_since = CASE WHEN o.unknown THEN coalesce(t.unknown_since, clock_timestamp())
                             WHEN NOT o.known THEN t.unknown_since END
    FROM meant o WHERE t.id = ANY(ARRAY(SELECT id FROM meant)) AND t.id = o.id
    RETURNING {held.RETURNING}, t.flow
),
come AS ({ready.come("released")}),
{claims.put_back("released")},
marked AS ({marks.freed("(SELECT flow FROM released WHERE state = 0)")}),
{held.waiting("released")}
SELECT id FROM released
"""


def release(connection: BaseDatabaseWrapper, releases: Sequence[Release], over: Sequence[int] = ()) -> set[uuid.UUID]:
    """Put tasks back as if they had not been claimed: the attempt does not count.

    :param over: the numbers of the claims whose last tasks these are.
    :returns: the ids that were still ours.
    """
    params = {
        **claims.parameters([release.fence for release in releases], over),
        "id": arrays.uuids([release.id for release in releases]),
        "fence": arrays.numbers([release.fence for release in releases]),
        "delay": arrays.numbers([release.delay for release in releases]),
        "unknown": arrays.flags([release.unknown for release in releases]),
        "known": arrays.flags([release.known for release in releases]),
    }
    return {row[0] for row in rows(connection, RELEASE, params)}
