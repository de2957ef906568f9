"""Find ended tasks of which somebody should be notified, enqueue the deliveries, and note what was sent."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.on_end import Notice, NoticeState, notices
from autotask.store import arrays, cancel, columns, pauses, ready
from autotask.store.connection import execute, rows, text
from autotask.store.enqueue import NewTask
from autotask.store.read import ENDED, StoredTask, stored
from autotask.task import State

#: The most ended tasks that one look finds.
MOST = 200

#: Characters kept of an error.
_LONGEST = 1000

_DELIVERY = "(r.notices ->> 'delivery')::uuid"

# A delivery is a task of ours. While it is live, it looks after the notices. One that has ended without settling them was
# cancelled, or its worker died again and again.
# Subqueries, not joins: whatever the planner knows, it looks up one row after the other, and reads no table as a whole.
FIND = f"""
SELECT r.id, r.queue, r.priority, r.state, r.on_end, r.notices::text, {_DELIVERY},
       (SELECT d.state FROM autotask_result d WHERE d.id = {_DELIVERY}),
       (SELECT d.error_message FROM autotask_result d WHERE d.id = {_DELIVERY})
FROM autotask_result r
WHERE r.on_end IS NOT NULL AND r.settled_at IS NULL AND (SELECT 1 FROM autotask_task t WHERE t.id = {_DELIVERY}) IS NULL
  AND r.ended_at > coalesce(statement_timestamp() - %(lately)s::float8 * interval '1 s', '-infinity')
ORDER BY r.ended_at LIMIT %(limit)s
"""

# The one that locks the row first enqueues the delivery; the next one sees that it is there. It counts against no limit, since
# it has no gates.
BEGIN = f"""
WITH new AS (
    SELECT * FROM unnest(%(of)s::uuid[], %(former)s::uuid[], %(id)s::uuid[], %(queue)s::text[], %(priority)s::smallint[],
                         %(arguments)s::text[], %(payload)s::bytea[])
         AS n("of", former, id, queue, priority, arguments, payload)
),
found AS MATERIALIZED (
    SELECT new.*
    FROM autotask_result r JOIN new ON r.id = new."of"
    WHERE r.id = ANY(%(of)s::uuid[]) AND r.settled_at IS NULL
      AND {_DELIVERY} IS NOT DISTINCT FROM new.former
    FOR NO KEY UPDATE OF r SKIP LOCKED
),
noted AS (
    UPDATE autotask_result r SET notices = coalesce(r.notices, '{{}}') || jsonb_build_object('delivery', found.id)
    FROM found WHERE r.id = ANY(ARRAY(SELECT "of" FROM found)) AND r.id = found."of"
),
stored AS ({
    columns.insert(
        "autotask_task",
        "found",
        ("id", "queue", "priority", "arguments", "payload"),
        name="%(name)s::text",
        state="1",
        created_at="clock_timestamp()",
        run_at="clock_timestamp()",
        ready_at="clock_timestamp()",
        retries="%(retries)s::int",
        ttl="%(ttl)s::float8",
        timeout="%(timeout)s::float8",
    )
} RETURNING {ready.RETURNED})
{ready.come("stored")}
"""

# One that waits in a paused queue waits for a person.
ABANDON = f"""
WITH taken AS (
    DELETE FROM autotask_ready
    WHERE ctid = ANY(ARRAY(
        SELECT delivery.address
        FROM autotask_result r CROSS JOIN LATERAL (
            SELECT y.ctid AS address
            FROM autotask_task t
            JOIN autotask_ready y ON {ready.IS_OF.replace("r.", "y.")}
            WHERE t.id = {_DELIVERY}
              AND t.ready_at < statement_timestamp() - %(patience)s::float8 * interval '1 s'
              AND NOT EXISTS (
                  SELECT FROM autotask_pause p
                  WHERE {pauses.IN_FORCE.format("p")}
                    AND (p.kind = 'everything' OR (p.kind, p.name) IN (('queue', t.queue), ('task', t.name)))
              )
            FOR UPDATE OF y SKIP LOCKED
        ) AS delivery
        WHERE r.on_end IS NOT NULL AND r.settled_at IS NULL
          AND r.ended_at < statement_timestamp() - %(patience)s::float8 * interval '1 s'
        ORDER BY r.ended_at LIMIT {MOST}
    ))
    RETURNING id
),
gone AS (
    DELETE FROM autotask_task t WHERE t.id = ANY(ARRAY(SELECT id FROM taken)) RETURNING t.*
),
kept AS ({
    cancel.kept("gone", error_message="'no worker has taken it for a week; does one serve the queue ' || queue || '?'")
})
SELECT count(*) FROM gone
"""

READ = f"{ENDED} WHERE id = %(id)s AND notices ->> 'delivery' = %(delivery)s::text"

_OURS = "id = %(id)s AND settled_at IS NULL AND (notices ->> 'delivery')::uuid IS NOT DISTINCT FROM %(delivery)s::uuid"

REOPEN = """
UPDATE autotask_result
SET settled_at = NULL, notices = notices || jsonb_build_object('of', notices -> 'of' || %(records)s::jsonb)
WHERE id = %(id)s AND settled_at IS NOT NULL AND notices ->> 'delivery' = %(delivery)s::text
"""

NOTE = f"""
UPDATE autotask_result
SET notices = notices || jsonb_build_object('of', coalesce(notices -> 'of', '{{}}') || %(records)s::jsonb)
WHERE {_OURS}
"""

SETTLE = f"""
UPDATE autotask_result
SET settled_at = clock_timestamp(), kept_until = greatest(kept_until, clock_timestamp() + %(keep)s * interval '1 s'),
    notices = coalesce(notices, '{{}}')
              || jsonb_build_object('of', coalesce(notices -> 'of', '{{}}') || %(records)s::jsonb)
