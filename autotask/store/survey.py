"""One look, by which an idle worker learns which of its rare chores have anything to do."""

import enum
import uuid
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import prune, rescue
from autotask.store.connection import rows


class Chore(enum.Enum):
    """A thing that a worker looks after, in case it went wrong elsewhere."""

    CLAIMS = "claims in the name of this worker, which it may not know"
    ORPHANS = "claims of workers that are not in the register"
    PAUSES = "pauses, and tasks that are held because of one"
    NOTICES = "ended tasks with notices that must be sent"
    HELD = "held tasks, and marks at their gates"
    GATES = "slots and buckets, which may be left over"
    RESULTS = "results whose time to live is over"


class Survey(NamedTuple):
    """The findings of a look.

    :ivar chores: those that may have something to do; the others have nothing.
    :ivar clock: that of the database, in seconds since 1970.
    """

    chores: frozenset[Chore]
    clock: float


# Each condition is true at least whenever its chore would find anything, and costs no more than one descent of an index, or a
# look at a table with a row for each worker, claim, pause or gate. The orders are those of the indexes, so the planner can neither
# sort nor read a table of tasks.
_CONDITIONS = {
    Chore.CLAIMS: "EXISTS (SELECT FROM autotask_claim c WHERE c.worker_id = %(worker_id)s::uuid)",
    Chore.ORPHANS: rescue.SOME_ARE_LEFT,
    Chore.PAUSES: """EXISTS (SELECT FROM autotask_pause) OR (
        SELECT true FROM autotask_held h WHERE h.gate > 'pause' AND h.gate < 'pausf' ORDER BY h.gate LIMIT 1
    ) IS NOT NULL""",
    Chore.NOTICES: """(
        SELECT true FROM autotask_result r WHERE r.on_end IS NOT NULL AND r.settled_at IS NULL ORDER BY r.ended_at LIMIT 1
    ) IS NOT NULL""",
    Chore.HELD: """EXISTS (SELECT FROM autotask_mark) OR (
        SELECT true FROM autotask_held h ORDER BY h.gate LIMIT 1
    ) IS NOT NULL""",
    Chore.GATES: "EXISTS (SELECT FROM autotask_slot) OR EXISTS (SELECT FROM autotask_bucket)",
    Chore.RESULTS: prune.SOME_ARE_OLD,
}

LOOK = f"SELECT {', '.join(map(_CONDITIONS.get, Chore))}, extract(epoch FROM clock_timestamp())::float8"  # type: ignore[arg-type]


def look(connection: BaseDatabaseWrapper, worker_id: uuid.UUID) -> Survey:
    """Return the chores of a worker that may have something to do."""
    *found, clock = rows(connection, LOOK, {"worker_id": worker_id})[0]
    return Survey(frozenset(chore for chore, is_there in zip(Chore, found, strict=True) if is_there), float(clock))
