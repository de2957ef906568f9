"""Read tasks page by page, newest first."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import rows
from autotask.store.read import ENDED, LIVE, StoredTask, stored
from autotask.task import State

#: Among at most this many tasks a page searches.
SEARCHED = 100_000

# The innermost branches are read from the end of their primary keys and merged. What is wanted is compared outside: the
# search ends with a full page, or after SEARCHED tasks, and never reads the tables completely.
PAGE = f"""
SELECT * FROM (
    SELECT * FROM ({LIVE} UNION ALL {ENDED}) AS every
    WHERE id < %(before)s ORDER BY id DESC LIMIT {SEARCHED}
) AS newest
WHERE name = ANY(%(names)s::text[])
  AND (%(states)s::smallint[] = '{{}}' OR state = ANY(%(states)s::smallint[]))
  AND (%(tag)s::text IS NULL OR %(tag)s::text = ANY(tags))
ORDER BY id DESC LIMIT %(limit)s
"""

#: The largest id.
_LAST = uuid.UUID(int=2**128 - 1)


def page(
    connection: BaseDatabaseWrapper,
    names: Sequence[str],
    *,
    states: Sequence[State] = (),
    tag: str | None = None,
    before: uuid.UUID | None = None,
    limit: int = 50,
) -> list[StoredTask]:
    """Return the newest tasks of some names, newest first, among the newest 100,000 before an id.

    :param states: only these; empty means all.
    :param tag: only those with it; None: all.
    """
    if not names:
        return []
    params = {
        "names": arrays.texts(names),
        "states": arrays.numbers([int(state) for state in states]),
        "tag": tag,
        "before": before or _LAST,
        "limit": limit,
    }
    return [stored(row) for row in rows(connection, PAGE, params)]
