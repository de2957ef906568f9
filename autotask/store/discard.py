"""Delete tasks that failed or were cancelled, once somebody has dealt with them, before their time to live is over."""

import uuid
from collections.abc import Sequence

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import in_transaction, rows
from autotask.store.prune import SETTLED
from autotask.store.task_logs import AROUND

# A row that somebody else has locked is being retried, discarded or pruned: nobody waits for it, so two that act on many rows
# in different orders cannot wait for each other. What still has to be mailed needs its row. Pieces of the log may have lines of
# other tasks, too, which stay.
DISCARD = f"""
WITH meant AS MATERIALIZED (
    SELECT id FROM autotask_result
    WHERE id = ANY(%(ids)s::uuid[]) AND state IN (4, 5) AND {SETTLED} FOR UPDATE SKIP LOCKED
),
attempts AS (DELETE FROM autotask_attempt WHERE task_id = ANY(ARRAY(SELECT id FROM meant))),
steps AS (DELETE FROM autotask_step WHERE task_id = ANY(ARRAY(SELECT id FROM meant))),
pieces AS MATERIALIZED (
    SELECT id, (
        SELECT string_agg(E'\\x01' || part.lines, '' ORDER BY part.place)
        FROM unnest(string_to_array(substr(text, 2), E'\\x01')) WITH ORDINALITY AS part(lines, place)
        WHERE left(part.lines, 32) <> ALL (ARRAY(SELECT replace(id::text, '-', '') FROM meant))
    ) AS others
    FROM autotask_log WHERE id IN (
        SELECT piece.id FROM meant CROSS JOIN LATERAL (
            SELECT id FROM autotask_log
            WHERE {AROUND.format(id="meant.id")} AND strpos(text, E'\\x01' || replace(meant.id::text, '-', '')) > 0
        ) AS piece
    ) ORDER BY id FOR UPDATE
),
cut AS (UPDATE autotask_log piece SET text = others FROM pieces WHERE piece.id = pieces.id AND others IS NOT NULL),
emptied AS (DELETE FROM autotask_log WHERE id = ANY(ARRAY(SELECT id FROM pieces WHERE others IS NULL)))
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
