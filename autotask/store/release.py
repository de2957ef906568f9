"""Put claimed tasks back, as if they had not been claimed."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, columns, marks
from autotask.store.connection import rows


class Release(NamedTuple):
    """A claim to release.

    :ivar delay: seconds until the task becomes ready again.
    :ivar unknown: whether it is an unknown task here.
    :ivar known: whether it is known here. If neither is true, nobody has looked.
    """

    id: uuid.UUID
    fence: int
    delay: float = 0.0
    unknown: bool = False
    known: bool = False


# A task that is to be cancelled is ready at once, for the next worker to record it as cancelled. One that is ready keeps its slots, since nobody needs to admit it
# again; one that is due later gives them up. A follower without a slot waits at its gate again, even if it is to be cancelled:
# whoever claims a ready task takes it for one that has a slot.
RELEASE = f"""
WITH released AS (
UPDATE autotask_task t
SET state = CASE WHEN o.delay > 0 AND NOT t.cancel_requested THEN 0 WHEN {marks.FOLLOWS} THEN 8 ELSE 1 END,
    run_at = CASE WHEN o.delay > 0 AND NOT t.cancel_requested THEN clock_timestamp() + o.delay * interval '1 s'
                  ELSE t.run_at END,
    ready_at = CASE WHEN o.delay > 0 AND NOT t.cancel_requested OR {marks.FOLLOWS} THEN NULL ELSE clock_timestamp() END,
    passed = CASE WHEN o.delay > 0 AND NOT t.cancel_requested THEN 0 ELSE 1 END * t.passed,
    attempt = t.attempt - 1, fence = NULL, worker_id = NULL, unique_key = {columns.KEY_AGAIN},
    unknown_since = CASE WHEN o.unknown THEN coalesce(t.unknown_since, clock_timestamp())
                         WHEN NOT o.known THEN t.unknown_since END
FROM unnest(%(id)s::uuid[], %(fence)s::bigint[], %(delay)s::float8[], %(unknown)s::boolean[], %(known)s::boolean[])
     AS o(id, fence, delay, unknown, known)
WHERE t.id = ANY(%(id)s::uuid[]) AND t.id = o.id AND t.fence = o.fence
RETURNING t.id, t.state, t.flow, t.gate
),
marked AS ({marks.freed("(SELECT flow FROM released WHERE state = 0)")}),
waiting AS ({marks.waiting("released")})
SELECT id FROM released
"""


def release(connection: BaseDatabaseWrapper, releases: Sequence[Release]) -> set[uuid.UUID]:
    """Put tasks back as if they had not been claimed: the attempt does not count.

    :returns: the ids that were still ours.
    """
    params = {
        "id": arrays.uuids([release.id for release in releases]),
        "fence": arrays.numbers([release.fence for release in releases]),
        "delay": arrays.numbers([release.delay for release in releases]),
        "unknown": arrays.flags([release.unknown for release in releases]),
        "known": arrays.flags([release.known for release in releases]),
    }
    return {row[0] for row in rows(connection, RELEASE, params)}
