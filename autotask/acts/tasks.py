"""Retry, cancel, discard, hasten and prioritize tasks, in small batches."""

import functools
import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.acts.answers import Answer, Log, Refusal, keep_no_log
from autotask.store import background, bring_forward, cancelled, claims, discard as discarding, find, notify, requeue
from autotask.store.cancel import Cancellation, cancel as cancel_one, cancel_waiting
from autotask.store.connection import current, in_transaction
from autotask.task import State

#: The states in which a task can be retried, and cancelled.
RETRYABLE = (State.ERROR, State.CANCELLED)
CANCELLABLE = (State.SCHEDULED, State.READY, State.HELD, State.RUNNING)

#: The states in which a task can be made due at once, and given another priority.
SCHEDULED = (State.SCHEDULED,)
WAITING = (State.SCHEDULED, State.READY, State.HELD)

#: Acts on some tasks, and returns the ids of those to which that applied.
ActOnBatch = Callable[[BaseDatabaseWrapper, Sequence[uuid.UUID]], Sequence[uuid.UUID]]

_AT_ONCE = itertools.repeat(0.0)

#: Tasks in one transaction, so that locks are held for milliseconds only.
BATCH = 100


def retry(
    ids: Iterable[uuid.UUID], log: Log[uuid.UUID] = keep_no_log, *, delays: Iterator[float] = _AT_ONCE
) -> list[Answer[uuid.UUID]]:
    """Run tasks again that failed or were cancelled.

    :param delays: for each task that is retried, the seconds until it is due.
    """
    connection = current()
    answers: list[Answer[uuid.UUID]] = []
    for batch in _pieces(find.in_order_of_keys(connection, ids), BATCH):
        retried = in_transaction(connection, functools.partial(_retry, connection, batch, log, delays))
        answers += map(Answer, retried)
        answers += [_or_taken(connection, answer) for answer in _refused(connection, batch, retried)]
    return answers


def cancel(
    ids: Iterable[uuid.UUID],
    log: Log[uuid.UUID] = keep_no_log,
    *,
    log_asked: Log[uuid.UUID] = keep_no_log,
    by: str = "",
) -> list[Answer[uuid.UUID]]:
    """Cancel tasks that wait, and ask the workers of running ones to stop them.

    :param log: called with those that were cancelled.
    :param log_asked: called with those whose workers were asked.
    :param by: the user who cancels them, for the message of running tasks; "": unknown.
    """
    connection, answers = current(), list[Answer[uuid.UUID]]()
    for batch in _pieces(find.in_order_of_keys(connection, ids), BATCH):
        gone = in_transaction(connection, functools.partial(_cancel_waiting, connection, batch, log))
        answers += map(Answer, gone)
        for answer in _refused(connection, batch, gone):
            act = functools.partial(_cancel, connection, answer.key, log, log_asked, by)
            # A worker finishes many running tasks with one statement, in an order of its own. No other transaction should hold one
            # of their rows and wait for another, so each has a transaction to itself.
            answers.append(in_transaction(connection, act) if answer.refused in CANCELLABLE else answer)
    return answers


def discard(ids: Iterable[uuid.UUID], log: Log[uuid.UUID] = keep_no_log) -> list[Answer[uuid.UUID]]:
    """Delete tasks that failed or were cancelled, with their arguments, attempts and logs: they can no longer be retried."""
    answers = _each_batch(ids, discarding.discard, log)
    # What is in a state for it is left only for another reason.
    return [Answer(answer.key, refused=Refusal.NEEDED) if answer.refused in RETRYABLE else answer for answer in answers]


def run_now(ids: Iterable[uuid.UUID], log: Log[uuid.UUID] = keep_no_log) -> list[Answer[uuid.UUID]]:
    """Make scheduled tasks due at once; limits and rates hold for them as before."""
    return _each_batch(ids, bring_forward.make_due, log)


def prioritize(ids: Iterable[uuid.UUID], priority: int, log: Log[uuid.UUID] = keep_no_log) -> list[Answer[uuid.UUID]]:
    """Change the priority of tasks that wait.

    :param priority: from -100 to 100, larger first.
    """
    return _each_batch(ids, lambda connection, batch: bring_forward.prioritize(connection, batch, priority), log)


def _cancel_waiting(
    connection: BaseDatabaseWrapper, batch: Sequence[uuid.UUID], log: Log[uuid.UUID]
) -> list[uuid.UUID]:
    gone = [found for id in batch if (found := cancel_waiting(connection, id)) is not None]
    cancelled.tell_after_commit(connection, gone)
    ids = [each.id for each in gone]
    log(ids)
    return ids


def _cancel(
    connection: BaseDatabaseWrapper, id: uuid.UUID, log: Log[uuid.UUID], log_asked: Log[uuid.UUID], by: str
) -> Answer[uuid.UUID]:
    outcome = cancel_one(connection, id, by=by)
    if outcome is Cancellation.TOO_LATE:
        return next(_refused(connection, [id], []))
    (log if outcome is Cancellation.CANCELLED else log_asked)([id])
    return Answer(id, is_asked=outcome is Cancellation.REQUESTED)


def _retry(
    connection: BaseDatabaseWrapper, batch: Sequence[uuid.UUID], log: Log[uuid.UUID], delays: Iterator[float]
) -> list[uuid.UUID]:
    if len(batch) > 1:
        claims.lock(connection, batch)
    retried = _retried(connection, batch, delays)
    log(retried)
    notify.wake_after_commit(connection)
    background.call_for(connection, retried)
    return retried


def _retried(connection: BaseDatabaseWrapper, batch: Sequence[uuid.UUID], delays: Iterator[float]) -> list[uuid.UUID]:
    retried, delay = [], next(delays)
    for id in batch:
        if requeue.requeue(connection, id, delay):
            retried.append(id)
            delay = next(delays)
    return retried


def _each_batch(
    ids: Iterable[uuid.UUID],
    act: ActOnBatch,
    log: Log[uuid.UUID],
) -> list[Answer[uuid.UUID]]:
    connection, answers = current(), []
    for batch in _pieces(find.in_order_of_keys(connection, ids), BATCH):
        acted = in_transaction(connection, functools.partial(_act, connection, batch, act, log))
        answers += [Answer(id) for id in acted]
        answers += _refused(connection, batch, acted)
    return answers


def _act(
    connection: BaseDatabaseWrapper, batch: Sequence[uuid.UUID], act: ActOnBatch, log: Log[uuid.UUID]
) -> Sequence[uuid.UUID]:
    acted = act(connection, batch)
    log(acted)
    notify.wake_after_commit(connection)
    return acted


def _pieces(ids: Sequence[uuid.UUID], size: int) -> Iterator[Sequence[uuid.UUID]]:
    """Yield the ids in pieces of that size. (itertools.batched needs Python 3.12.)"""
    remaining = iter(ids)
    while piece := list(itertools.islice(remaining, size)):
        yield piece


def _refused(
    connection: BaseDatabaseWrapper, batch: Sequence[uuid.UUID], acted: Sequence[uuid.UUID]
) -> Iterator[Answer[uuid.UUID]]:
    refused = [id for id in batch if id not in acted]
    states = find.states(connection, refused)
    for id in refused:
        yield Answer(id, refused=states.get(id, Refusal.GONE))


def _or_taken(connection: BaseDatabaseWrapper, answer: Answer[uuid.UUID]) -> Answer[uuid.UUID]:
    """Return the same answer, unless the reason is that another task has the unique key."""
    if answer.refused in RETRYABLE and requeue.holder(connection, answer.key) is not None:
        return Answer(answer.key, refused=Refusal.KEY_TAKEN)
    return answer
