"""Finds the tasks that are in one of the tables."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

# One statement: a row that moves from one table to the other meanwhile is in one of them.
KNOWN = """
SELECT id FROM autotask_task WHERE id = ANY(%(ids)s::uuid[])
UNION ALL
SELECT id FROM autotask_result WHERE id = ANY(%(ids)s::uuid[])
"""


def known(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the ids that belong to a live task or a result."""
    return {id for (id,) in rows(connection, KNOWN, {"ids": list(ids)})}
