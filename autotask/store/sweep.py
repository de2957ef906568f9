"""Look after held tasks: mark gates that nobody has marked, and delete slots and buckets that nobody needs."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import expiring, held
from autotask.store.connection import execute, rows

# With one descent of autotask_held for each gate. Marks are few, and live for milliseconds, but those of buckets. Tasks at the
# gates of pauses have a service of their own.
# If the task of the first row at a gate is gone, because somebody has deleted it by hand, the rows of such tasks are deleted.
# A mark for a distant moment becomes one for now: the rate may be faster by now, or the clock was set back.
MARK = """
WITH RECURSIVE distant AS (
    DELETE FROM autotask_mark
    WHERE id = ANY(ARRAY(
        SELECT id FROM autotask_mark WHERE %(distant)s AND at > statement_timestamp() + interval '5 min'
        ORDER BY id LIMIT {limit} FOR UPDATE SKIP LOCKED
    ))
    RETURNING gate
),
found(gate, number) AS (
    SELECT min(h.gate), 1 FROM autotask_held h WHERE h.gate > %(after)s
    UNION ALL
    SELECT (SELECT min(h.gate) FROM autotask_held h WHERE h.gate > found.gate), number + 1
    FROM found WHERE gate IS NOT NULL AND number < {limit}
),
gone AS (
    DELETE FROM autotask_held
    WHERE ctid = ANY(ARRAY(
        SELECT line.address FROM found CROSS JOIN LATERAL (
            SELECT h.ctid AS address, h.id FROM autotask_held h WHERE h.gate = found.gate
            ORDER BY {order} LIMIT CASE WHEN (SELECT {is_live} FROM autotask_held h WHERE h.gate = found.gate ORDER BY {order} LIMIT 1)
                                        THEN 0 ELSE {limit} END
        ) AS line
        WHERE NOT EXISTS (SELECT FROM autotask_task t WHERE t.id = line.id)
    ))
),
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT gate, clock_timestamp() FROM found
    WHERE (starts_with(gate, 'limit:') OR starts_with(gate, 'rate:')) AND gate NOT IN (SELECT gate FROM autotask_mark)
    UNION ALL
    SELECT DISTINCT gate, clock_timestamp() FROM distant
    RETURNING 1
)
SELECT (SELECT gate FROM found WHERE number = {limit}), (SELECT count(*) FROM marked), ({until_next})
"""

# A slot that was given away since it was seen has another version.
DELETE_SLOTS = """
WITH old AS MATERIALIZED (
    SELECT s.gate, s.number, s.version FROM autotask_slot s
    WHERE NOT EXISTS (SELECT FROM autotask_task t WHERE t.id = s.task_id AND t.passed >= s.place)
    LIMIT {limit}
)
DELETE FROM autotask_slot s USING old
WHERE s.gate = old.gate AND s.number = old.number AND s.version = old.version
"""

# A full bucket is the same as none. It stays for a while, so that busy ones are not made again and again.
DELETE_BUCKETS = """
DELETE FROM autotask_bucket
WHERE gate = ANY(ARRAY(
    SELECT gate FROM autotask_bucket
    WHERE full_at < statement_timestamp() - interval '1 h' AND coalesce(closed_until, '-infinity') < statement_timestamp()
    LIMIT {limit} FOR UPDATE SKIP LOCKED
))
"""

#: The most gates, slots or buckets for one statement.
PIECE = 1000


def mark(connection: BaseDatabaseWrapper, after: str = "", *, distant: bool = True) -> tuple[str, int, float | None]:
    """Mark the gates at which tasks wait and that have no mark, as if something had happened there.

    :param after: the name after which the gates begin.
    :param distant: whether to mark those, too, that have a mark for a distant moment.
    :returns: the name after which the next piece begins, "" after the last one; how many were marked; and the seconds until
        a held task expires, None if none does.
    """
    sql = MARK.format(limit=PIECE, until_next=expiring.UNTIL_NEXT, order=held.ORDER, is_live=held.IS_LIVE)
    last, marked, seconds = rows(connection, sql, {"after": after, "distant": distant})[0]
    return last or "", marked, seconds


def delete(connection: BaseDatabaseWrapper) -> bool:
    """Delete a piece of the slots and buckets that nobody needs; return whether there may be more."""
    deleted = [execute(connection, sql.format(limit=PIECE)) for sql in (DELETE_SLOTS, DELETE_BUCKETS)]
    return PIECE in deleted
