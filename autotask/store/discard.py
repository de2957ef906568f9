"""Delete tasks that failed or were cancelled, once somebody has dealt with them, before their time to live is over."""

import uuid
from collections.abc import Sequence

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import in_transaction, rows
from autotask.store.prune import SETTLED

# A row that somebody else has locked is being retried, discarded or pruned: nobody waits for it, so two that act on many rows
# in different orders cannot wait for each other. What still has to be mailed needs its row.
DISCARD = f"""
WITH meant AS MATERIALIZED (
    SELECT id FROM autotask_result
    WHERE id = ANY(%(ids)s::uuid[]) AND state IN (4, 5) AND {SETTLED} FOR UPDATE SKIP LOCKED
),
attempts AS (DELETE FROM autotask_attempt WHERE task_id = ANY(ARRAY(SELECT id FROM meant))),
steps AS (DELETE FROM autotask_step WHERE task_id = ANY(ARRAY(SELECT id FROM meant))),
lines AS (DELETE FROM autotask_log WHERE task_id = ANY(ARRAY(SELECT id FROM meant)))
DELETE FROM autotask_result WHERE id = ANY(ARRAY(SELECT id FROM meant)) RETURNING id
"""


def discard(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Delete those of the tasks that failed or were cancelled, with all that belongs to them, and return their ids.

    Left are those whose mails and webhooks are still to be sent, and those to which a foreign key of the site refers.
    """
    try:
        return in_transaction(connection, lambda: _discarded(connection, ids))
    except IntegrityError:
        if len(ids) == 1:
            return []
        return [id for each in ids for id in discard(connection, [each])]


def _discarded(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    return [id for (id,) in rows(connection, DISCARD, {"ids": arrays.uuids(ids)})]
