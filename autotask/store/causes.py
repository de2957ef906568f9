"""Why tasks failed: the newest failures, with those that have the same cause counted together."""

import hashlib
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import aware, rows

#: The newest failures that are looked at.
WINDOW = 5_000

#: Characters of an error that tell its cause; the rest tells the case.
TOLD = 200

# * Equal texts are counted in the database, so that few rows leave it.
# * The ids come from the index of tasks that failed. With the texts, the planner might read the primary key instead, past all
#   tasks that did not fail.
# * Newest first by id, and so by the moment of the call.
FAILED = f"""
SELECT name, left(error_message, {TOLD}) AS said, count(*), min(ended_at), max(ended_at), (array_agg(id ORDER BY id DESC))[1]
FROM autotask_result
WHERE id = ANY(ARRAY(SELECT id FROM autotask_result WHERE state = 4 ORDER BY id DESC LIMIT {WINDOW}))
GROUP BY name, said
"""

#: What differs from case to case: quoted texts, ids, addresses in memory, numbers.
_CASES = re.compile(
    r"""'[^']*'|"[^"]*"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|0x[0-9a-f]+|\d+(?:\.\d+)?""",
    re.I,
)


@dataclass
class Cause:
    """Failures with the same name and, but for the case, the same error.

    :ivar key: identifies it in addresses.
    :ivar error: the error of the newest one.
    :ivar newest: the id of the newest one.
    """

    key: str
    name: str
    error: str
    first: datetime
    last: datetime
    newest: uuid.UUID
    count: int = 0
    texts: int = field(default=0)


def key(name: str, error: str) -> str:
    """Return what the failures of one cause have in common, as a short word."""
    text = _CASES.sub("*", error[:TOLD])
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()[:16]


def causes(connection: BaseDatabaseWrapper) -> list[Cause]:
    """Return the causes of the newest failures, the most frequent first."""
    return grouped(
        (name, error, count, aware(first), aware(last), newest)
        for name, error, count, first, last, newest in rows(connection, FAILED)
    )


def grouped(failures: Iterable[tuple[str, str, int, datetime, datetime, uuid.UUID]]) -> list[Cause]:
    """Return the causes of failures that are counted by name and text, the most frequent first."""
    found: dict[str, Cause] = {}
    for name, error, count, first, last, newest in failures:
        known = key(name, error)
        cause = found.setdefault(known, Cause(known, name, error, first, last, newest))
        cause.count += count
        cause.texts += 1
        cause.first, cause.last = min(cause.first, first), max(cause.last, last)
        if newest > cause.newest:
            cause.newest, cause.error = newest, error
    return sorted(found.values(), key=lambda cause: (-cause.count, cause.name, cause.key))
