"""Sign all payloads of older keys again, until a look at all payloads finds none."""

import uuid
from collections import Counter
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import payload
from autotask.exceptions import PayloadRefused
from autotask.store import resign, steps
from autotask.store.resign import FAILED, RESULTS, STEPS, WAITING, PayloadColumn, Signed

#: In this order: a payload that moves to the other table is found there, and one that moves back in the next round.
PLACES = (WAITING, FAILED, RESULTS, STEPS)

#: Looks at all payloads. More than two are needed only if rows were locked or moved at the wrong moments.
ROUNDS = 10

_FIRST = uuid.UUID(int=0)


@dataclass
class Findings:
    """The findings of one look at all payloads.

    :ivar outdated: how many are signed with an older key, by place.
    :ivar written: how many of them were signed again.
    :ivar current: how many are signed with the current key.
    :ivar refused: those that do not verify, and are left alone.
    """

    outdated: Counter[PayloadColumn] = field(default_factory=Counter)
    written: Counter[PayloadColumn] = field(default_factory=Counter)
    current: int = 0
    refused: list[tuple[PayloadColumn, PayloadRefused]] = field(default_factory=list)


def examine(connection: BaseDatabaseWrapper) -> Findings:
    """Look at all payloads, and change nothing."""
    return _look(connection, write=False)


def resign_all(connection: BaseDatabaseWrapper) -> Findings:
    """Sign all payloads of older keys again, in batches with a transaction each, while workers continue.

    :returns: the findings of the last look, with all that was written since the first one. Payloads that are still outdated
        were locked by others each time.
    """
    written: Counter[PayloadColumn] = Counter()
    for _ in range(ROUNDS):
        found = _look(connection, write=True)
        written += found.written
        if not found.outdated.total():
            # Rows may have moved back and forth between the tables. One snapshot has each of them.
            with resign.at_one_moment(connection):
                found = _look(connection, write=False)
            if not found.outdated.total():
                break
    found.written = written
    return found


def _look(connection: BaseDatabaseWrapper, *, write: bool) -> Findings:
    found = Findings()
    for place in PLACES:
        after = _FIRST
        while batch := resign.read(connection, place, after):
            after = batch[-1].id
            changed = _outdated(place, batch, found)
            if write:
                found.written[place] += resign.write(connection, place, changed)
    return found


def _outdated(place: PayloadColumn, batch: list[Signed], found: Findings) -> list[tuple[Signed, bytes]]:
    """Return the payloads that an older key has signed, each with its new envelope."""
    changed = []
    for signed in batch:
        try:
            envelope = _resigned(place, signed)
        except PayloadRefused as refused:
            found.refused.append((place, refused))
            continue
        if envelope == signed.envelope:
            found.current += 1
        else:
            changed.append((signed, envelope))
    found.outdated[place] += len(changed)
    return changed


def _resigned(place: PayloadColumn, signed: Signed) -> bytes:
    if place is RESULTS:
        return payload.resign_result(signed.envelope, id=signed.id, fence=signed.fence)
    if place is STEPS:
        number, _, name = signed.name.partition(":")
        return payload.resign_step(signed.envelope, id=signed.id, step=steps.word(int(number), name))
    return payload.resign_arguments(signed.envelope, id=signed.id, name=signed.name)