WHERE {_OURS}
"""


@dataclass(frozen=True, slots=True)
class Untold:
    """An ended task of which somebody should be notified, and nothing looks after that.

    :ivar notices: all of its notices.
    :ivar former: the delivery that has ended without settling them; None: there was none.
    :ivar former_state: how that has ended; None: it is no longer in the database.
    """

    id: uuid.UUID
    queue: str
    priority: int
    notices: list[Notice]
    former: uuid.UUID | None
    former_state: State | None
    former_error: str

    @property
    def waiting(self) -> list[Notice]:
        """Those that should be sent."""
        return [notice for notice in self.notices if notice.state is NoticeState.WAITING]


class Delivery(NamedTuple):
    """The task that sends the notices of an ended task."""

    of: Untold
    task: NewTask


def find(connection: BaseDatabaseWrapper, limit: int = MOST, lately: float | None = None) -> list[Untold]:
    """Return ended tasks of which somebody should be notified, those that ended first.

    :param lately: only those that ended in the last seconds, this many; None: all, which reads all that are not settled.
    """
    return [_untold(*row) for row in rows(connection, FIND, {"limit": limit, "lately": lately})]


def begin(connection: BaseDatabaseWrapper, deliveries: Sequence[Delivery]) -> int:
    """Enqueue deliveries of one kind, each in the queue and with the priority of the task that has ended.

    :returns: how many were enqueued; others have enqueued the rest.
    """
    if not deliveries:
        return 0
    kind = deliveries[0].task.kind
    params: dict[str, Any] = {
        "of": arrays.uuids([delivery.of.id for delivery in deliveries]),
        "former": arrays.maybe_uuids([delivery.of.former for delivery in deliveries]),
        "id": arrays.uuids([delivery.task.id for delivery in deliveries]),
        "queue": arrays.texts([delivery.of.queue for delivery in deliveries]),
        "priority": arrays.numbers([delivery.of.priority for delivery in deliveries]),
        "arguments": arrays.texts([delivery.task.arguments for delivery in deliveries]),
        "payload": arrays.binaries([delivery.task.payload for delivery in deliveries]),
        "name": kind.name,
        "retries": kind.retries,
        "ttl": kind.ttl,
        "timeout": kind.timeout,
    }
    return execute(connection, BEGIN, params)


def abandon(connection: BaseDatabaseWrapper, patience: float) -> int:
    """Cancel deliveries that no worker takes, so that the results need not be kept forever; return how many.

    :param patience: the seconds for which a delivery has to be ready before that.
    """
    return int(rows(connection, ABANDON, {"patience": patience})[0][0])


def read(connection: BaseDatabaseWrapper, id: uuid.UUID, delivery: uuid.UUID) -> StoredTask | None:
    """Return an ended task; None if this delivery has nothing to do with its notices now."""
    found = rows(connection, READ, {"id": id, "delivery": str(delivery)})
    return stored(found[0]) if found else None


def note(connection: BaseDatabaseWrapper, id: uuid.UUID, delivery: uuid.UUID, notice: Notice) -> None:
    """Note what became of the last try to send a notice."""
    execute(connection, NOTE, {"id": id, "delivery": delivery, "records": _records([notice])})


def reopen(connection: BaseDatabaseWrapper, id: uuid.UUID, delivery: uuid.UUID, changed: Sequence[Notice]) -> None:
    """Note that notices which were given up are tried again.

    :param delivery: the one that has given them up, and was retried.
    """
    execute(connection, REOPEN, {"id": id, "delivery": str(delivery), "records": _records(changed)})


def settle(
    connection: BaseDatabaseWrapper,
    id: uuid.UUID,
    delivery: uuid.UUID | None,
    changed: Sequence[Notice] = (),
    *,
    keep: float = 0,
) -> None:
    """Note that all notices were sent or given up, so that the result may be pruned.

    :param delivery: the one that has looked after them.
    :param changed: the notices whose record should be changed.
    :param keep: seconds for which the result is kept from now on at least.
    """
    execute(connection, SETTLE, {"id": id, "delivery": delivery, "records": _records(changed), "keep": float(keep)})


def given_up(notice: Notice, why: str) -> Notice:
    """Return a notice that is not going to be tried again."""
    return notice._replace(state=NoticeState.GIVEN_UP, error=text(why, _LONGEST))


def tried(notice: Notice, at: datetime, error: str, most: int) -> Notice:
    """Return a notice after a try.

    :param error: why the try failed; "" if it did not.
    :param most: the most tries.
    """
    tries = notice.tries + 1
    state = NoticeState.WAITING if error else NoticeState.SENT
    if error and tries >= most:
        state = NoticeState.GIVEN_UP
    return notice._replace(
        state=state, tries=tries, at=at.isoformat(timespec="milliseconds"), error=text(error, _LONGEST)
    )


def _records(changed: Sequence[Notice]) -> str:
    return json.dumps({notice.key: notice.record for notice in changed})


def _untold(
    id: uuid.UUID,
    queue: str,
    priority: int,
    state: int,
    on_end: str,
    so_far: str | None,
    former: uuid.UUID | None,
    former_state: int | None,
    former_error: str | None,
) -> Untold:
    return Untold(
        id=id,
        queue=queue,
        priority=priority,
        notices=notices(on_end, so_far, State(state).status),
        former=former,
        former_state=None if former_state is None else State(former_state),
        former_error=former_error or "",
    )
