"""The messages of background workers: tasks that only the host of a background worker claims, in the order of putting."""

import uuid
from collections.abc import Collection
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import lines
from autotask.store import addressee, arrays, claim, claims, pauses, ready
from autotask.store.background import PREFIX, TELL_HOST
from autotask.store.background_hosting import Grant
from autotask.store.connection import rows
from autotask.store.enqueue import NewTask
from autotask.store.prepared import prepared_rows, rows_for_caller
from autotask.task import ClaimedTask

# * Who does not host the instance now gets nothing.
# * Nothing overtakes a message that was stored as claimed by its host, and whose word is on its way there. Such a claim is of
#   one message only. (OFFSET: the planner would read all messages for each claim.)
# * By priority, then in the order of putting: run_at is the moment of the call, and a rescue keeps it.
# * A task that has lost its worker is claimed alone: should it kill again, no other one is blamed.
# * Its commit does not wait for the disk: that of the first outcome does. If the server crashes before that, the message
#   runs again.
# * The limit is part of the text: as a parameter it would make the planner guess.
CLAIM = f"""
WITH host AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) FROM autotask_background_instance i JOIN autotask_worker w ON w.id = i.worker_id
    WHERE i.name = %(plain)s::text AND i.place = %(place)s::text AND i.fence = %(fence)s::bigint
      AND w.id = %(worker_id)s::uuid AND w.lease_until > clock_timestamp()
      AND NOT EXISTS (
          SELECT 1 FROM autotask_claim c
          CROSS JOIN LATERAL (SELECT name, executor, state FROM autotask_task WHERE id = c.ids[1] OFFSET 0) AS t
          WHERE c.worker_id = w.id AND cardinality(c.ids) = 1 AND c.ids[1] <> ALL(%(in_hand)s::uuid[])
            AND t.name = %(name)s::text AND t.executor = 'background' AND t.state = 1
      )
),
first AS MATERIALIZED (
    SELECT r.address, t.id, t.lost
    FROM autotask_task t
    CROSS JOIN LATERAL (SELECT r.ctid AS address FROM autotask_ready r WHERE {ready.IS_OF} FOR UPDATE SKIP LOCKED) AS r
    WHERE t.name = %(name)s::text AND t.executor = 'background' AND t.state = 1 AND EXISTS (SELECT 1 FROM host)
      AND NOT {pauses.BARS_TASK}
    ORDER BY t.priority DESC, t.run_at, t.id LIMIT {{limit}}
),
picked AS MATERIALIZED (
    SELECT address FROM (
        SELECT address, row_number() OVER () AS turn, max(lost) OVER (ROWS UNBOUNDED PRECEDING) AS worst FROM first
    ) AS numbered WHERE turn = 1 OR worst = 0
),
gone AS (
    DELETE FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT address FROM picked)) RETURNING id
),
{claims.MADE}
SELECT t.run_at AT TIME ZONE 'UTC', {claim.FIELDS}{claims.MADE_TASKS}"""

_STORED = """
stored AS (
    INSERT INTO autotask_task (id, name, queue, priority, executor, state, created_at, run_at, ready_at, retries, ttl, arguments, payload)
    VALUES (%(id)s::uuid, %(name)s::text, %(queue)s::text, %(priority)s::smallint, 'background', 1, clock_timestamp(),
            clock_timestamp(), clock_timestamp(), %(retries)s::int, %(ttl)s::float8, %(arguments)s::text, %(payload)s::bytea)
    RETURNING id, queue, priority, executor, ready_at
)"""

# No other message waits or is handled, and nothing is paused.
_IS_FIRST = """NOT EXISTS (
          SELECT 1 FROM autotask_task t WHERE t.name = %(name)s::text AND t.executor = 'background' AND t.state = 1
      )
      AND NOT EXISTS (SELECT 1 FROM autotask_pause)"""

_CLAIMED = f"""
come AS (
    INSERT INTO autotask_ready ({ready.COLUMNS})
    SELECT queue, priority, executor, ready_at, id, false, false FROM stored WHERE NOT EXISTS (SELECT FROM {{host}})
),
made AS (
    INSERT INTO autotask_claim (number, worker_id, at, ids)
    SELECT nextval('autotask_fence'), {{host}}.worker_id, stored.ready_at, ARRAY[stored.id] FROM stored, {{host}}
    RETURNING number, worker_id
)"""

# A new message for an instance that has no other, stored as claimed by its host, so that it need not look for it. A host with
# other messages claims this one in its turn.
PUT = f"""
WITH host AS MATERIALIZED (
    SELECT i.worker_id FROM autotask_background_instance i
    WHERE i.name = %(plain)s::text AND i.place = '' AND i.worker_id = %(worker_id)s::uuid AND {_IS_FIRST}
),
{_STORED},
{_CLAIMED.format(host="host")}
SELECT coalesce((SELECT number << {claims.PLACE_BITS} FROM made), 0)
"""

# The same from another process: NOTIFY hands the message to its host, or asks its hosts to look.
PUT_HANDING = f"""
WITH host AS MATERIALIZED (
    SELECT i.worker_id FROM autotask_background_instance i JOIN autotask_worker w ON w.id = i.worker_id
    WHERE i.name = %(plain)s::text AND i.place = '' AND %(words)s::text IS NOT NULL AND {addressee.HEARS} AND {_IS_FIRST}
),
chosen AS MATERIALIZED (SELECT worker_id FROM host WHERE {addressee.stays("worker_id")}),
{_STORED},
{_CLAIMED.format(host="chosen")}
SELECT count(pg_notify({lines.channel("worker_id")}, number || ' ' || %(words)s::text)) FROM made
UNION ALL
{TELL_HOST.replace("%(name)s", "%(plain)s")} AND NOT EXISTS (SELECT FROM chosen)
"""

