"""Retry and cancel many tasks, in small batches, and tell what became of each."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.models import TaskRecord
from autotask.store import cancel, notify, requeue
from autotask.store.cancel import Cancellation
from autotask.store.connection import current
from autotask.task import State

#: What can be retried, and what can be cancelled.
RETRYABLE = (State.ERROR, State.CANCELLED)
CANCELLABLE = (State.SCHEDULED, State.READY, State.RUNNING)

#: Tasks in one transaction: locks are held for milliseconds only.
BATCH = 100

#: Writes down, in the transaction, that something was done to these tasks.
Log = Callable[[Sequence[TaskRecord]], object]


@dataclass
class Tally:
    """What became of the tasks that somebody wanted to retry or to cancel.

    :ivar done: how many were retried or cancelled.
    :ivar asked: how many were running and have been asked to stop.
    :ivar refused: the states of the others; None stands for those that are not in the database any more.
    """

    done: int = 0
    asked: int = 0
    refused: Counter[State | None] = field(default_factory=Counter)

    def without(self, missing: int) -> "Tally":
        """Count tasks that were wanted and not found."""
        if missing:
            self.refused[None] += missing
        return self


def retry_tasks(records: Iterable[TaskRecord], log: Log) -> Tally:
    """Run tasks again that ended in ERROR or were cancelled."""
    connection, tally = current(), Tally()
    for batch in _pieces(sorted(records, key=_by_id), BATCH):
        with transaction.atomic(using=connection.alias):
            retried = [record for record in batch if requeue.requeue(connection, record.id)]
            log(retried)
            notify.wake_after_commit(connection)
        tally.done += len(retried)
        tally.refused += _states(connection, batch, retried)
    return tally


def cancel_tasks(records: Iterable[TaskRecord], log: Log) -> Tally:
    """Cancel tasks that wait, and ask the workers of running ones to stop them."""
    connection, tally = current(), Tally()
    for batch in _for_cancelling(records):
        with transaction.atomic(using=connection.alias):
            answers = [(record, cancel.cancel(connection, record.id)) for record in batch]
            acted = [record for record, answer in answers if answer is not Cancellation.TOO_LATE]
            log(acted)
        asked = sum(answer is Cancellation.REQUESTED for _, answer in answers)
        tally.asked += asked
        tally.done += len(acted) - asked
        tally.refused += _states(connection, batch, acted)
    return tally


def _for_cancelling(records: Iterable[TaskRecord]) -> Iterator[Sequence[TaskRecord]]:
    # A worker ends many running tasks with one statement, in an order of its own. Whoever holds one of their rows must
    # not wait for another, so each has a transaction to itself.
    ordered = sorted(records, key=_by_id)
    yield from _pieces([record for record in ordered if record.state != State.RUNNING], BATCH)
    yield from _pieces([record for record in ordered if record.state == State.RUNNING], 1)


def _pieces(records: Sequence[TaskRecord], size: int) -> Iterator[Sequence[TaskRecord]]:
    """Return the records in pieces of that size. (itertools.batched is in Python 3.12.)"""
    remaining = iter(records)
    while piece := list(itertools.islice(remaining, size)):
        yield piece


def _states(
    connection: BaseDatabaseWrapper, batch: Sequence[TaskRecord], acted: Sequence[TaskRecord]
) -> Counter[State | None]:
    refused = {record.id for record in batch} - {record.id for record in acted}
    if not refused:
        return Counter()
    found = TaskRecord.objects.using(connection.alias).filter(id__in=refused).values_list("id", "state")
    states = {id: State(state) for id, state in found}
    return Counter(states.get(id) for id in refused)


def _by_id(record: TaskRecord) -> str:
    return record.id.hex
