"""A record of each change of a live task, written by a trigger, with the moments at which the changes were committed.

The server needs ``track_commit_timestamp = on``.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute, rows
from autotask.task import State

TRIGGER = """
CREATE TABLE audit (number bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), id uuid, state smallint,
                    unique_key text, former smallint, altered_too_late boolean DEFAULT false);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO audit (id, former) VALUES (OLD.id, OLD.state);
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO audit (id, state, unique_key) VALUES (NEW.id, NEW.state, NEW.unique_key);
    ELSE
        INSERT INTO audit (id, state, unique_key, former, altered_too_late)
        VALUES (NEW.id, NEW.state, NEW.unique_key, OLD.state, NEW.payload <> OLD.payload AND EXISTS (
            SELECT FROM autotask_claim WHERE NEW.id = ANY(ids)
        ));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON autotask_task FOR EACH ROW EXECUTE FUNCTION audit();
"""

#: Undoes :data:`TRIGGER`.
REMOVE = "DROP TRIGGER audit ON autotask_task; DROP FUNCTION audit; DROP TABLE audit"

ENTRIES = """
SELECT id::text, extract(epoch FROM at)::float8, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8,
       state, unique_key, former, altered_too_late
FROM audit ORDER BY number
"""


@dataclass(frozen=True)
class Entry:
    """One change of one row. A task that runs has the state READY: a claim does not write its row.

    :ivar at: when the statement ran.
    :ivar committed: when its transaction was committed.
    :ivar state: the new state; None: the row is gone.
    :ivar former: the state before; None: it was inserted.
    :ivar altered_too_late: whether its arguments were changed while it was in a claim.
    """

    id: str
    at: float
    committed: float
    state: State | None
    unique_key: str | None
    former: State | None
    altered_too_late: bool


@dataclass(frozen=True)
class Tenure:
    """The time for which one task had a key: from *began* (*stored*, by the clock of the statement) to *ended*."""

    id: str
    key: str
    stored: float
    began: float
    ended: float


def install(connection: BaseDatabaseWrapper) -> None:
    """Record all changes from now on."""
    execute(connection, TRIGGER)


def entries(connection: BaseDatabaseWrapper) -> list[Entry]:
    """Return the record: the changes of each row in order."""
    return [
        Entry(id, at, committed, _state(state), key, _state(former), altered_too_late)
        for id, at, committed, state, key, former, altered_too_late in rows(connection, ENTRIES)
    ]


def tenures(record: Iterable[Entry]) -> list[Tenure]:
    """Return for which time each task had its key. A claim takes the key that is free from then on."""
    found, holding = [], {}
    for entry in record:
        held, key = holding.get(entry.id), None if entry.state is None else entry.unique_key
        if held is not None and held.key != key:
            found.append(Tenure(held.id, held.key, held.stored, held.began, entry.committed))
            del holding[entry.id]
        if key is not None and entry.id not in holding:
            holding[entry.id] = Tenure(entry.id, key, entry.at, entry.committed, float("inf"))
    return [*found, *holding.values()]


def conflicts(tenures: Iterable[Tenure]) -> list[str]:
    """Return, in words, each case of two tasks that had the same key at the same time."""
    by_key: dict[str, list[Tenure]] = defaultdict(list)
    for tenure in tenures:
        by_key[tenure.key].append(tenure)
    found = []
    for key, having in by_key.items():
        having.sort(key=lambda tenure: (tenure.began, tenure.ended))
        for one, next_one in zip(having, having[1:], strict=False):
            if one.ended > next_one.began:
                found.append(f"{key}: {next_one.id} had it {one.ended - next_one.began:.6f} s before {one.id} lost it")
    return found


def altered_too_late(record: Iterable[Entry]) -> list[str]:
    """Return the ids of tasks whose arguments were changed while they ran."""
    return [entry.id for entry in record if entry.altered_too_late]


def _state(number: int | None) -> State | None:
    return None if number is None else State(number)
