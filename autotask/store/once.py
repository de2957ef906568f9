"""Store calls of which there is one task for each key, ever: the one that is live, or the one that has finished."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.exceptions import AlreadyEnqueued
from autotask.store import claims, columns, enqueue, held, ready
from autotask.store.connection import execute, in_transaction, rows
from autotask.store.enqueue import NewTask
from autotask.store.unique import TRIES, Stored


class Former(NamedTuple):
    """The task that has a key.

    :ivar again: whether it has finished, and is to run again.
    :ivar ended_at: None while it is live.
    :ivar arguments: as text.
    :ivar payload: signed for this task; None while it is live.
    :ivar flow: as it is stored.
    """

    id: uuid.UUID
    again: bool
    ended_at: datetime | None
    arguments: str
    payload: bytes | None
    flow: str | None


# In one statement, so in one snapshot: a task that ends just now is seen in exactly one of the tables. Of those that have
# finished, there could be several if the caller's transactions see no newer rows than their first statement (REPEATABLE
# READ): the last one counts.
FIND = f"""
SELECT t.id, false, NULL, t.arguments, NULL, t.flow::text FROM autotask_task t
WHERE t.unique_key = %(key)s::text AND {columns.HAS_KEY}
UNION ALL (
    SELECT r.id, r.state <> 3 OR coalesce(r.ended_at + %(limit)s::float8 * interval '1 s' < clock_timestamp(), false),
           r.ended_at, r.arguments, r.payload, r.flow::text
    FROM autotask_result r WHERE r.flow ->> 'unique' = %(key)s::text AND r.flow ? 'once' ORDER BY r.ended_at DESC LIMIT 1
)
"""

#: The first number of its advisory locks, so that they differ from those of the site: "once" in ASCII.
_LOCKS = 0x6F6E6365

# Until the end of the transaction. Two keys with the same hash wait for each other needlessly, and that is all.
LOCK = "SELECT pg_advisory_xact_lock(%(locks)s::int, hashtext(%(key)s::text))"

# It keeps its id and the number of its attempts; the rest is that of the new call, so its steps do not count. It is gone if somebody has retried it, or
# it was pruned. Without ON CONFLICT: nothing may be deleted if nothing can be inserted.
RERUN = f"""
WITH gone AS (
    DELETE FROM autotask_result r WHERE r.id = ANY(%(id)s::uuid[]) AND r.ended_at = %(ended_at)s::timestamptz
    RETURNING r.id, r.created_at, r.attempt
),
back AS (
{enqueue.flowing_rows(" JOIN gone ON gone.id = t.id", created_at="gone.created_at", attempt="gone.attempt")}
RETURNING {held.RETURNED}
),
come AS ({ready.come("back")}),
taken_out AS ({claims.taken_out("back")}),
{held.waiting("back")},
forgotten AS (DELETE FROM autotask_step s USING back WHERE s.task_id = back.id)
SELECT id FROM back
"""

#: Makes the task of a call: of a new id, or that of the former task with its id.
Make = Callable[[Former | None], NewTask]


def find(connection: BaseDatabaseWrapper, key: str, limit: float | None = None) -> Former | None:
    """Return the task that has a key; None if there is none, or it was pruned.

    :param limit: seconds after its end from which it is to run again although it is done; None: never.
    """
    # The live one counts, if there are both: somebody has retried it.
    found = sorted(rows(connection, FIND, {"key": key, "limit": limit}), key=lambda row: row[2] is not None)
    if not found:
        return None
    former = Former(*found[0])
    return former if former.payload is None else former._replace(payload=bytes(former.payload))


def store(connection: BaseDatabaseWrapper, key: str, limit: float | None, make: Make) -> Stored:
    """Store a call in the caller's transaction, unless the task of its key is live, or done within the limit.

    :returns: what became of it; ``created`` says whether it is going to run.
    """
    if (former := find(connection, key, limit)) is not None and not former.again:
        return Stored(former.id, False)
    return in_transaction(connection, lambda: _store(connection, key, limit, make))


def _store(connection: BaseDatabaseWrapper, key: str, limit: float | None, make: Make) -> Stored:
    # Calls for the same key wait for the end of this transaction, and then see what it has stored. Without the lock,
    # two of them could both find a finished task that is to run again, or none.
    execute(connection, LOCK, {"locks": _LOCKS, "key": key})
    for _ in range(TRIES):
        former = find(connection, key, limit)
        if former is not None and not former.again:
            return Stored(former.id, False)
        task = make(former)
        if _put(connection, task, former):
            return Stored(task.id, True, task)
    raise AlreadyEnqueued(name=task.kind.name, key=key, id="that ends again and again")


def _put(connection: BaseDatabaseWrapper, task: NewTask, former: Former | None) -> bool:
    """Insert a task, in place of the former one; False if somebody was faster, such as a button that retries tasks."""
    if former is None:
        return task.id in enqueue.insert_flowing(connection, [task])
    try:
        with transaction.atomic(using=connection.alias):
            params = {**enqueue.flowing_parameters([task]), "ended_at": former.ended_at}
            return bool(rows(connection, RERUN, params))
    except IntegrityError:
        return False
