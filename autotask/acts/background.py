"""Start, stop and trigger background workers, by their names."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from autotask import registry
from autotask.acts.answers import Answer, Log, Refusal, keep_no_log
from autotask.exceptions import NotOfThisKind
from autotask.store import background as store, background_read
from autotask.store.connection import current, in_transaction


def start(names: Iterable[str], log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Start background workers, with the arguments and options of the code."""
    return _each(names, log, lambda name: None if store.start_known(current(), name) else Refusal.STARTED)


def stop(names: Iterable[str], log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Stop background workers after their current runs."""
    return _each(names, log, lambda name: None if store.stop_known(current(), name) else Refusal.STOPPED)


def forget(names: Iterable[str], log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Forget background workers that the code no longer has, and what people have decided about them."""
    return _each(names, log, lambda name: None if store.forget_known(current(), name) else Refusal.IN_CODE)


def trigger(names: Iterable[str], log: Log[str] = keep_no_log) -> list[Answer[str]]:
    """Have background workers run once, at once."""
    return _each(names, log, _trigger)


def _trigger(name: str) -> Refusal | None:
    worker: Any = getattr(registry.known(store.PREFIX + name), "worker", None)
    if worker is None:
        return Refusal.NOT_IN_CODE
    try:
        worker.trigger()
    except NotOfThisKind:
        return Refusal.NO_TRIGGER
    return None


def _each(names: Iterable[str], log: Log[str], act: Callable[[str], Refusal | None]) -> list[Answer[str]]:
    def act_and_log(name: str) -> Answer[str]:
        refused = act(name) if background_read.read(current(), name) else Refusal.NOT_REGISTERED
        if refused is None:
            log([name])
        return Answer(name, refused)

    # One by one, so that no transaction holds the row of one and waits for another.
    return [in_transaction(current(), functools.partial(act_and_log, name)) for name in names]
