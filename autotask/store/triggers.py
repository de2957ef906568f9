"""Triggers of background workers that there are one per host or per process: a row for each instance, until it has run."""

from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.background import HOSTED
from autotask.store.background_hosting import Grant
from autotask.store.connection import execute, rows

# Those of hosts continue with another worker if theirs dies; those of processes end with it. Nobody is blocked by rows that
# are only inserted, however long the caller's transaction is.
TRIGGER = f"""
INSERT INTO autotask_background_trigger (name, place, created_at)
SELECT i.name, i.place, clock_timestamp() FROM autotask_background_instance i
WHERE i.name = %(name)s AND i.place <> '' AND (i.place LIKE '%% %%' OR {HOSTED.format("i")})
"""

WAITING = f"""
SELECT t.id FROM autotask_background_trigger t
WHERE t.name = %(name)s AND t.place = %(place)s AND EXISTS (
    SELECT 1 FROM autotask_background_instance i
    WHERE i.name = t.name AND i.place = t.place AND i.fence = %(fence)s AND {HOSTED.format("i")})
"""

DONE = "DELETE FROM autotask_background_trigger WHERE id = ANY(%(ids)s::bigint[])"


def trigger(connection: BaseDatabaseWrapper, name: str) -> int:
    """Have each instance of a background worker run once, after the commit; return how many there are."""
    return execute(connection, TRIGGER, {"name": name})


def waiting(connection: BaseDatabaseWrapper, grant: Grant) -> list[int]:
    """Return the triggers of an instance, if this worker still hosts it."""
    return [id for (id,) in rows(connection, WAITING, {"name": grant.name, "place": grant.place, "fence": grant.fence})]


def done(connection: BaseDatabaseWrapper, ids: Sequence[int]) -> None:
    """Forget triggers whose run has ended."""
    execute(connection, DONE, {"ids": list(ids)})
