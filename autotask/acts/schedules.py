"""Pause, resume and run schedules, one by one."""

import functools
from collections.abc import Callable, Iterable

from autotask import registry
from autotask.acts.answers import Answer, Log, Refusal, keep_no_log
from autotask.store import pause as store, schedule_runs
from autotask.store.connection import current, in_transaction


def pause(names: Iterable[str], by: str, log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Let the ticks of schedules pass without tasks.

    :param by: the name that is shown for it.
    """
    return _each(names, log, lambda name: _pause(name, by))


def resume(names: Iterable[str], log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Let the ticks of schedules make tasks again."""
    return _each(names, log, lambda name: Answer(name, None if store.resume(current(), name) else Refusal.NOT_PAUSED))


def run(names: Iterable[str], log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Enqueue a task of each schedule, in addition to its ticks."""
    return _each(names, log, _run)


def _pause(name: str, by: str) -> Answer[str]:
    if store.pause(current(), name, by):
        return Answer(name)
    is_registered = any(schedule.name == name for schedule in schedule_runs.every(current()))
    return Answer(name, Refusal.PAUSED if is_registered else Refusal.NOT_REGISTERED)


def _run(name: str) -> Answer[str]:
    task = registry.schedules().get(name)
    return Answer(name, Refusal.NOT_IN_CODE) if task is None else Answer(name, enqueued=task.run_now().id)


def _each(names: Iterable[str], log: Log[str], act: Callable[[str], Answer[str]]) -> list[Answer[str]]:
    def act_and_log(name: str) -> Answer[str]:
        answer = act(name)
        if answer.is_done:
            log([name])
        return answer

    # One by one: no transaction may hold the row of one and wait for another, as a worker moves many at once.
    return [in_transaction(current(), functools.partial(act_and_log, name)) for name in names]
