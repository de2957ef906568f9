"""The task that does an act to all tasks that match a filter, in the name of a user, a small batch at a time."""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model

from autotask import decorating
from autotask.acts import tasks
from autotask.acts.answers import Answer, Log
from autotask.admin.bulk_words import ACTS, Word, may
from autotask.context import TaskContext
from autotask.control import Cancel, Snooze
from autotask.delayed import DelayedTask
from autotask.models import TaskRecord
from autotask.options import Options
from autotask.store import matching
from autotask.store.connection import current
from autotask.store.matching import Filter
from autotask.task import State, last_id

#: Seconds that one attempt may take; millions of tasks take a while.
TIMEOUT = 24 * 3600.0


def _act(
    context: TaskContext,
    act: str,
    wanted: dict[str, Any],
    priority: int | None,
    user_id: str,
    asked_at: str,
    total: int,
    rate: float | None = None,
) -> dict[str, int]:
    """Do an act to all tasks that match.

    :param act: a :class:`Word`.
    :param rate: how many tasks are retried in a second, from now on: each is due later than the one before.
    :param asked_at: when it was asked for, in ISO 8601: later tasks are not meant.
    :param total: about how many there are; 0: unknown.
    :returns: how many it was done to, and how many were no longer in a state for it.
    :raises Cancel: the user may no longer do it.
    """
    word = Word(act)
    done = refused = 0
    before, delays = datetime.fromisoformat(asked_at), paced(rate)
    for piece in matching.pieces(current(), _until(read(wanted), before), ACTS[word].states, before):
        _refuse_without_right(user_id, word)
        # A retried act runs in the name of the user who asked for it, and that user may have more rights.
        ids = [id for id, name in piece.items() if id != context.id and (word, name) != (Word.RETRY, context.name)]
        for start in range(0, len(ids), tasks.BATCH):
            if context.should_stop:
                raise Snooze(0)  # what is done already is no longer in a state for it
            answers = _doing(word, priority, delays)(
                ids[start : start + tasks.BATCH], _log(user_id, ACTS[word].said, piece)
            )
            refused += sum(answer.refused is not None for answer in answers)
            done += sum(answer.refused is None for answer in answers)
            context.progress(done + refused, total if total >= done + refused else None)
    return {"done": done, "refused": refused}


def _until(wanted: Filter, moment: datetime) -> Filter:
    """Return the filter without what was enqueued later, however late a worker takes the act or continues it."""
    last = last_id(moment)
    return replace(wanted, last=last if wanted.last is None else min(last, wanted.last))


def paced(rate: float | None, now: Callable[[], float] = time.monotonic) -> Iterator[float]:
    """Yield the seconds until each of many tasks is due, so that no more than a given number are due in a second."""
    began = now()
    for number in itertools.count():
        yield 0.0 if rate is None else max(0.0, number / rate - (now() - began))


def _refuse_without_right(user_id: str, word: Word) -> None:
    # The task may wait and run for hours. Users who have lost the right or left by then must no longer act.
    user = get_user_model()._default_manager.filter(pk=user_id).first()
    if user is None or not may(user, word):
        raise Cancel("the user who asked for it may not do it any more")


def _doing(
    word: Word, priority: int | None, delays: Iterator[float]
) -> Callable[[Sequence[uuid.UUID], Log[uuid.UUID]], list[Answer[uuid.UUID]]]:
    if word is Word.PRIORITIZE:
        return lambda ids, log: tasks.prioritize(ids, priority or 0, log)
    if word is Word.RETRY:
        return lambda ids, log: tasks.retry(ids, log, delays=delays)
    return {Word.CANCEL: tasks.cancel, Word.DISCARD: tasks.discard, Word.RUN: tasks.run_now}[word]


def _log(user_id: str, message: object, names: dict[uuid.UUID, str]) -> Log[uuid.UUID]:
    def log(ids: Sequence[uuid.UUID]) -> None:
        if ids:
            objects: Any = [TaskRecord(id=id, name=names[id]) for id in ids]
            LogEntry.objects.log_actions(user_id, objects, CHANGE, str(message))

    return log


def written(wanted: Filter) -> dict[str, Any]:
    """Return a filter as the argument of a task, without what is empty."""
    values = asdict(wanted)
    values |= {"state": wanted.state.name if wanted.state is not None else "", "names": list(wanted.names)}
    return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in values.items() if value}


def read(values: dict[str, Any]) -> Filter:
    """Return the filter that was written."""
    given: dict[str, Any] = dict(values)
    given |= {name: uuid.UUID(values[name]) for name in ("first", "last") if name in values}
    given |= {"state": State[values["state"]] if "state" in values else None, "names": tuple(values.get("names", ()))}
    return Filter(**given)


# The name begins with that of this module, so that any worker finds it.
act_on_all: DelayedTask[..., dict[str, int]] = decorating.define(
    DelayedTask,
    _act,
    f"{__name__}.act_on_all",
    Options.of(__name__, takes_context=True, retries=3, timeout=TIMEOUT, ttl=86400),
    __name__,
)


def enqueue(
    word: Word, wanted: Filter, priority: int | None, user_id: object, total: int, rate: float | None = None
) -> uuid.UUID:
    """Enqueue the task, and return its id."""
    now = datetime.now(UTC).isoformat()
    return act_on_all.enqueue(word.value, written(wanted), priority, str(user_id), now, total, rate).id
