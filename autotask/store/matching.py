"""Find all tasks that match a filter, a piece at a time, however many there are and whatever has an index."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, causes, claims
from autotask.store.connection import rows
from autotask.task import State

#: Tasks that one statement looks at.
PIECE = 2_000


@dataclass(frozen=True, slots=True)
class Filter:
    """The conditions that tasks must match; an empty one makes no difference.

    :ivar names: the name has to be each of these.
    :ivar cause: of failures, see :func:`autotask.store.causes.key`.
    :ivar first: the smallest id.
    :ivar last: the largest id.
    """

    state: State | None = None
    queue: str = ""
    names: tuple[str, ...] = ()
    tag: str = ""
    gate: str = ""
    subject: str = ""
    cause: str = ""
    first: uuid.UUID | None = None
    last: uuid.UUID | None = None


_CONDITIONS = """(%(queue)s = '' OR queue = %(queue)s) AND name = ALL(%(names)s::text[])
    AND (%(tag)s = '' OR %(tag)s = ANY(tags)) AND (%(subject)s = '' OR subject IS NOT DISTINCT FROM %(subject)s)"""

# Each statement reads this many keys from the end of an index, and compares them outside: it is short, whatever matches.
LIVE = f"""
SELECT id, state = ANY(%(states)s::smallint[]) AND {_CONDITIONS} AND (%(gate)s = '' OR state = 8 AND gate = %(gate)s),
       name, ''
FROM (SELECT t.id, {claims.STATE} AS state, t.queue, t.name, t.tags, t.gate, t.subject FROM autotask_task t
      WHERE t.id <= %(last)s AND t.id >= %(first)s ORDER BY t.id DESC LIMIT {PIECE}) AS piece
ORDER BY id DESC
"""

# One state at a time, since its index begins with it: for whole rows, the planner might read the primary key instead. Tasks
# that ended after the wish came are not meant.
ENDED = f"""
SELECT id, ended_at <= %(before)s AND {_CONDITIONS} AND %(gate)s = '', name, left(error_message, {causes.TOLD})
FROM autotask_result WHERE id = ANY(ARRAY(
    SELECT id FROM autotask_result
    WHERE state = {{state}} AND id <= %(last)s AND id >= %(first)s ORDER BY id DESC LIMIT {PIECE}))
ORDER BY id DESC
"""


def pieces(
    connection: BaseDatabaseWrapper, wanted: Filter, states: Sequence[State], before: datetime
) -> Iterator[dict[uuid.UUID, str]]:
    """Yield the tasks that match, by id with their names, newest first, a piece at a time; a piece may be empty.

    :param states: only tasks in these states: not RUNNING and DONE ones of the ended.
    :param before: only tasks that have ended by then, if they have ended.
    """
    states = [state for state in states if wanted.state in (None, state)]
    live = [state for state in states if state not in (State.ERROR, State.CANCELLED)]
    statements = [LIVE] if live else []
    statements += [ENDED.format(state=state.value) for state in states if state not in live]
    for statement in statements:
        yield from _pieces_of(connection, statement, wanted, live, before)


def _pieces_of(
    connection: BaseDatabaseWrapper, statement: str, wanted: Filter, states: Sequence[State], before: datetime
) -> Iterator[dict[uuid.UUID, str]]:
    params = {
        "states": arrays.numbers([state.value for state in states]),
        "queue": wanted.queue,
        "names": arrays.texts(wanted.names),
        "tag": wanted.tag,
        "gate": wanted.gate,
        "subject": wanted.subject,
        "before": before,
        "first": wanted.first or uuid.UUID(int=0),
    }
    last = wanted.last or uuid.UUID(int=2**128 - 1)
    while True:
        found = rows(connection, statement, {**params, "last": last})
        yield {id: name for id, fits, name, error in found if fits and _has_cause(wanted, name, error)}
        if len(found) < PIECE or found[-1][0].int == 0:
            return
        last = uuid.UUID(int=found[-1][0].int - 1)


def _has_cause(wanted: Filter, name: str, error: str) -> bool:
    return not wanted.cause or causes.key(name, error) == wanted.cause