_RELEASE = f"""
WITH claim AS MATERIALIZED (
    SELECT number, ids FROM autotask_claim WHERE worker_id = %(worker_id)s::uuid ORDER BY number FOR NO KEY UPDATE
),
released AS (
    UPDATE autotask_task t SET ready_at = clock_timestamp()
    WHERE t.id = ANY(ARRAY(SELECT unnest(ids) FROM claim)) AND t.executor = 'background' AND {{which}}
    RETURNING {ready.RETURNING}
),
come AS ({ready.come("released")}),
taken_out AS ({claims.taken_out("released")})
"""

# After a claim whose answer was lost: none of these runs, but those that the other threads of the instance handle.
RELEASE_ALL = (
    _RELEASE.format(which="t.name = %(name)s AND t.id <> ALL(%(kept)s::uuid[])")
    + "SELECT coalesce(max(number), 0) FROM claim"
)

# Of background workers that the worker hosts no more: their callers have stored them as claimed, but never handed them over.
RELEASE_LEFT = _RELEASE.format(which="t.name <> ALL(%(hosted)s::text[])") + "SELECT id FROM released"

FIRST = f"""
SELECT t.id FROM autotask_task t JOIN autotask_ready r ON {ready.IS_OF}
WHERE t.name = %(name)s AND t.executor = 'background' AND t.state = 1
ORDER BY t.priority DESC, t.run_at, t.id LIMIT 1
"""


class Address(NamedTuple):
    """Whose messages these are.

    :ivar worker_id: the worker that hosts the instance.
    """

    grant: Grant
    worker_id: uuid.UUID

    @property
    def name(self) -> str:
        """The name of the tasks."""
        return PREFIX + self.grant.name


def take(
    connection: BaseDatabaseWrapper, address: Address, limit: int, in_hand: Collection[uuid.UUID] = ()
) -> list[ClaimedTask]:
    """Claim the next messages, in their order; never more than fit into one claim.

    :param in_hand: those that the instance has. While it has yet to get another one that was handed to it, none is claimed.
    """
    grant = address.grant
    params = {
        "plain": grant.name,
        "place": grant.place,
        "fence": grant.fence,
        "worker_id": address.worker_id,
        "name": address.name,
        "in_hand": arrays.uuids(in_hand),
    }
    found = prepared_rows(connection, CLAIM.format(limit=min(int(limit), claims.MOST)), params)
    tasks = [(row[0], claim.record(row[1:], address.worker_id)) for row in found]
    tasks.sort(key=lambda pair: (-pair[1].priority, pair[0], pair[1].id))
    return [task for _, task in tasks]


def put(connection: BaseDatabaseWrapper, task: NewTask, name: str, worker_id: uuid.UUID) -> int:
    """Store a message, as claimed by a worker if that hosts the background worker, and it has no other message.

    :param task: its kind is a plain message; outside a transaction, since the worker must not wait for a commit.
    :param name: of the background worker.
    :returns: the fence of the claim; 0 if it waits.
    """
    return int(rows_for_caller(connection, PUT, {**_new(task, name), "worker_id": worker_id})[0][0])


def put_handing(connection: BaseDatabaseWrapper, task: NewTask, name: str, words: str | None) -> None:
    """Store a message as :func:`put` does, and hand it to its host by NOTIFY; or else have the hosts look for it.

    :param words: the words of the notification; None: the host has to look.
    """
    line = lines.current()
    told = {"words": words, "mark": line.mark, "secret": line.secret}
    rows_for_caller(connection, PUT_HANDING, {**_new(task, name), **told})


def _new(task: NewTask, name: str) -> dict[str, object]:
    id, kind, arguments, payload, *_ = task
    said = {field: getattr(kind, field) for field in ("name", "queue", "priority", "retries", "ttl")}
    return {"id": id, "plain": name, "arguments": arguments, "payload": payload, **said}


def release_all(connection: BaseDatabaseWrapper, address: Address, kept: Collection[uuid.UUID] = ()) -> int:
    """Release the messages that this worker has claimed, except some.

    :returns: a number that is not smaller than those of their claims.
    """
    params = {"name": address.name, "worker_id": address.worker_id, "kept": arrays.uuids(kept)}
    return int(rows(connection, RELEASE_ALL, params)[0][0])


def release_left(connection: BaseDatabaseWrapper, worker_id: uuid.UUID, hosted: Collection[str]) -> list[uuid.UUID]:
    """Release the messages that are claimed by a worker for background workers that it does not host, and return their ids.

    :param hosted: the names of those that it hosts.
    """
    params = {"worker_id": worker_id, "hosted": [PREFIX + name for name in hosted]}
    return [id for (id,) in rows(connection, RELEASE_LEFT, params)]


def first(connection: BaseDatabaseWrapper, name: str) -> uuid.UUID | None:
    """Return the id of the message that is handled next; None if none waits. For tests.

    :param name: of the tasks.
    """
    found = rows(connection, FIRST, {"name": name})
    return found[0][0] if found else None
