"""Find a task by the beginning of its id."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

# Ids with the same beginning lie side by side in both primary keys, so each branch reads two entries at most.
BETWEEN = """
(SELECT id FROM autotask_task WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2)
UNION ALL
(SELECT id FROM autotask_result WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2)
LIMIT 2
"""


def between(connection: BaseDatabaseWrapper, first: uuid.UUID, last: uuid.UUID) -> list[uuid.UUID]:
    """Return the ids of live or ended tasks from *first* to *last*, two at most: more are not needed to see a doubt."""
    return [row[0] for row in rows(connection, BETWEEN, {"first": first, "last": last})]
