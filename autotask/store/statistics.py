"""Statistics of tasks: counts by minute, by hour and since ever, which workers add to, and which others read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.statistics import HISTOGRAMS, NUMBERS, SECONDS, Counts, padded, trimmed
from autotask.store import arrays
from autotask.store.connection import execute, rows

#: The periods of the rows, in seconds. The rows of EVER have all since the table was made.
MINUTE, HOUR, EVER = 60, 3600, 0

#: Seconds for which the rows of each period are kept.
KEPT = {MINUTE: 2 * 86400, HOUR: 30 * 86400}

#: The longest range, in seconds, whose sums are read from the rows of minutes. Those of hours are a sixtieth of them.
BY_MINUTE = 3 * HOUR

#: So many pairs of task and queue keep their sums of all times; beyond that, only those that were used within thirty days.
MOST_SUMS = 1000

#: The most rows that one piece deletes.
PIECE = 5000

By = Literal["name", "queue", "both", "all"]


class Key(NamedTuple):
    """The tasks that were counted together, and in which minute.

    :ivar minute: its beginning, in seconds since 1970.
    """

    minute: int
    name: str
    queue: str


class Of(NamedTuple):
    """The tasks to which counts belong; what is empty makes no difference."""

    name: str = ""
    queue: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Counts at equal distances.

    :ivar start: when the first of them begins.
    :ivar step: seconds from each to the next.
    :ivar series: for each kind of tasks as many counts as there are steps, without histograms.
    """

    start: datetime
    step: int
    series: dict[Of, list[Counts]]


_COLUMNS = (*NUMBERS, *SECONDS, *HISTOGRAMS)
_TYPES = {
    **dict.fromkeys(NUMBERS, "bigint[]"),
    **dict.fromkeys(SECONDS, "float8[]"),
    **dict.fromkeys(HISTOGRAMS, "text[]"),
}

CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


def _added(name: str) -> str:
    if name not in HISTOGRAMS:
        return f"{name} = s.{name} + excluded.{name}"
    return (
        f"{name} = ARRAY(SELECT coalesce(a, 0) + coalesce(b, 0) FROM unnest(s.{name}, excluded.{name}) WITH ORDINALITY "
        "AS u(a, b, n) ORDER BY n)"
    )


# * In the order of the key: two workers that add to the same rows never wait for each other in a circle.
# * A crash of the server may lose the last moments of statistics, so nobody waits for the disk, and rows that all workers
#   add to are locked for less than a millisecond.
ADD = f"""
WITH added AS (
    INSERT INTO autotask_statistics AS s (period, at, name, queue, {", ".join(_COLUMNS)})
    SELECT c.period, to_timestamp(c.at), c.name, c.queue,
           {", ".join(f"c.{name}::bigint[]" if name in HISTOGRAMS else f"c.{name}" for name in _COLUMNS)}
    FROM unnest(%(period)s::integer[], %(at)s::bigint[], %(name)s::text[], %(queue)s::text[],
                {", ".join(f"%({name})s::{_TYPES[name]}" for name in _COLUMNS)})
         AS c(period, at, name, queue, {", ".join(_COLUMNS)})
    ORDER BY c.period, c.at, c.name, c.queue
    ON CONFLICT (period, at, name, queue) DO UPDATE SET {", ".join(map(_added, _COLUMNS))}
)
{CLOCK} FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
"""

PRUNE = """
DELETE FROM autotask_statistics WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM autotask_statistics
    WHERE period = %(period)s AND at < statement_timestamp() - %(seconds)s * interval '1 s'
    ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""

# Names of queues can be made up, such as one for each customer: then the sums of all times would grow forever. A site with a few
# kinds of tasks keeps all of them, and reads no more than their number.
FORGET = f"""
DELETE FROM autotask_statistics AS e
WHERE e.period = 0
  AND (SELECT count(*) FROM (SELECT FROM autotask_statistics WHERE period = 0 LIMIT %(most)s + 1) AS found) > %(most)s
  AND NOT EXISTS (
      SELECT FROM autotask_statistics u WHERE u.period IN ({MINUTE}, {HOUR}) AND u.name = e.name AND u.queue = e.queue
  )
"""

_LABELS = {"name": ("name", "''"), "queue": ("''", "queue"), "both": ("name", "queue"), "all": ("''", "''")}
_SUMS = ", ".join(
    [*(f"sum({name})::bigint AS {name}" for name in NUMBERS), *(f"sum({name}) AS {name}" for name in SECONDS)]
)
_FOUND = """
SELECT {of_name} AS of_name, {of_queue} AS of_queue, * FROM autotask_statistics
WHERE period = %(period)s AND at >= %(since)s AND at < coalesce(%(until)s::timestamptz, 'infinity')
  AND (%(name)s::text IS NULL OR name = %(name)s::text) AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
