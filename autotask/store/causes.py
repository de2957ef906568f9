"""Why tasks failed: the newest failures, with those that have the same cause counted together."""

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

#: The newest failures that are looked at.
WINDOW = 5_000

#: Characters of an error that tell its cause; the rest tells the case.
TOLD = 200

# * Equal texts are counted in the database, so that few rows leave it.
# * The ids come from the index of tasks that failed. With the texts, the planner might read the primary key instead, past all
#   tasks that did not fail.
# * Newest first by id, and so by the moment of the call.
# * Moments as numbers and ids as text, which sort alike: for thousands of rows, the drivers need longest to make objects of them.
FAILED = f"""
SELECT name, left(error_message, {TOLD}) AS said, count(*),
       extract(epoch FROM min(ended_at))::float8, extract(epoch FROM max(ended_at))::float8, max(id::text COLLATE "C")
FROM autotask_result
WHERE id = ANY(ARRAY(SELECT id FROM autotask_result WHERE state = 4 ORDER BY id DESC LIMIT {WINDOW}))
GROUP BY name, said
"""

#: The parts that differ from case to case: quoted texts, ids, addresses in memory, numbers.
_CASES = re.compile(
    r"""'[^']*'|"[^"]*"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|0x[0-9a-f]+|\d+(?:\.\d+)?""",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Cause:
    """Failures with the same name and, but for the case, the same error.

    :ivar key: identifies it in addresses.
    :ivar error: the error of the newest one.
    :ivar newest: the id of the newest one.
    :ivar texts: how many different errors there are.
    """

    key: str
    name: str
    error: str
    first: datetime
    last: datetime
    newest: uuid.UUID
    count: int
    texts: int


@dataclass(frozen=True, slots=True)
class _Failures:
    """Those with the same name and error."""

    name: str
    error: str
    count: int
    first: float
    last: float
    newest: str


def key(name: str, error: str) -> str:
    """Return a short hash of the name and text that all failures of one cause share."""
    return hashlib.sha256(f"{name}\n{_common(error)}".encode()).hexdigest()[:16]


def _common(error: str) -> str:
    return _CASES.sub("*", error[:TOLD])


def causes(connection: BaseDatabaseWrapper) -> list[Cause]:
    """Return the causes of the newest failures, the most frequent first."""
    found: dict[tuple[str, str], list[_Failures]] = {}
    for row in rows(connection, FAILED):
        found.setdefault((row[0], _common(row[1])), []).append(_Failures(*row))
    return sorted(map(_cause, found.values()), key=lambda cause: (-cause.count, cause.name, cause.key))


def _cause(same: Sequence[_Failures]) -> Cause:
    newest = max(same, key=lambda each: each.newest)
    return Cause(
        key=key(newest.name, newest.error),
        name=newest.name,
        error=newest.error,
        first=datetime.fromtimestamp(min(each.first for each in same), UTC),
        last=datetime.fromtimestamp(max(each.last for each in same), UTC),
        newest=uuid.UUID(newest.newest),
        count=sum(each.count for each in same),
        texts=len(same),
    )