"""

TIMELINE = f"""
SELECT of_name, of_queue, floor(extract(epoch FROM at) / %(step)s)::bigint * %(step)s AS step, {_SUMS}
FROM ({_FOUND}) AS found GROUP BY 1, 2, 3
"""


def _summed(name: str) -> str:
    return f"""
{name}_by AS (
    SELECT of_name, of_queue, array_agg(number ORDER BY place) AS {name}
    FROM (SELECT of_name, of_queue, place, sum(number)::bigint AS number
          FROM found CROSS JOIN LATERAL unnest(found.{name}) WITH ORDINALITY AS u(number, place) GROUP BY 1, 2, 3) AS each
    GROUP BY 1, 2
)"""


TOTALS = f"""
WITH found AS MATERIALIZED ({_FOUND}),
summed AS (SELECT of_name, of_queue, {_SUMS} FROM found GROUP BY 1, 2),
{", ".join(map(_summed, HISTOGRAMS))}
SELECT of_name, of_queue, {", ".join(_COLUMNS)}
FROM summed LEFT JOIN waiting_by USING (of_name, of_queue) LEFT JOIN running_by USING (of_name, of_queue)
ORDER BY of_name, of_queue
"""


def add(connection: BaseDatabaseWrapper, counts: Mapping[Key, Counts]) -> float:
    """Add counts to the rows of their minutes, of their hours and of all times.

    :returns: the clock of the database, in seconds since 1970.
    """
    if not counts:
        return float(rows(connection, CLOCK)[0][0])
    by_row = _rolled_up(counts)
    found = list(by_row.values())
    params: dict[str, Any] = {
        "period": arrays.numbers([period for period, *_ in by_row]),
        "at": arrays.numbers([at for _, at, *_ in by_row]),
        "name": arrays.texts([name for *_, name, _ in by_row]),
        "queue": arrays.texts([queue for *_, queue in by_row]),
    }
    for name in (*NUMBERS, *SECONDS):
        params[name] = arrays.numbers([getattr(each, name) for each in found])
    for name in HISTOGRAMS:
        params[name] = arrays.texts([arrays.numbers(trimmed(getattr(each, name))) for each in found])
    return float(rows(connection, ADD, params)[0][0])


def _rolled_up(counts: Mapping[Key, Counts]) -> dict[tuple[int, int, str, str], Counts]:
    by_row: dict[tuple[int, int, str, str], Counts] = {}
    for key, each in counts.items():
        for period in (MINUTE, HOUR, EVER):
            at = key.minute // period * period if period else 0
            by_row.setdefault((period, at, key.name, key.queue), Counts()).add(each)
    return by_row


def prune(connection: BaseDatabaseWrapper) -> bool:
    """Delete one piece of the rows that are too old, and in the end sums that are not used; return whether there may be more."""
    deleted = [
        execute(connection, PRUNE, {"period": period, "seconds": seconds, "limit": PIECE})
        for period, seconds in KEPT.items()
    ]
    if PIECE in deleted:
        return True
    execute(connection, FORGET, {"most": MOST_SUMS})
    return False


def step_for(seconds: float) -> int:
    """Return a step for a timeline of that length with at most about a hundred points."""
    for step in (MINUTE, 5 * MINUTE, 15 * MINUTE):
        if seconds <= 120 * step:
            return step
    return HOUR * max(1, math.ceil(seconds / (180 * HOUR)))


def timeline(
    connection: BaseDatabaseWrapper,
    since: datetime,
    until: datetime,
    *,
    step: int = MINUTE,
    by: By = "all",
    name: str | None = None,
    queue: str | None = None,
) -> Timeline:
    """Return counts at equal distances, for charts.

    :param since: the beginning; it is rounded down to a whole step.
    :param until: the end, which is not included.
    :param step: seconds, a multiple of a minute; see :func:`step_for`. The rows of minutes are kept for two days, those of
        hours for thirty; steps that are no whole hours need the former.
    :param by: a series for each name, for each queue, for both, or one for all.
    :param name: only tasks of that name.
    :param queue: only tasks of that queue.
    """
    start = int(since.timestamp()) // step * step
    count = max(0, math.ceil((until.timestamp() - start) / step))
    series: dict[Of, list[Counts]] = {Of(): [Counts() for _ in range(count)]} if by == "all" else {}
    params = {
        "period": MINUTE if step % HOUR else HOUR,
        "since": datetime.fromtimestamp(start, UTC),
        "until": until,
        "step": step,
        "name": name,
        "queue": queue,
    }
    for of_name, of_queue, at, *values in rows(connection, _labelled(TIMELINE, by), params):
        points = series.setdefault(Of(of_name, of_queue), [])
        points += [Counts() for _ in range(count - len(points))]
        points[(at - start) // step] = _counts(values)
    return Timeline(datetime.fromtimestamp(start, UTC), step, series)


def totals(
    connection: BaseDatabaseWrapper,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    by: By = "name",
    name: str | None = None,
    queue: str | None = None,
) -> dict[Of, Counts]:
    """Return the sums of a range, with histograms, by name and queue.

    :param since: the beginning, rounded down as :func:`beginning` does: to a whole minute, or to a whole hour if the range is
        longer than three hours. None: since ever, and then these counts never become smaller.
    :param until: the end; None: now.
    """
    period, start = EVER, datetime.fromtimestamp(0, UTC)
    if since is not None:
        period, start = beginning(since, until or datetime.now(UTC))
    params = {"period": period, "since": start, "until": None if since is None else until, "name": name, "queue": queue}
    found = rows(connection, _labelled(TOTALS, by), params)
    return {Of(of_name, of_queue): _counts(values) for of_name, of_queue, *values in found}


def beginning(since: datetime, until: datetime) -> tuple[int, datetime]:
    """Return the period of the rows from which :func:`totals` reads a range, and when the first of them begins."""
    period = MINUTE if until - since <= timedelta(seconds=BY_MINUTE) else HOUR
    return period, datetime.fromtimestamp(int(since.timestamp()) // period * period, UTC)


def _labelled(sql: str, by: By) -> str:
    of_name, of_queue = _LABELS[by]
    return sql.format(of_name=of_name, of_queue=of_queue)


def _counts(values: Sequence[Any]) -> Counts:
    made = Counts()
    for name, value in zip(_COLUMNS, values, strict=False):
        setattr(made, name, padded(value) if name in HISTOGRAMS else value)
    return made
